# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``make test``: runs every suite, two at a time where they bear it, and says what ran.

What cannot run here is left out with one line that says why; with ``CI`` set, that is a failure. The output of
each suite lies in ``build/test``; of a suite that failed it is shown.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from .checks.copy_of_tree import refresh
from .machine import lacking_for_browsers, lacking_for_integration, lacking_for_machines, prepare

CHECKOUT = Path(__file__).resolve().parents[1]
RESULTS = CHECKOUT / "build" / "test"
VENVS = CHECKOUT / ".venvs"
MAIN = CHECKOUT / ".venv"
VENV_LOCK = threading.Lock()
IN_CI = bool(os.environ.get("CI"))


class Result(NamedTuple):
    """What came of one suite. ``left_out`` are lines: what did not run, and why; ``broken`` and ``twice`` are tests:
    those that failed, and those that were tried twice."""

    name: str
    passed: int = 0
    failed: int = 0
    left_out: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()
    seconds: float = 0


class Suite(NamedTuple):
    """A name for people, and what runs it: given the file for its output, it counts."""

    name: str
    run: Callable[[Path], Result]


def main() -> int:
    RESULTS.mkdir(parents=True, exist_ok=True)
    prepare()
    results: list[Result] = []
    lanes = [threading.Thread(target=_run_lane, args=(lane, results)) for lane in (tests(), [*checks(), *beside()])]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    _run_lane(alone(), results)
    return _close(results)


def tests() -> list[Suite]:
    """The suites that run the collection."""
    most = ("tests/integration", *(f"--ignore={file}" for file in (*SCHEDULED, *COMPARING)))
    return [
        Suite("unit tests, ansible-core 2.19", lambda log: _pytest(MAIN, log, "tests/unit")),
        Suite("unit tests, ansible-core 2.21", lambda log: _with_next_core(lambda v: _pytest(v, log, "tests/unit"))),
        Suite("integration tests", lambda log: _where(lacking_for_integration(), log, *most)),
    ]


def beside() -> list[Suite]:
    """Those that are not in the way of others, nor others in theirs: they have hosts of their own, or none."""
    return [
        Suite("browser tests", lambda log: _where(lacking_for_browsers(), log, "tests/browser")),
        Suite("integration tests, rounds", lambda log: _where(lacking_for_integration(), log, *SCHEDULED)),
    ]


def checks() -> list[Suite]:
    """The suites that read the collection."""
    typed = ("plugins/module_utils", "plugins/plugin_utils", "tests/lab", "tests/checks", "tests/run.py")
    return [
        Suite("ruff check", lambda log: _check(log, MAIN / "bin/ruff", "check", ".")),
        Suite("ruff format", lambda log: _check(log, MAIN / "bin/ruff", "format", "--check", ".")),
        Suite("mypy --strict", lambda log: _check(log, MAIN / "bin/mypy", *typed)),
        Suite("rooms", lambda log: _check(log, sys.executable, "-m", "tests.checks.rooms")),
        Suite("roles", lambda log: _check(log, sys.executable, "-m", "tests.checks.roles")),
        Suite("ansible-lint", lambda log: _tool(log, "ansible-lint", "--nocolor")),
        Suite("antsibull-docs", lambda log: _tool(log, "antsibull-docs", *DOCS)),
        Suite("antsibull-changelog", lambda log: _tool(log, "antsibull-changelog", "lint")),
        Suite("galaxy-importer", _galaxy),
        Suite("sanity, ansible-core 2.19", lambda log: _sanity(log, MAIN)),
        Suite("sanity, ansible-core 2.21", lambda log: _with_next_core(lambda venv: _sanity(log, venv))),
    ]


def alone() -> list[Suite]:
    """Those with nothing beside them: an emulated processor is slow enough by itself, and what comes and goes beside a
    service that is compared changes it."""
    return [
        Suite("integration tests, comparing", lambda log: _where(lacking_for_integration(), log, *COMPARING)),
        Suite("virtual machines", _machines),
    ]


SCHEDULED = ("tests/integration/test_schedule.py", "tests/integration/test_snapshot.py")
COMPARING = ("tests/integration/test_diff.py", "tests/integration/test_weeks.py")
#: On two cores, with real py-spy and real services, a deadline is at times too short for the machine and not for us: a
#: few tests that fail are tried once more, which is said, with what they failed of.
PATIENT = ("--reruns=1", "--max-suite-reruns=5", "--rerun-show-tracebacks")
DOCS = (
    "lint-collection-docs",
    "--plugin-docs",
    "--validate-collection-refs=self",
    "--disallow-unknown-collection-refs",
    ".",
)


def _where(lacking: str, log: Path, *what: str) -> Result:
    """Tests that need more than Python; ``lacking`` is what they lack here."""
    return Result("", left_out=(lacking,)) if lacking else _pytest(MAIN, log, *what)


def _machines(log: Path) -> Result:
    """The tests on a real Yama, and the table of faults that they make."""
    table = RESULTS / "faults.md"
    table.unlink(missing_ok=True)
    result = _where(lacking_for_machines(), log, "tests/vm")
    if table.exists():
        print(table.read_text(), flush=True)
    return result


def _galaxy(log: Path) -> Result:
    venv = _venv("galaxy", "3.11", "runtime.txt", "galaxy.txt")
    return _check(log, sys.executable, "-m", "tests.checks.galaxy", venv)


