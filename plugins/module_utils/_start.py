# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "start" of the host wing (private to the collection): the start pass, from arguments to a running keeper."""

from __future__ import annotations

import os
import time
from typing import Callable, Dict, List, NamedTuple

from ._attach import RELAX
from ._credentials import ptrace_scope
from ._detach import launch, way
from ._errand import Arrival, Errand, answer, arrive, judged, part, rehearse
from ._errors import HostError
from ._lease import asker
from ._plan import Options, plan
from ._procfs import Gone, ProcessDir, boot_id
from ._recording import Owner, Request, sampled_now
from ._selection import Process, Selection
from ._state import Folder, locked

#: Starting the keeper and its recorders takes up to this long (seconds); added to the planned end.
_STARTING = 0.4


class Order(NamedTuple):
    """The arguments of ``start``, validated."""

    errand: Errand
    options: Options
    keep: int

    @classmethod
    def from_wire(cls, data: Dict[str, object]) -> Order:
        keep = data.get("keep", 900)
        if isinstance(keep, bool) or not isinstance(keep, int) or not 10 <= keep <= 86400:
            raise HostError(
                "keep is not a whole number from 10 to 86400 (s)", "got %r" % (keep,), "choose another value"
            )
        return cls(Errand.from_wire(data), Options.from_wire(part(data, "options")), keep)

    def narrow(self, selection: Selection) -> Selection:
        """With ``subprocesses`` a target below another one is sampled by that one's recorder."""
        if not self.options.subprocesses:
            return selection
        chosen = {target.pid for target in selection.targets}
        below = {target.pid: _ancestor_in(target.pid, chosen) for target in selection.targets}
        return _without(
            selection, {pid: "sampled with its ancestor %d (subprocesses)" % up for pid, up in below.items() if up}
        )


def start(data: Dict[str, object], payload: Callable[[], bytes], program: str) -> Dict[str, object]:
    """Select, see that py-spy is there, and leave a keeper behind.

    Answers ``need_binary`` when py-spy has to be brought first: the same call is then repeated with it as payload.
    Without targets no recording is started; nor where all of them are refused, who then are ``captures`` at once.
    """
    order = Order.from_wire(data)
    errand, planned = order.errand, plan(order.options)
    blocking, enters = planned.blocking, order.options.enter_namespaces
    if errand.check:
        return rehearse(errand, blocking, enters, order.narrow)
    way()  # a refusal comes before anything is brought
    arrival = arrive(errand, payload(), order.narrow)
    if not isinstance(arrival, Arrival):
        return arrival
    os.close(arrival.found.fd)
    admission = judged(errand, arrival.selection, blocking, enters)
    selection, failed = admission.selection, admission.failed(planned.measure())
    if not admission.admitted():
        return dict(answer(selection, arrival.brought), warnings=list(planned.reasons), captures=failed)
    with locked():
        selection = _free(selection)
        admitted = [target for target in selection.targets if target.pid not in admission.refused]
        request = _request(order, admitted, selection, failed)
        folder = Folder.create()
        try:
            request.write(folder)
            keeper = launch(folder, request, program)
        except OSError as error:
            folder.remove()
            raise HostError(
                "The recording cannot be started", str(error), "free space below the state directory"
            ) from None
        except HostError:
            folder.remove()
            raise
    left = request.ends_at - time.monotonic()
    recording = {"id": folder.identity, "ends_in": left, "keeper": keeper}
    return dict(answer(selection, arrival.brought), warnings=list(planned.reasons), recording=recording)


def _request(order: Order, admitted: List[Process], selection: Selection, failed: List[Dict[str, object]]) -> Request:
    errand = order.errand
    ends_at = time.monotonic() + _STARTING + order.options.duration
    return Request(
        options=dict(order.options._asdict()),
        targets=[target.to_wire() for target in admitted],
        refused=failed,
        stopped=[target.pid for target in selection.targets if _is_stopped(target)],
        binary=dict(errand.binary._asdict()),
        relax=errand.policy == RELAX,
        scope=ptrace_scope(),
        by=asker(errand.by) if errand.policy == RELAX else "",
        run=errand.run,
        reason=errand.reason,
        boot=boot_id(),
        ends_at=ends_at,
        keep_until_at=ends_at + order.keep,
    )


def _ancestor_in(pid: int, chosen: set[int]) -> int:
    for _generation in range(64):
        try:
            with ProcessDir(pid) as process:
                pid = process.ppid
        except Gone:
            return 0
        if pid in chosen:
            return pid
        if pid <= 1:
            return 0
    return 0


def _free(selection: Selection) -> Selection:
    """Leave out targets that another recording samples now: two recorders on one target lose samples to each other."""
    taken = sampled_now()
    busy = {}
    for target in selection.targets:
        other = taken.get(Owner(target.pid, target.start))
        if other:
            busy[target.pid] = "already being sampled by recording %s" % other
    left = _without(selection, busy)
    if not left.targets:
        raise HostError(
            "All chosen targets are already being sampled",
            "; ".join("PID %d: %s" % pair for pair in busy.items()),
            "wait for that window to end, or end it with the cleanup playbook (-e pyspy_cleanup_force=true)",
        )
    return left


def _without(selection: Selection, reasons: Dict[int, str]) -> Selection:
    kept: List[Process] = [target for target in selection.targets if target.pid not in reasons]
    dropped = [target._replace(reason=reasons[target.pid]) for target in selection.targets if target.pid in reasons]
    return selection._replace(targets=tuple(kept), skipped=tuple(selection.skipped) + tuple(dropped))


def _is_stopped(target: Process) -> bool:
    try:
        with ProcessDir(target.pid) as process:
            return process.state in ("T", "t")
    except Gone:
        return False
