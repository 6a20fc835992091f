# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "pyspy" of the host wing (private to the collection): py-spy's command line and what it prints. Pure.

The messages were read off py-spy 0.4.3 (and its source) while it failed for real.
"""

from __future__ import annotations

import json
import re
from typing import List, NamedTuple, Optional, Tuple

from ._attach import Verdict
from ._errors import HostError
from ._plan import Plan

#: py-spy ends sampling by itself this long after the window: a net for a keeper that cannot send SIGINT.
#: Its ``-d`` counts samples, not seconds, so it is only a net.
OWN_END_MARGIN = 5

_COUNTS = re.compile(r"Samples: (\d+) Errors: (\d+)")
#: With ``-s`` py-spy puts whole command lines into frames; they may hold secrets.
#: In JSON no quotation mark stands unescaped inside a text, so this is never found inside another one.
_PROCESS_FRAME = re.compile(rb'("name"\s*:\s*"process \d+):\\"(?:[^"\\]|\\.)*"', re.DOTALL)


class Counts(NamedTuple):
    """py-spy's own count of what it sampled and of what it could not read."""

    samples: int
    errors: int


def record_arguments(plan: Plan, pid: int, output: str, duration: int) -> List[str]:
    """What one recorder on ``pid`` is told: ``duration`` seconds, speedscope to the path ``output``."""
    arguments = ["record", "--pid", str(pid), "--format", "speedscope", "--output", output]
    arguments += ["--rate", str(plan.rate), "--duration", str(duration + OWN_END_MARGIN), "--full-filenames"]
    for wanted, flag in (
        (not plan.blocking, "--nonblocking"),
        (plan.native, "--native"),
        (plan.kind == "gil", "--gil"),
        (plan.kind == "wall", "--idle"),
        (plan.subprocesses, "--subprocesses"),
        (plan.function, "--function"),
    ):
        if wanted:
            arguments.append(flag)
    return arguments


def dump_arguments(pid: int, blocking: bool = False, native: bool = False, local: bool = False) -> List[str]:
    """One look at all stacks of ``pid``, by default without stopping it; ``local``: with local variables."""
    arguments = ["dump", "--pid", str(pid), "--json"]
    flags = ((not blocking, "--nonblocking"), (native, "--native"), (local, "--locals"))
    return arguments + [flag for wanted, flag in flags if wanted]


class Dumped(NamedTuple):
    """One thread of a dump: its id as the operating system has it (None before Python 3.11), and its depth."""

    identity: Optional[int]
    frames: int


def parse_dump(data: bytes) -> Tuple[Dumped, ...]:
    """The threads in the output of ``dump --json``; ValueError for anything else (it may be cut off)."""
    rows = json.loads(data)
    if not isinstance(rows, list):
        raise ValueError("not a list of threads")
    threads = []
    for row in rows:
        frames = row.get("frames") if isinstance(row, dict) else None
        if not isinstance(frames, list):
            raise ValueError("not a thread")
        identity = row.get("os_thread_id")
        threads.append(Dumped(identity if isinstance(identity, int) else None, len(frames)))
    return tuple(threads)


def counts(stdout: str) -> Optional[Counts]:
    """The last ``Samples: N Errors: M`` of py-spy's stdout; None where it wrote no result."""
    found = _COUNTS.findall(stdout)
    return Counts(int(found[-1][0]), int(found[-1][1])) if found else None


def remarks(stdout: str, counted: Counts) -> List[str]:
    """What a person should know beside the picture, one line each, from a recorder that gave a result."""
    notes = []
    if "process exited" in stdout or "process ended" in stdout:
        notes.append("the target ended in the window")
    if "behind in sampling" in stdout:
        notes.append("py-spy fell behind in sampling: the rate is too high for this target")
    if counted.errors:
        notes.append("%d of %d attempts to read a stack failed" % (counted.errors, counted.samples + counted.errors))
    return notes


class Symptom(NamedTuple):
    """One row of the table: text in py-spy's output, what it means, what to do."""

    text: str
    reason: str
    remedy: str


