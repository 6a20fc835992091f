# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "passes" of the controller wing (private to the collection): several passes of one run over a host, as one.

Pure. A dump before each of two restarts, or a dump and then a recording, in one ``ansible-playbook``: nothing that an
earlier pass brought is lost, and nothing that it left behind is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ._errors import one_line
from ._fields import MAX_ROWS
from ._wire import Evidence, HostRecord, Process, Scope, Selection


def joined(earlier: HostRecord | None, later: HostRecord) -> HostRecord:
    """What the run knows of the host after another pass, which goes by itself where there was none before."""
    if earlier is None:
        return later
    pending = earlier.status == "recording" and later.recording != earlier.recording
    return replace(
        later,
        status=_status(earlier, later, pending),
        groups=later.groups or earlier.groups,
        recording=later.recording or earlier.recording,
        began=min(_known(earlier.began, later.began), default=None),
        ended=max(_known(earlier.ended, later.ended), default=None),
        selection=_selection(earlier.selection, later.selection),
        captures=earlier.captures + later.captures,
        evidence=evidence(earlier.evidence, later.evidence),
        warnings=_once([*earlier.warnings, *_failure(earlier), *later.warnings]),
        facts=tuple({**dict(earlier.facts), **dict(later.facts)}.items()),
        labels=tuple({**dict(earlier.labels), **dict(later.labels)}.items()),
        binary_changed=earlier.binary_changed or later.binary_changed,
    )


def _status(earlier: HostRecord, later: HostRecord, pending: bool) -> str:
    if later.status in ("collected", "nothing", "opted_out"):
        if pending:
            return "recording"
        if earlier.captures:
            return "collected"
    return later.status


def _failure(record: HostRecord) -> list[str]:
    if record.error is None:
        return []
    return ["an earlier pass failed: " + one_line(record.error.reason, record.error.detail, record.error.remedy)]


def _known(*values: float | None) -> list[float]:
    return [value for value in values if value is not None]


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))[:MAX_ROWS]


def _selection(earlier: Selection, later: Selection) -> Selection:
    targets = _processes(earlier.targets + later.targets, set())
    chosen = {(process.pid, process.start) for process in targets}
    return Selection(
        targets=targets,
        skipped=_processes(earlier.skipped + later.skipped, chosen),
        notes=_once(earlier.notes + later.notes),
        found=max(earlier.found, later.found),
    )


def _processes(rows: Iterable[Process], but: set[tuple[int, int]]) -> tuple[Process, ...]:
    """Each process once, with what was said of it last."""
    known = {(row.pid, row.start): row for row in rows if (row.pid, row.start) not in but}
    return tuple(known.values())[:MAX_ROWS]


def evidence(earlier: Evidence | None, later: Evidence | None) -> Evidence | None:
    """What was read back, over both: as it was before the first pass, and as it was after the last."""
    if earlier is None or later is None:
        return earlier or later
    left = None
    if earlier.left is not None and later.left is not None:
        left = _once(earlier.left + later.left)
    return Evidence(
        scope=_scope(earlier.scope, later.scope),
        targets=(earlier.targets + later.targets)[-MAX_ROWS:],
        notes=_once(earlier.notes + later.notes),
        left=left,
    )


def _scope(earlier: Scope, later: Scope) -> Scope:
    return Scope(
        before=earlier.before,
        original=later.original if earlier.original is None else earlier.original,
        during=earlier.during if later.during is None else later.during,
        after=later.after,
        lowered_at=min(_known(earlier.lowered_at, later.lowered_at), default=None),
        restored_at=max(_known(earlier.restored_at, later.restored_at), default=None),
    )
