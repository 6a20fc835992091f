# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "evidence" of the controller wing (private to the collection): was a host put back, going by what it read.

Pure. "Restored" is said only where everything was read back; anything else is a line that says what is not as before.
"""

from __future__ import annotations

from collections.abc import Iterable

from ._render._text import interval
from ._wire import Evidence, HostRecord, Scope, Trace

_STOPPED = ("T", "t")


def doubts(record: HostRecord) -> list[str]:
    """What is not, or not surely, as it was before this recording; empty where the host is restored."""
    evidence = record.evidence
    if evidence is None:
        return ["nothing was read back: the host did not say how it was left"]
    found = _scope_doubts(evidence) + [text for trace in evidence.targets for text in _trace_doubts(trace)]
    if evidence.left is None:
        found.append("whether processes or files of ours are left was not read back")
    elif evidence.left:
        found.append("left behind: " + ", ".join(evidence.left))
    return found


def _scope_doubts(evidence: Evidence) -> list[str]:
    scope = evidence.scope
    if scope.after == scope.original:
        return []
    words = f"kernel.yama.ptrace_scope is {_value(scope.after)} and was {_value(scope.original)}"
    return ["; ".join((words, *evidence.notes))]


def _trace_doubts(trace: Trace) -> list[str]:
    found = []
    if trace.state_after in _STOPPED and trace.state_before not in _STOPPED:
        found.append(f"PID {trace.pid} is stopped (state {trace.state_after}) and was not before")
    if trace.tracer_after and trace.tracer_after != trace.tracer_before:
        found.append(f"PID {trace.pid} is traced by process {trace.tracer_after}")
    return found


def exposed(record: HostRecord) -> float | None:
    """How long this recording had ptrace_scope lowered (seconds); None where it did not, or was not seen to end."""
    scope = None if record.evidence is None else record.evidence.scope
    if scope is None or scope.lowered_at is None or scope.restored_at is None:
        return None
    return max(0.0, scope.restored_at - scope.lowered_at)


def exposure_text(records: Iterable[HostRecord]) -> str:
    """What ``relax`` opened on the hosts of a run, and for how long; "" where nothing was opened."""
    lengths = [length for length in map(exposed, records) if length is not None]
    if not lengths:
        return ""
    hosts = "1 host" if len(lengths) == 1 else f"{len(lengths)} hosts"
    return (
        f"kernel.yama.ptrace_scope was lowered on {hosts} for {max(lengths):.1f} s at most: "
        "there every process could attach to others of its user"
    )


def lines(evidence: Evidence | None) -> list[str]:
    """All of it for people, one line each."""
    if evidence is None:
        return []
    found = [_scope_line(evidence.scope)] if evidence.scope != Scope() else ["ptrace_scope: no Yama in this kernel"]
    found += [_trace_line(trace) for trace in evidence.targets]
    found += [f"ptrace_scope: {note}" for note in evidence.notes]
    if evidence.left is not None:
        found.append("left behind: " + (", ".join(evidence.left) or "no process and no file"))
    return found


def _scope_line(scope: Scope) -> str:
    if scope.lowered_at is None:
        return (
            f"ptrace_scope: {_value(scope.before)} before, {_value(scope.after)} after; not touched by this recording"
        )
    words = f"ptrace_scope: {_value(scope.before)} before, {_value(scope.during)} in the window"
    return f"{words}, {_value(scope.after)} after ({interval(scope.lowered_at, scope.restored_at)}; read back)"


def _trace_line(trace: Trace) -> str:
    if not trace.state_after:
        return f"PID {trace.pid}: {trace.note or 'ended'}"
    before = f"state {trace.state_before} before, " if trace.state_before else "state "
    line = f"PID {trace.pid}: {before}{trace.state_after} after, tracer {trace.tracer_after or 'none'}"
    return f"{line}; {trace.note}" if trace.note else line


def _value(value: int | None) -> str:
    return "unknown" if value is None else str(value)
