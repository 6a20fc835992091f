# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "admission" of the host wing (private to the collection): which of the chosen targets are sampled at all.

Said beforehand, so that nobody waits a window for nothing: by the guardrails, and by what the kernel would refuse.
"""

from __future__ import annotations

import time
from typing import Dict, List, NamedTuple, Optional

from ._credentials import Terms, look_at
from ._errors import HostError
from ._guardrails import Limits, occupied
from ._procfs import Gone, ProcessDir
from ._selection import Process, Selection


class Refusal(NamedTuple):
    """Why a target is not sampled, and what would help. ``sure`` is false where only the attempt can tell."""

    sure: bool
    reason: str
    remedy: str


class Admission(NamedTuple):
    """The selection, with what stands against a target in its reason; ``refused`` are those surely refused, by PID.

    Who is refused stays a target and becomes a failed capture: it was chosen, and could not be profiled.
    """

    selection: Selection
    refused: Dict[int, Refusal]

    def admitted(self) -> List[Process]:
        return [target for target in self.selection.targets if target.pid not in self.refused]

    def failed(self, measure: Dict[str, object]) -> List[Dict[str, object]]:
        """The captures of those that are refused, as they cross the wire."""
        now = time.time()
        rows = []
        for target in self.selection.targets:
            found = self.refused.get(target.pid)
            if found is not None:
                row: Dict[str, object] = {"process": target.to_wire(), "measure": measure, "outcome": "failed"}
                row.update(samples=0, errors=0, began=now, ended=now, seconds=0.0, size=0)
                row.update(reason=found.reason, remedy=found.remedy)
                rows.append(row)
        return rows

    def nowhere(self) -> Optional[HostError]:
        """What there is to say where every target is refused; None where there is something to sample."""
        if not self.refused or self.admitted():
            return None
        pid, first = next(iter(self.refused.items()))
        if len(self.refused) == 1:
            return HostError("PID %d cannot be sampled: %s" % (pid, first.reason), "", first.remedy)
        return HostError(
            "None of the %d targets can be sampled: %s" % (len(self.refused), first.reason),
            "; ".join("PID %d: %s" % (pid, found.reason) for pid, found in self.refused.items()),
            first.remedy,
        )


def admit(selection: Selection, terms: Terms, blocking: bool, enters: bool, limits: Limits) -> Admission:
    """Judge each target as it is now; ``blocking`` and ``enters`` tell how py-spy is to attach."""
    refused: Dict[int, Refusal] = {}
    targets = []
    for target in selection.targets:
        found = _refusal(target, terms, blocking, enters, limits)
        if found is not None:
            target = target._replace(reason="%s; %s" % (target.reason, found.reason))
            if found.sure:
                refused[target.pid] = found
        targets.append(target)
    return Admission(selection._replace(targets=tuple(targets)), refused)


def _refusal(target: Process, terms: Terms, blocking: bool, enters: bool, limits: Limits) -> Optional[Refusal]:
    try:
        with ProcessDir(target.pid) as process:
            # A thread in state D refuses nothing here: the plan then stops nobody.
            found = look_at(process, False)
            barred = _barred(process, terms, terms.judge(found, blocking).way) if enters else None
    except Gone:
        return None  # the recorder will say so
    engaged = occupied(limits, found.state, found.tracer)
    if engaged is not None:
        return Refusal(True, "left alone: " + engaged.reason, engaged.remedy)
    verdict = terms.judge(found, blocking)
    if barred is not None and verdict.allowed is not False:
        return Refusal(True, barred.reason, barred.remedy)
    if verdict.allowed:
        return None
    doubt = "attaching may be refused" if verdict.allowed is None else "attaching is refused"
    return Refusal(verdict.allowed is False, "%s: %s" % (doubt, verdict.reason), verdict.remedy)


def _barred(process: ProcessDir, terms: Terms, way: str) -> Optional[HostError]:
    """Why its namespaces must not be entered; None where they may be, or where there is nothing to enter."""
    from ._namespaces import open_door  # few recordings need it

    try:
        door = open_door(process, terms.us, way)
    except HostError as error:
        return error
    if door is not None:
        door.close()
    return None
