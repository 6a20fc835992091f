# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "guardrails" of the host wing (private to the collection): may this host bear a recording now?

:func:`read` looks, :func:`judge` decides; each limit has a variable of its own
and a refusal names the limit and what was measured.
"""

from __future__ import annotations

import os
from typing import Dict, List, NamedTuple, Optional

from ._errors import HostError


class Limits(NamedTuple):
    """What is still bearable; 0 turns a limit off. ``allow_…``: targets that somebody else has in hand.

    The defaults refuse only a host that is about to fall over: a busy host is what a profile is wanted for.
    ``max_load`` is the one-minute load average per CPU; pressures are the share of the last ten seconds in which
    some task waited (per cent; the kernel's Documentation/accounting/psi.rst); memory and space are MiB.
    """

    max_load: float = 10.0
    max_memory_pressure: float = 40.0
    max_io_pressure: float = 80.0
    min_free_memory: float = 128.0
    min_free_space: float = 32.0
    allow_traced: bool = False
    allow_stopped: bool = False

    @classmethod
    def from_wire(cls, data: Dict[str, object]) -> Limits:
        """Validate one object of the wire; what is left out has its default. HostError names the limit."""
        return cls(
            max_load=_bounded(data, "max_load"),
            max_memory_pressure=_bounded(data, "max_memory_pressure"),
            max_io_pressure=_bounded(data, "max_io_pressure"),
            min_free_memory=_bounded(data, "min_free_memory"),
            min_free_space=_bounded(data, "min_free_space"),
            allow_traced=_flag(data, "allow_traced"),
            allow_stopped=_flag(data, "allow_stopped"),
        )


def _bounded(data: Dict[str, object], name: str) -> float:
    value = data.get(name, Limits._field_defaults[name])
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
        raise HostError("%s is not a number of 0 or more" % name, "got %r" % (value,), "choose another value")
    return float(value)


def _flag(data: Dict[str, object], name: str) -> bool:
    value = data.get(name, Limits._field_defaults[name])
    if not isinstance(value, bool):
        raise HostError("%s is not true or false" % name, "got %r" % (value,), "choose one of them")
    return value


class Readings(NamedTuple):
    """What was measured, in the units of :class:`Limits`; None where this kernel does not tell."""

    load: Optional[float]
    memory_pressure: Optional[float]
    io_pressure: Optional[float]
    free_memory: Optional[float]
    free_space: Optional[float]


class _Rail(NamedTuple):
    limit: str
    reading: str
    least: bool
    text: str
    remedy: str


_RAILS = (
    _Rail("max_load", "load", False, "load average per CPU", "wait until it is calmer"),
    _Rail("max_memory_pressure", "memory_pressure", False, "memory pressure (%, last 10 s)", "free memory"),
    _Rail("max_io_pressure", "io_pressure", False, "disk pressure (%, last 10 s)", "wait until it is calmer"),
    _Rail("min_free_memory", "free_memory", True, "available memory (MiB)", "free memory"),
    _Rail("min_free_space", "free_space", True, "free space for results (MiB)", "free some space there"),
)


def judge(limits: Limits, readings: Readings) -> Optional[HostError]:
    """Why a recording is refused now: all limits that are passed, in one line; None when there is none."""
    passed: List[_Rail] = []
    words: List[str] = []
    for rail in _RAILS:
        limit, value = getattr(limits, rail.limit), getattr(readings, rail.reading)
        if value is None or not limit or (value >= limit if rail.least else value <= limit):
            continue
        passed.append(rail)
        words.append("%s is %.1f, the limit is %g (pyspy_%s)" % (rail.text, value, limit, rail.limit))
    if not passed:
        return None
    return HostError(
        "This host is too strained now",
        "; ".join(words),
        "%s, or change the limit: -e pyspy_%s=…" % (passed[0].remedy, passed[0].limit),
    )


def occupied(limits: Limits, state: str, tracer: int) -> Optional[HostError]:
    """Why a target in this state (``/proc/<pid>/stat``), traced by this PID (0: by nobody), is left alone."""
    if tracer and not limits.allow_traced:
        return HostError(
            "process %d traces it: somebody is debugging it" % tracer,
            "",
            "end that debugger, or sample it all the same: -e pyspy_allow_traced=true",
        )
    if state in ("T", "t") and not limits.allow_stopped:
        return HostError(
            "it is stopped (state %s): every sample would be the same" % state,
            "",
            "resume it (kill -CONT), or sample it all the same: -e pyspy_allow_stopped=true",
        )
    return None


def read(place: str) -> Readings:
    """Look at this host; ``place`` is a directory on the file system that results go to."""
    return Readings(
        load=os.getloadavg()[0] / (os.cpu_count() or 1),
        memory_pressure=_pressure("memory"),
        io_pressure=_pressure("io"),
        free_memory=_available_memory(),
        free_space=_free_space(place),
    )


def parse_pressure(text: str) -> Optional[float]:
    """``avg10`` of the line ``some`` in a file of ``/proc/pressure``; None for anything else."""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["some"] and len(words) > 1 and words[1].startswith("avg10="):
            try:
                return float(words[1][6:])
            except ValueError:
                return None
    return None


def parse_available(text: str) -> Optional[float]:
    """``MemAvailable`` of ``/proc/meminfo`` in MiB; None where there is no such line."""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["MemAvailable:"] and len(words) > 1 and words[1].isdigit():
            return int(words[1]) / 1024.0
    return None


def _pressure(resource: str) -> Optional[float]:
    return parse_pressure(_text("/proc/pressure/" + resource))


def _available_memory() -> Optional[float]:
    return parse_available(_text("/proc/meminfo"))


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as handle:
            return handle.read(8192)
    except OSError:  # no such file, or pressure accounting turned off at boot
        return ""


def _free_space(place: str) -> Optional[float]:
    try:
        found = os.statvfs(place)
    except OSError:
        return None
    free = found.f_bfree if os.geteuid() == 0 else found.f_bavail
    return free * found.f_frsize / 1048576.0 if found.f_blocks else None
