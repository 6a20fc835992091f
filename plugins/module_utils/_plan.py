# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "plan" of the host wing (private to the collection): how to sample a target, and what that measures. Pure."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Tuple

from ._errors import HostError

#: An hour holds any incident's window; longer ones belong to a schedule of snapshots.
MAX_DURATION = 3600
#: Above this py-spy cannot keep up with any target that was measured, and falls behind.
MAX_RATE = 1000


class Options(NamedTuple):
    """What the user asked of a recording. ``duration`` is whole seconds, ``rate`` samples per second.

    ``nonblocking`` is None when the user left the choice to the plan.
    """

    duration: int
    rate: int
    native: bool
    gil: bool
    idle: bool
    subprocesses: bool
    nonblocking: Optional[bool]
    function: bool

    @classmethod
    def from_wire(cls, data: Dict[str, object]) -> Options:
        """Validate one object of the wire; every refusal names the option (HostError)."""
        options = cls(
            duration=_bounded(data, "duration", 30, MAX_DURATION, "s"),
            rate=_bounded(data, "rate", 100, MAX_RATE, "Hz"),
            native=bool(_flag(data, "native")),
            gil=bool(_flag(data, "gil")),
            idle=bool(_flag(data, "idle")),
            subprocesses=bool(_flag(data, "subprocesses")),
            nonblocking=_flag(data, "nonblocking"),
            function=bool(_flag(data, "function")),
        )
        if options.native and options.nonblocking:
            raise HostError(
                "native and nonblocking exclude each other",
                "py-spy can unwind C frames only while the target is stopped",
                "choose one of them",
            )
        if options.gil and options.idle:
            raise HostError(
                "gil and idle exclude each other",
                "gil keeps only the thread that holds the GIL, idle adds the threads that hold nothing",
                "choose one of them",
            )
        return options


class Plan(NamedTuple):
    """How one target is sampled. ``kind`` is ``cpu``, ``wall`` or ``gil`` (the design's *measure*)."""

    kind: str
    rate: int
    blocking: bool
    native: bool
    subprocesses: bool
    function: bool
    reasons: Tuple[str, ...]

    def measure(self) -> Dict[str, object]:
        """The measure as it crosses the wire."""
        return {"kind": self.kind, "rate": self.rate, "blocking": self.blocking, "native": self.native}


def plan(options: Options) -> Plan:
    """Choose the way of sampling.

    Nonblocking is the default, unlike py-spy's own: stopping a target with 41
    threads 100 times a second left it 4 % of its CPU and counted its stopped
    threads as busy (measured with py-spy 0.4.3), while reading without
    stopping left it 92 % and the true shares; what it costs is some torn stacks.
    """
    reasons: List[str] = []
    if options.native:
        blocking = True
        reasons.append("native frames: the target is stopped for each sample")
    elif options.nonblocking is False:
        blocking = True
        reasons.append(
            "blocking was asked for: with many threads it slows the target and counts stopped threads as busy"
        )
    else:
        blocking = False
    if options.gil:
        reasons.append("gil: C code that has released the GIL is not seen")
    kind = "gil" if options.gil else "wall" if options.idle else "cpu"
    return Plan(kind, options.rate, blocking, options.native, options.subprocesses, options.function, tuple(reasons))


def _bounded(data: Dict[str, object], name: str, default: int, most: int, unit: str) -> int:
    value = data.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise HostError(
            "%s is not a whole number from 1 to %d (%s)" % (name, most, unit),
            "got %r" % (value,),
            "choose another value",
        )
    return value


def _flag(data: Dict[str, object], name: str) -> Optional[bool]:
    value = data.get(name)
    if value is not None and not isinstance(value, bool):
        raise HostError("%s is neither true nor false" % name, "got %r" % (value,), "set it to true or false")
    return value
