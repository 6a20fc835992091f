# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "dumping" of the host wing (private to the collection): the operation ``dump``, all of it in one pass.

Nothing is left on the host meanwhile: py-spy ends with us, a lowered ptrace_scope has its dead-man, and stopped targets
have their resumer. What no net can reach ends with the alarm clock.
"""

from __future__ import annotations

import base64
import os
import signal
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from ._attach import RELAX
from ._credentials import Terms
from ._dump_options import Options
from ._dumper import Tools
from ._errand import Answer, Arrival, Errand, answer, arrive, judged, part, rehearse
from ._errors import HostError
from ._evidence import joined, still_running, to_wire
from ._exposure import Exposure
from ._launch import give_way, sealed
from ._lease import asker
from ._namespaces import Guard
from ._privileges import Kernel
from ._resumer import Resumer, running
from ._selection import Selection
from ._subject import Subject

#: Dumps at the same time: more than there are CPUs makes all of them late.
_AT_ONCE = min(8, max(2, os.cpu_count() or 1))
#: A host that hangs does so with all of its workers; a dump of one costs a few milliseconds.
_MOST_TARGETS = 64
#: One look may take this long (seconds): py-spy reads the symbols of large interpreters from slow disks.
_PATIENCE = 10.0
#: A lease is over this long after the deadline, and our own end comes (seconds).
_MARGIN, _ALARM = 10.0, 20.0
#: Our own end comes this long after the last look (seconds), where a line that was cut does not say so: the most that
#: is sent takes 6 Mbit/s then, the usual megabyte a fortieth of that.
_SENDING = 60.0
#: Most bytes of all looks together, compressed.
_ROOM = 32 * 1024 * 1024
_LOOK = 0.02


class Order(NamedTuple):
    """The arguments of ``dump``, validated."""

    errand: Errand
    options: Options

    @classmethod
    def from_wire(cls, data: Dict[str, object]) -> Order:
        errand = Errand.from_wire(data)
        everybody = errand.selectors._replace(hot=False)
        if part(data, "selectors").get("max_targets") is None:
            everybody = everybody._replace(max_targets=_MOST_TARGETS)
        return cls(errand._replace(selectors=everybody), Options.from_wire(part(data, "options")))


def dump(data: Dict[str, object], payload: Callable[[], bytes]) -> Answer:
    """Select, see that py-spy is there, look at all targets as often as was asked for, and answer with the looks."""
    order = Order.from_wire(data)
    errand, options = order.errand, order.options
    blocking, enters = options.stops(), options.enter_namespaces
    if errand.check:
        return rehearse(errand, blocking, enters, _all)
    began = time.time()
    deadline = time.monotonic() + options.deadline
    signal.setitimer(signal.ITIMER_REAL, options.deadline + _ALARM)
    arrival = arrive(errand, payload(), _all)
    if not isinstance(arrival, Arrival):
        return arrival if "need_binary" in arrival else _answered(arrival, began, None, [], b"")
    admission = judged(errand, arrival.selection, blocking, enters)
    subjects = [Subject(target, options) for target in admission.admitted()]
    found = answer(admission.selection, arrival.brought)
    evidence = None
    if subjects:
        found["warnings"], evidence = _look_at_all(order, arrival, subjects, deadline)
    heads, bodies = _gathered(subjects)
    return _answered(found, began, evidence, heads + admission.failed(options.measure()), bodies)


def _answered(
    found: Answer, began: float, evidence: Optional[Answer], captures: List[Dict[str, object]], bodies: bytes
) -> Answer:
    data = base64.b64encode(bodies).decode()
    return dict(found, began=began, ended=time.time(), evidence=evidence, captures=captures, data=data)


def _all(selection: Selection) -> Selection:
    return selection


def _look_at_all(
    order: Order, arrival: Arrival, subjects: Sequence[Subject], deadline: float
) -> Tuple[List[str], Answer]:
    """Warnings, and the evidence."""
    errand, options = order.errand, order.options
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    give_way()
    relax = errand.policy == RELAX
    exposure = Exposure(os.urandom(8).hex(), relax, errand.reason, asker(errand.by) if relax else "")
    exposure.begin(deadline + _MARGIN - time.monotonic())
    try:
        binary = sealed(arrival.found.fd) if options.enter_namespaces else arrival.found.fd
        tools = Tools(binary, Terms.here(errand.policy), Kernel())
        missed = Rounds(subjects, tools, deadline).run(options)
    finally:
        scope, notes = exposure.end()
    evidence = to_wire(scope, joined(subject.settle() for subject in subjects), notes)
    # What is left to do is to send it all, however slow the line is.
    signal.setitimer(signal.ITIMER_REAL, _SENDING)
    return missed, dict(evidence, left=still_running())


class Rounds:
    """Looks at all targets, a few at the same time; a round is one look at each."""

    def __init__(self, subjects: Sequence[Subject], tools: Tools, deadline: float) -> None:
        self._subjects = subjects
        self._tools = tools
        self._deadline = deadline
        self._guard = Guard()
        #: Those that a py-spy looks at now, and until when.
        self._busy: Dict[Subject, float] = {}

    def run(self, options: Options) -> List[str]:
        """Look as often as asked for, until the deadline; gives warnings. All py-spys have ended afterwards."""
        for subject in self._subjects:
            subject.hold(self._tools)
        resumer = self._net()
        began = time.monotonic()
        try:
            for number in range(options.looks):
                start = began + number * options.interval
                if all(subject.failure is not None for subject in self._subjects):
                    return []
                if start >= self._deadline or (number and time.monotonic() >= self._deadline):
                    return [
                        "the deadline of %d s left time for %d of %d dumps" % (options.deadline, number, options.looks)
                    ]
                time.sleep(max(0.0, start - time.monotonic()))
                self._round()
            return []
        finally:
            for subject in self._busy:  # something went wrong: no py-spy may hold its target when the net goes
                subject.dumper.end()
            for subject in self._busy:
                subject.end()
            if resumer is not None:
                resumer.dismiss()

    def _net(self) -> Optional[Resumer]:
        stopping = [one.process for one in self._subjects if one.blocking and one.process is not None]
        return Resumer(running(stopping)) if stopping else None

    def _round(self) -> None:
        waiting = list(self._subjects)
        while waiting or self._busy:
            while waiting and len(self._busy) < _AT_ONCE and time.monotonic() < self._deadline:
                subject = waiting.pop(0)
                self._busy[subject] = min(time.monotonic() + _PATIENCE, self._deadline)
                if not subject.begin(self._tools):
                    del self._busy[subject]
            if not self._busy:
                return
            signal.sigtimedwait({signal.SIGCHLD}, _LOOK)
            self._watch_over()
            waiting += self._ended()

    def _ended(self) -> List[Subject]:
        """Let go of those that have ended or are late; gives those that are to be tried again."""
        again = []
        for subject, limit in list(self._busy.items()):
            if subject.dumper.running() and time.monotonic() < limit:
                continue
            repeat = subject.end()
            del self._busy[subject]
            if repeat:
                again.append(subject)
        return again

    def _watch_over(self) -> None:
        """End those that are in a container which somebody has entered who could take them over."""
        doors: Set[int] = {subject.door.place for subject in self._busy if subject.door is not None}
        found = self._guard.look(doors)
        for subject in self._busy:
            if subject.door is not None and subject.door.place in found:
                subject.intruded(found[subject.door.place])


def _gathered(subjects: Sequence[Subject]) -> Tuple[List[Dict[str, object]], bytes]:
    """Heads and bodies; looks for which there is no more room on the wire are left out, and said to be."""
    heads: List[Dict[str, object]] = []
    bodies: List[bytes] = []
    size = 0
    for subject in subjects:
        head, body = subject.capture()
        if size + len(body) > _ROOM:
            lost = HostError(
                "its dumps are too large to be sent", "%d bytes" % len(body), "ask for fewer dumps, or targets"
            )
            head.update(lost.to_wire(), outcome="failed", size=0)
            body = b""
        size += len(body)
        heads.append(head)
        bodies.append(body)
    return heads, b"".join(bodies)
