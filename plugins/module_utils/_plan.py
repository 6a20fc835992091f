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
    enter_namespaces: bool = False

    @classmethod
    def from_wire(cls, data: Dict[str, object]) -> Options:
        """Validate one object of the wire; every refusal names the option (HostError)."""
        options = cls(
            duration=bounded(data, "duration", 30, MAX_DURATION, "s"),
            rate=bounded(data, "rate", 100, MAX_RATE, "Hz"),
            native=bool(flag(data, "native")),
            gil=bool(flag(data, "gil")),
            idle=bool(flag(data, "idle")),
            subprocesses=bool(flag(data, "subprocesses")),
            nonblocking=flag(data, "nonblocking"),
            function=bool(flag(data, "function")),
            enter_namespaces=bool(flag(data, "enter_namespaces")),
        )
        refuse_both(options.native, options.nonblocking)
        if options.gil and options.idle:
            raise HostError(
                "gil and idle exclude each other",
                "gil keeps only the thread that holds the GIL, idle adds the threads that hold nothing",
                "choose one of them",
            )
        return options


class Size(NamedTuple):
    """What a target is, as one nonblocking dump showed it: ``frames`` is the sum over all threads."""

    threads: int
    frames: int


class Facts(NamedTuple):
    """What else of a target bears on its plan.

    ``unmatched`` tells that the thread ids Python has are not those that py-spy will see in ``/proc`` (Python before
    3.11 has none; those of a container are its own), so that it cannot tell who sleeps; ``forked`` that the reason is
    a fork that Python does not know of; ``contained`` that it is in another PID namespace, and ``inside`` that py-spy
    goes in there; ``stuck`` that a thread stays in uninterruptible sleep; ``unsized`` why the size is not known, "" if
    it is.
    """

    unmatched: bool = False
    forked: bool = False
    contained: bool = False
    inside: bool = False
    stuck: bool = False
    unsized: str = ""


class Plan(NamedTuple):
    """How one target is sampled. ``kind`` is ``cpu``, ``wall`` or ``gil`` (the design's *measure*).

    ``inside`` tells that py-spy enters the target's namespaces for it.
    """

    kind: str
    rate: int
    blocking: bool
    native: bool
    subprocesses: bool
    function: bool
    reasons: Tuple[str, ...]
    size: Optional[Size] = None
    inside: bool = False

    def measure(self) -> Dict[str, object]:
        """The measure as it crosses the wire."""
        return {"kind": self.kind, "rate": self.rate, "blocking": self.blocking, "native": self.native}


#: Reading a frame costs py-spy 4 to 5 microseconds (0.4.3, measured on 1 to 61 threads of 5 to 100 frames): this many
#: frames a second are about a fifth of a core.
_FRAMES_PER_SECOND = 50_000
#: What one blocking sample stops the target for, fitted to the same measurements from above (seconds).
_STOPPED_PER_THREAD, _STOPPED_PER_FRAME = 150e-6, 5e-6
#: A blocking recorder may keep its target stopped for this share of the time.
_STOPPED_SHARE = 0.05
#: Below this a window of half a minute holds too few samples: then only the thread that holds the GIL is read.
_TOO_SLOW = 10
#: Whose stacks could not be read in time is large, or its host is busy: this is bearable for most, and watched.
_UNKNOWN_RATE = 20
#: With ``--gil`` only one thread is read. Blocking, 50 Hz left 96 % to a target of 61 threads: 13 us for each.
_GIL_RATE, _STOPPED_PER_THREAD_GIL = 100, 15e-6


def plan(options: Options, size: Optional[Size] = None, facts: Facts = Facts()) -> Plan:  # noqa: B008  # immutable
    """Choose the way of sampling; ``size`` is None where the target's is not known.

    Nonblocking is the default, unlike py-spy's own: stopping a target with 41
    threads 100 times a second left it 4 % of its CPU and counted its stopped
    threads as busy (measured with py-spy 0.4.3), while reading without
    stopping left it 92 % and the true shares; what it costs is some torn stacks.
    The rate that was asked for is the most that is taken.
    """
    reasons: List[str] = []
    blocking, native = _mode(options, facts, reasons)
    kind = _kind(options, facts, blocking, reasons)
    rate = options.rate if size is None else _bearable_rate(options.rate, kind, blocking, size, reasons)
    if facts.unsized:
        rate = min(rate, _UNKNOWN_RATE)
        reasons.append("%s: at most %d Hz" % (facts.unsized, rate))
    if rate < min(_TOO_SLOW, options.rate) and kind == "cpu" and not blocking:
        kind, rate = "gil", min(options.rate, _GIL_RATE)
        reasons[-1:] = ["%s; so only the thread that holds the GIL is read, %d times a second" % (reasons[-1], rate)]
    if kind == "gil":
        reasons.append(GIL_BIAS)
    if facts.inside:
        reasons.append("sampled from inside its container's namespaces, as asked for")
    words = tuple(reasons)
    return Plan(kind, rate, blocking, native, options.subprocesses, options.function, words, size, facts.inside)


