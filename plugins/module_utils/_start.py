# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "start" of the host wing (private to the collection): the start pass, from arguments to a running keeper."""

from __future__ import annotations

import os
import sys
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from ._admission import admit
from ._attach import RELAX
from ._binary import Found, Wanted, check_place, find, machine, put
from ._credentials import Terms, policy_from_wire, ptrace_scope
from ._detach import launch, way
from ._errors import HostError
from ._guardrails import Limits, judge, read
from ._lease import asker
from ._plan import Options, plan
from ._procfs import Gone, ProcessDir, boot_id
from ._recording import Owner, Request, sampled_now
from ._selection import Process, Selection, look
from ._selectors import Selectors
from ._state import Folder, base_path, locked

#: Starting the keeper and its recorders takes up to this long (seconds); added to the planned end.
_STARTING = 0.4


class Order(NamedTuple):
    """The arguments of ``start``, validated."""

    selectors: Selectors
    options: Options
    binary: Wanted
    policy: str
    limits: Limits
    size: int
    keep: int
    run: str
    reason: str
    by: str
    check: bool

    @classmethod
    def from_wire(cls, data: Dict[str, object]) -> Order:
        keep = data.get("keep", 900)
        if isinstance(keep, bool) or not isinstance(keep, int) or not 10 <= keep <= 86400:
            raise HostError(
                "keep is not a whole number from 10 to 86400 (s)", "got %r" % (keep,), "choose another value"
            )
        return cls(
            selectors=Selectors.from_wire(_object(data, "selectors")),
            options=Options.from_wire(_object(data, "options")),
            binary=wanted(data),
            policy=policy_from_wire(data.get("attach_policy")),
            limits=Limits.from_wire(_object(data, "limits")),
            size=int(str(data.get("size", 0))),
            keep=keep,
            run=str(data.get("run", ""))[:200],
            reason=str(data.get("reason", ""))[:500],
            by=str(data.get("by", ""))[:200],
            check=data.get("check") is True,
        )


def wanted(data: Dict[str, object]) -> Wanted:
    """The part ``binary`` of an operation's arguments: which py-spy is meant."""
    binary = _object(data, "binary")
    sums = binary.get("sha256")
    return Wanted(
        version=str(binary.get("version", "")),
        sha256={str(key): str(value) for key, value in sums.items()} if isinstance(sums, dict) else {},
        directory=str(binary.get("directory", "")),
        executable=str(binary.get("executable", "")),
    )


def _object(data: Dict[str, object], name: str) -> Dict[str, object]:
    value = data.get(name, {})
    if not isinstance(value, dict):
        raise HostError("The argument %s is not an object" % name, repr(value)[:80], "see the architecture page")
    return value


def start(data: Dict[str, object], payload: Callable[[], bytes], program: str) -> Dict[str, object]:
    """Select, see that py-spy is there, and leave a keeper behind.

    Answers ``need_binary`` when py-spy has to be brought first: the same call is then repeated with it as payload.
    Without targets no recording is started; nor where all of them are refused, who then are ``captures`` at once.
    """
    order = Order.from_wire(data)
    if order.check:
        return _rehearse(order)
    way()  # a refusal comes before anything is brought
    found, brought = bring(order.binary, order.size, payload())
    if found is None:
        nothing = _nothing_to_sample(order)
        if nothing is not None:
            return _answer(nothing, None, False)
        _refuse_if_strained(order.limits)
        return {"need_binary": {"architecture": machine()}}
    os.close(found.fd)
    selection = _targets(order, look(order.selectors, pyspy=found.version))
    if not selection.targets:
        return _answer(selection, None, brought)
    _refuse_if_strained(order.limits)
    admission = admit(selection, Terms.here(order.policy), order.options, order.limits)
    selection, failed = admission.selection, admission.failed(order.options)
    if not admission.admitted():
        return dict(_answer(selection, order, brought), captures=failed)
    with locked():
        selection = _free(selection)
        now = time.monotonic()
        ends_at = now + _STARTING + order.options.duration
        request = Request(
            options=dict(order.options._asdict()),
            targets=[target.to_wire() for target in selection.targets if target.pid not in admission.refused],
            refused=failed,
            stopped=[target.pid for target in selection.targets if _is_stopped(target)],
            binary=dict(order.binary._asdict()),
            relax=order.policy == RELAX,
            scope=ptrace_scope(),
            by=asker(order.by) if order.policy == RELAX else "",
            run=order.run,
            reason=order.reason,
            boot=boot_id(),
            ends_at=ends_at,
            keep_until_at=ends_at + order.keep,
        )
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
    answer = _answer(selection, order, brought)
    answer["recording"] = {"id": folder.identity, "ends_in": ends_at - time.monotonic(), "keeper": keeper}
    return answer


def _rehearse(order: Order) -> Dict[str, object]:
    """Check mode: the selection that a recording would have, or the HostError with which it would fail."""
    selection = _targets(order, look(order.selectors, pyspy=order.binary.version))
    if not selection.targets:
        return _answer(selection, None, False)
    _refuse_if_strained(order.limits)
    admission = admit(selection, Terms.here(order.policy), order.options, order.limits)
    nowhere = admission.nowhere()
    if nowhere is not None:
        raise nowhere
    return _answer(admission.selection, None, False)


def _refuse_if_strained(limits: Limits) -> None:
    """HostError where the guardrails say so; results go where the state directory is or will be."""
    strained = judge(limits, read(os.path.dirname(base_path())))
    if strained is not None:
        raise strained


def _nothing_to_sample(order: Order) -> Optional[Selection]:
    """The selection where it holds no target, so that nothing is brought; a first look does without CPU times."""
    if look(order.selectors, 0, order.binary.version).targets:
        return None
    selection = look(order.selectors, pyspy=order.binary.version)
    return None if selection.targets else selection


def bring(binary: Wanted, size: int, payload: bytes) -> Tuple[Optional[Found], bool]:
    """The right py-spy on this host, and whether it was put there now; (None, False) when it has to be brought."""
    found = find(binary)
    if found is not None:
        return found, False
    check_place(binary, size)
    if not payload:
        return None, False
    return put(binary, payload), True


def _answer(selection: Selection, order: Optional[Order], brought: bool) -> Dict[str, object]:
    plans = [] if order is None else [list(plan(order.options).reasons)]
    return {
        "selection": selection.to_wire(),
        "warnings": plans[0] if plans else [],
        "facts": {
            "architecture": os.uname().machine,
            "kernel": os.uname().release,
            "python": "%d.%d.%d" % sys.version_info[:3],
        },
        "binary_changed": brought,
    }


def _targets(order: Order, selection: Selection) -> Selection:
    """With ``subprocesses`` a target below another one is sampled by that one's recorder."""
    if not order.options.subprocesses:
        return selection
    chosen = {target.pid for target in selection.targets}
    below = {target.pid: _ancestor_in(target.pid, chosen) for target in selection.targets}
    return _without(
        selection, {pid: "sampled with its ancestor %d (subprocesses)" % up for pid, up in below.items() if up}
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