SYMPTOMS: Tuple[Symptom, ...] = (
    Symptom(
        "starting py-spy failed",
        "py-spy could not be started as the user that it was to run as",
        "see that everybody may execute it (mode 0755)",
    ),
    Symptom(
        "entering namespaces failed",
        "the target's namespaces could not be entered",
        "leave pyspy_enter_namespaces out: it is then sampled from outside, without native frames",
    ),
    Symptom(
        "It looks like you are running in a docker container",
        "attaching is refused inside this container",
        "give the container CAP_SYS_PTRACE (Docker: --cap-add=SYS_PTRACE), or profile from its host",
    ),
    Symptom(
        "Permission Denied: Try running again with elevated permissions",
        "attaching was refused",
        "run with become (-b)",
    ),
    Symptom(
        "Permission denied (os error 13)",
        "attaching was refused by the kernel (no CAP_SYS_PTRACE, or kernel.yama.ptrace_scope)",
        "run with become (-b); under ptrace_scope 3 only a reboot with another value helps",
    ),
    Symptom(
        "Operation not permitted",
        "attaching was refused by the kernel: another tracer, a seccomp filter or missing privileges",
        "end the other debugger or py-spy, or sample with nonblocking; run with become (-b)",
    ),
    Symptom("Failed to suspend process", "the target could not be stopped for sampling", "use nonblocking"),
    Symptom("unexpected waitpid result", "the target is stopped", "resume it, or use nonblocking"),
    Symptom(
        "Failed to find python version from target process",
        "no Python interpreter was recognised in the target",
        "check the executable; if its libpython was replaced by an upgrade, only a restart of the target helps",
    ),
    Symptom(
        "Unsupported version of Python", "the target's Python is newer than this py-spy knows", "install a newer py-spy"
    ),
    Symptom(
        "Failed to find a python interpreter in the .data section",
        "this build of Python cannot be read (free-threaded build, or a stack over 4096 frames)",
        "none with this py-spy",
    ),
    Symptom(
        "Collecting stack traces from native extensions",
        "py-spy cannot read native frames on this architecture",
        "leave native out",
    ),
    Symptom(
        "Invalid argument (os error 22)", "the target has another word size than py-spy", "install the matching py-spy"
    ),
    Symptom(
        "File too large (os error 27)",
        "the capture grew too large; its samples are lost",
        "shorten the window, or lower the rate",
    ),
    Symptom(
        "No python processes found in process",
        "no Python process was found below the target, or attaching was refused",
        "try without subprocesses to see which",
    ),
    Symptom(
        "No such file or directory (os error 2)", "the target ended before it could be attached to", "select again"
    ),
    Symptom(
        "Failed to get process executable name",
        "the target ended, or may not be looked at",
        "select again, with become (-b)",
    ),
)


def was_refused(stderr: str) -> bool:
    """Does it say that the kernel refused something? It has several words for it, also for files."""
    return "permission denied" in stderr.lower() or "Operation not permitted" in stderr


def diagnose(exit_text: str, stdout: str, stderr: str) -> HostError:
    """Why a recorder gave no result: the first symptom of the table that its output shows.

    ``exit_text`` is how it ended ("exit code 1", "signal 9").
    """
    own_words = [line.strip() for line in (stderr + "\n" + stdout).splitlines() if line.strip()]
    own_words = [line for line in own_words if not line.startswith("py-spy> Sampling process")]
    detail = "; ".join(own_words)[:500] or "py-spy ended with %s and said nothing" % exit_text
    for symptom in SYMPTOMS:
        if symptom.text in stderr or symptom.text in stdout:
            return HostError(symptom.reason, detail, symptom.remedy)
    return HostError("py-spy failed with %s" % exit_text, detail, "look at the detail; try a dump of the same process")


def refused(verdict: Verdict, detail: str) -> HostError:
    """A refusal by the kernel, in the words of what was foretold of it."""
    return HostError("attaching is refused: " + verdict.reason, detail, verdict.remedy)


def explained(found: HostError, stderr: str, verdict: Optional[Verdict], relaxed: bool) -> HostError:
    """What py-spy met, made plainer by what we know of the attempt."""
    if not was_refused(stderr) or verdict is None:
        return found
    if verdict.allowed is None:
        return refused(verdict, found.detail)
    if relaxed:
        return HostError(
            "attaching was refused although ptrace_scope had been lowered",
            found.detail,
            "somebody set it meanwhile (see the host's evidence), or a security module forbids it: use auto",
        )
    return found


def without_command_lines(document: bytes) -> bytes:
    """A speedscope document of ``-s`` with the command lines in its process frames left out (``process 12``).

    It may be large, and this runs beside the targets: it is not taken apart.
    """
    return _PROCESS_FRAME.sub(rb'\1"', document)