#: What ``--gil`` cannot see: a target that hashes gave 44 to 103 of 450 samples.
GIL_BIAS = "gil: C code that has released the GIL is not seen"


def stopping(native: bool, nonblocking: Optional[bool], facts: Facts, reasons: List[str]) -> Tuple[bool, bool]:
    """Is the target stopped while it is read, and are frames of C code read? They can only be while it is stopped.

    What cannot be had although it was asked for becomes one of the ``reasons``.
    """
    if native and facts.contained and not facts.inside:
        reasons.append(
            "without native frames: py-spy cannot read those of a process in a container from its host;"
            " pyspy_enter_namespaces lets it go in"
        )
        native = False
    wanted = native or nonblocking is False
    if wanted and facts.stuck:
        without = ", and native frames are left out" if native else ""
        reasons.append(
            "not stopped for samples%s: a thread stays in uninterruptible sleep (state D), and stopping it would freeze"
            " the whole process" % without
        )
        return False, False
    return wanted, native


def _mode(options: Options, facts: Facts, reasons: List[str]) -> Tuple[bool, bool]:
    blocking, native = stopping(options.native, options.nonblocking, facts, reasons)
    if native:
        # Six threads, one of them busy: 138 of 193 samples were in those that slept (py-spy 0.4.3, 44 Hz).
        reasons.append(
            "native frames: the target is stopped for each sample, and threads that sleep may be counted as busy"
        )
    elif blocking:
        reasons.append(
            "blocking was asked for: with many threads it slows the target and counts stopped threads as busy"
        )
    return blocking, native


def _kind(options: Options, facts: Facts, blocking: bool, reasons: List[str]) -> str:
    """The measure. Blocking, py-spy finds the threads of an old Python by their stacks, but not through a container."""
    if options.gil or options.idle:
        return "gil" if options.gil else "wall"
    if facts.contained and facts.unmatched and not facts.inside:
        why = "in a container"
    elif facts.forked:
        why = "in a process that was forked behind Python's back (uWSGI does so)"
    elif facts.unmatched and not blocking:
        why = "before Python 3.11"
    else:
        return "cpu"
    reasons.append("%s threads that sleep would be counted as busy: the thread that holds the GIL is read" % why)
    return "gil"


def _bearable_rate(asked: int, kind: str, blocking: bool, size: Size, reasons: List[str]) -> int:
    if blocking and kind == "gil":
        most = _STOPPED_SHARE / max(size.threads * _STOPPED_PER_THREAD_GIL, 1e-6)
    elif blocking:
        most = _STOPPED_SHARE / max(size.threads * _STOPPED_PER_THREAD + size.frames * _STOPPED_PER_FRAME, 1e-6)
    elif kind == "gil":
        most = _GIL_RATE
    else:
        most = _FRAMES_PER_SECOND / max(size.frames, 1)
    rate = max(1, min(asked, int(most)))
    if rate < asked:
        what = "%d threads with %d frames" % size
        reasons.append("%d Hz instead of %d: reading %s costs too much for more" % (rate, asked, what))
    return rate


def refuse_both(native: bool, nonblocking: Optional[bool]) -> None:
    """HostError where both are asked for."""
    if native and nonblocking:
        raise HostError(
            "native and nonblocking exclude each other",
            "py-spy can unwind C frames only while the target is stopped",
            "choose one of them",
        )


def bounded(data: Dict[str, object], name: str, default: int, most: int, unit: str) -> int:
    value = data.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise HostError(
            "%s is not a whole number from 1 to %d (%s)" % (name, most, unit),
            "got %r" % (value,),
            "choose another value",
        )
    return value


def flag(data: Dict[str, object], name: str) -> Optional[bool]:
    value = data.get(name)
    if value is not None and not isinstance(value, bool):
        raise HostError("%s is neither true nor false" % name, "got %r" % (value,), "set it to true or false")
    return value