def _sanity(log: Path, venv: Path) -> Result:
    result = _check(log, sys.executable, "-m", "tests.checks.sanity", venv)
    # ansible-test only warns when a test could not run for want of a program.
    lacking = re.findall(r"Required program .* not found", log.read_text())
    return result._replace(left_out=tuple(lacking))


def _tool(log: Path, tool: str, *arguments: str) -> Result:
    """One of Ansible's own tools, in a copy of the tree."""
    venv = _venv("ansible-tools", "3.11", "runtime.txt", "ansible-tools.txt")
    copy = refresh("lint")
    path = f"{venv / 'bin'}:{os.environ['PATH']}"
    return _check(log, venv / "bin" / tool, *arguments, cwd=copy, PATH=path, ANSIBLE_COLLECTIONS_PATH=copy.parents[2])


def _with_next_core(run: Callable[[Path], Result]) -> Result:
    """``run`` with an environment of the newest ansible-core, where a Python is there that it works with."""
    try:
        return run(_venv("core-next", "3.12", "core-next.txt", "test.txt"))
    except LookupError:
        # Not counted as left out: a machine of Debian 12 has no such Python, and need not.
        print("ansible-core 2.21 is not tested: there is no Python 3.12 or newer here", flush=True)
        return Result("")


def _venv(name: str, minimum: str, *requirements: str) -> Path:
    venv = VENVS / name
    files = [f"requirements/{file}" for file in requirements]
    command = ("requirements/venv.sh", str(venv), minimum, *files)
    with VENV_LOCK:
        done = subprocess.run(
            command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    if done.returncode == 3:
        raise LookupError(minimum)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed ({done.returncode}):\n{done.stdout}")
    return venv


def _check(log: Path, program: Path | str, *arguments: Path | str, cwd: Path = CHECKOUT, **more: Path | str) -> Result:
    """One command that is content or not: one test."""
    content = _logged(log, (program, *arguments), cwd, more) == 0
    return Result("", passed=int(content), failed=int(not content))


def _pytest(venv: Path, log: Path, *what: str) -> Result:
    report = log.with_suffix(".xml")
    report.unlink(missing_ok=True)
    options = ("-p", "no:cacheprovider", f"--junitxml={report}", *PATIENT)
    command: tuple[Path | str, ...] = (venv / "bin" / "python", "-m", "pytest", *options, *what)
    status = _logged(log, command, CHECKOUT, {})
    if not report.exists():
        return Result("", failed=1)
    cases = list(ElementTree.parse(report).iter("testcase"))
    bad = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    skips = [(case, case.find("skipped")) for case in cases]
    left_out = tuple(f"{case.get('name')}: {skip.get('message')}" for case, skip in skips if skip is not None)
    words = log.read_text(errors="replace")
    broken, twice = (
        tuple(sorted({*re.findall(rf"^(?:{word}) (tests/.+?)(?: - .*)?$", words, re.MULTILINE)}))
        for word in ("FAILED|ERROR", "RERUN")
    )
    passed = len(cases) - bad - len(left_out) - len(twice)  # The report counts each try.
    # An error outside of any test (a broken conftest, an interrupt) shows in the exit code alone.
    return Result("", passed, max(bad, int(status != 0)), left_out, broken, twice)


def _logged(log: Path, command: tuple[Path | str, ...], cwd: Path, more: dict[str, Path | str]) -> int:
    environment = {**os.environ, **{name: str(value) for name, value in more.items()}}
    with log.open("w") as output:
        return subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode


def _run_lane(lane: list[Suite], results: list[Result]) -> None:
    for suite in lane:
        log = RESULTS / (re.sub(r"[^a-z0-9.]+", "-", suite.name.lower()) + ".log")
        begin = time.monotonic()
        try:
            result = suite.run(log)
        except Exception as error:  # A suite that cannot be run has failed; the others go on.
            log.write_text(f"{error}\n")
            result = Result("", failed=1)
        result = result._replace(name=suite.name, seconds=time.monotonic() - begin)
        if not (result.passed or result.failed or result.left_out):
            continue
        results.append(result)
        if result.failed or result.twice:
            what = "failed" if result.failed else "not at the first try"
            print(f"--- {result.name}: {what}; the end of {log.relative_to(CHECKOUT)}:\n{_end(log)}\n---", flush=True)
        else:
            print(_line(result), flush=True)


def _end(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-80:])


def _line(result: Result) -> str:
    return f"{result.name}: {result.passed} passed, {result.failed} failed ({result.seconds:.0f} s)"


def _close(results: list[Result]) -> int:
    """What ran, what was left out, and the sum on a line of its own."""
    print()
    for result in results:
        print(_line(result))
    left_out = [f"{result.name}: {line}" for result in results for line in result.left_out]
    for line in left_out:
        print(f"left out: {line}")
    for result in results:
        for words, tests in (("tried twice", result.twice), ("failed", result.broken)):
            for test in tests:
                print(f"{words}: {test}")
    passed = sum(result.passed for result in results)
    failed = sum(result.failed for result in results) + (len(left_out) if IN_CI else 0)
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0 or passed == 0)


if __name__ == "__main__":
    sys.exit(main())
