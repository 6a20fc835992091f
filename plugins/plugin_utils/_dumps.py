# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "dumps" of the controller wing (private to the collection): what a dump of one target says, as typed records.

As ``py-spy dump --json`` gives it, innermost frame first, with what the host adds: when it was taken, and the CPU time
of each thread. Several dumps of one target over time are its *looks*. All of it came from a host and is untrusted:
it is validated and bounded as in the room "wire".
Locals are redacted as they are read; nothing keeps them unredacted.
"""

from __future__ import annotations

from dataclasses import dataclass

from ._fields import Fields, WireError, printable
from ._redaction import redact_local

#: Most dumps of one target, and most frames over all of them: 100 dumps of 100 threads 100 deep.
MAX_LOOKS = 100
MAX_FRAMES = 1_000_000
MAX_LOCALS = 200_000
#: Longest name of a local that is shown.
_MAX_NAME = 100


@dataclass(frozen=True)
class Local:
    """One local variable, redacted."""

    name: str
    text: str


@dataclass(frozen=True)
class Frame:
    """One frame: ``file`` whole, ``short`` as py-spy shortens it ("" where it did not), ``line`` 0 where not known."""

    name: str
    file: str
    short: str = ""
    line: int = 0
    locals: tuple[Local, ...] = ()

    @classmethod
    def from_wire(cls, data: object) -> Frame:
        fields = Fields(data, "frame")
        rows = [] if fields.value("locals") is None else fields.rows("locals")
        return cls(
            name=fields.text("name"),
            file=fields.text("filename"),
            short=fields.optional_text("short_filename") or "",
            line=_line(fields),
            locals=tuple(_local(row) for row in rows),
        )


def _line(fields: Fields) -> int:
    # py-spy's line is a signed number and below zero where the line table could not be read.
    value = fields.value("line")
    return 0 if isinstance(value, int) and not isinstance(value, bool) and value < 0 else fields.integer("line")


def _local(data: object) -> Local:
    fields = Fields(data, "local variable")
    name, text = fields.value("name"), fields.value("repr")
    if not isinstance(name, str) or not isinstance(text, str | None):
        raise WireError(
            "A host sent a local variable with a bad field", f"{type(name).__name__}, {type(text).__name__}"
        )
    # Not through Fields.text: that would cut the value before it is searched.
    return Local(printable(name)[:_MAX_NAME], redact_local(name, text or ""))


@dataclass(frozen=True)
class Thread:
    """One thread in one dump.

    ``id`` tells it from the others of its process (pthread's), ``os_id`` is the kernel's (None before Python 3.11).
    ``active`` is py-spy's view that it runs on a CPU (always true from outside a container, so nothing rests on it).
    ``cpu``: seconds of CPU time that it ever used, by the host's word; None where the host did not say.
    """

    id: int
    name: str
    os_id: int | None
    active: bool
    gil: bool
    frames: tuple[Frame, ...] = ()
    cpu: float | None = None

    @classmethod
    def from_wire(cls, data: object) -> Thread:
        fields = Fields(data, "thread")
        return cls(
            id=fields.integer("thread_id"),
            name=fields.optional_text("thread_name") or "",
            os_id=fields.optional_integer("os_thread_id"),
            active=fields.boolean("active"),
            gil=fields.boolean("owns_gil"),
            frames=tuple(Frame.from_wire(row) for row in fields.rows("frames")),
            cpu=fields.optional_number("cpu"),
        )


@dataclass(frozen=True)
class Look:
    """One dump of a target, ``at`` seconds by a clock of the host that does not jump.

    ``cpu``: seconds of CPU time that the whole process ever used; None where the host did not say.
    """

    at: float
    threads: tuple[Thread, ...]
    cpu: float | None = None

    @classmethod
    def from_wire(cls, data: object) -> Look:
        fields = Fields(data, "dump")
        threads = tuple(Thread.from_wire(row) for row in fields.rows("threads"))
        return cls(fields.optional_number("at") or 0.0, threads, fields.optional_number("cpu"))


@dataclass(frozen=True)
class Dump:
    """All looks at one target, in the order of time; ``others`` are its threads that have no Python stack."""

    host: str
    pid: int
    name: str
    looks: tuple[Look, ...] = ()
    others: int | None = None

    @classmethod
    def from_wire(cls, data: object) -> Dump:
        """Either ``looks``, or ``threads`` alone: then it was looked at once."""
        fields = Fields(data, "dump of a process")
        rows = [data] if fields.value("looks") is None else fields.rows("looks")
        if not 1 <= len(rows) <= MAX_LOOKS:
            raise WireError("A host sent a bad number of dumps of one process", str(len(rows)))
        _check_size(rows)
        looks = tuple(sorted((Look.from_wire(row) for row in rows), key=lambda look: look.at))
        for look in looks:
            if len({thread.id for thread in look.threads}) < len(look.threads):
                raise WireError("A host sent a dump in which two threads are the same one")
        others = fields.optional_integer("others")
        return cls(fields.text("host"), fields.integer("pid"), fields.text("name", ""), looks, others)

    def to_json(self) -> dict[str, object]:
        """As :meth:`from_wire` reads it again, in py-spy's own words; everything is redacted and bounded by now."""
        looks = [
            {"at": look.at, "cpu": look.cpu, "threads": [_plain_thread(thread) for thread in look.threads]}
            for look in self.looks
        ]
        return {"host": self.host, "pid": self.pid, "name": self.name, "looks": looks, "others": self.others}

    @property
    def seconds(self) -> float:
        """From the first look to the last."""
        return self.looks[-1].at - self.looks[0].at if self.looks else 0.0


def _check_size(looks: list[object]) -> None:
    """Count before anything is built or redacted: a host shall not keep the controller busy."""
    remedy = "dump fewer times, or without locals; if the host may be compromised, look at it by other means"
    frames = variables = 0
    for look in looks:
        for thread in Fields(look, "dump").rows("threads"):
            rows = Fields(thread, "thread").rows("frames")
            frames += len(rows)
            if frames > MAX_FRAMES:
                raise WireError("A host sent more frames than a process can have", f"more than {MAX_FRAMES}", remedy)
            for frame in rows:
                fields = Fields(frame, "frame")
                variables += 0 if fields.value("locals") is None else len(fields.rows("locals"))
            if variables > MAX_LOCALS:
                raise WireError(
                    "A host sent more locals than are read of one process", f"more than {MAX_LOCALS}", remedy
                )


def _plain_thread(thread: Thread) -> dict[str, object]:
    return {
        "thread_id": thread.id,
        "thread_name": thread.name,
        "os_thread_id": thread.os_id,
        "active": thread.active,
        "owns_gil": thread.gil,
        "cpu": thread.cpu,
        "frames": [_plain_frame(frame) for frame in thread.frames],
    }


def _plain_frame(frame: Frame) -> dict[str, object]:
    plain = {"name": frame.name, "filename": frame.file, "short_filename": frame.short, "line": frame.line}
    if not frame.locals:
        return plain
    return {**plain, "locals": [{"name": local.name, "repr": local.text} for local in frame.locals]}
