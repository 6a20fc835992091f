# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests on virtual machines share: that they can run at all, container runtimes, and the table of faults."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.tests.lab.containers.container import Runtime
from ansible_collections.pyspy.fleet.tests.lab.containers.on_machine import RUNTIMES
from ansible_collections.pyspy.fleet.tests.lab.vm import Machine
from ansible_collections.pyspy.fleet.tests.machine import lacking_for_machines

#: Where the table of faults is written for who wants to keep it.
WRITTEN = Path(__file__).parents[2] / "build" / "test" / "faults.md"


class Table:
    """What came of each fault; printed when all tests have run."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, ...]] = []

    def note(
        self, fault: str, scope: int, after: float | None, early: float | None, left: Iterable[str], late: float
    ) -> None:
        """``after``: seconds from the fault to the last change of the scope (None: the boot's doing);
        ``early``: from there to the restore deadline; ``late``: from the keep deadline to the end of all."""
        nothing = "nothing" if late <= 0 else f"nothing, {late:.1f} s after the keep deadline"
        when = "by booting" if after is None else f"{after:.1f} s"
        before = "–" if early is None else f"{early:.1f} s"
        self.rows.append((fault, str(scope), when, before, "; ".join(left) or nothing))

    def text(self) -> str:
        head = ("fault", "scope then", "restored after", "before the deadline by", "left behind")
        rows = (head, tuple("---" for _column in head), *self.rows)
        return "".join(f"| {' | '.join(row)} |\n" for row in rows)


TABLE = pytest.StashKey[Table]()


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> Table:
    return request.config.stash[TABLE]


@pytest.fixture(params=RUNTIMES)
def runtime_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def runtime(machine: Machine, runtime_name: str) -> Iterator[Runtime]:
    """Each runtime in its turn, on the ``machine`` of the test."""
    with RUNTIMES[runtime_name](machine) as one:
        yield one


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLE] = Table()
    lacking = lacking_for_machines()
    if lacking:
        pytest.exit(f"The tests on virtual machines cannot run here: {lacking}.", returncode=2)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the table of faults, and keep it in a file."""
    table = config.stash[TABLE]
    if table.rows:
        terminalreporter.section("faults")
        terminalreporter.write(table.text())
        WRITTEN.parent.mkdir(parents=True, exist_ok=True)
        WRITTEN.write_text(table.text())
