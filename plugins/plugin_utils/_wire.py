# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "wire" of the controller wing (private to the collection): what hosts answer, as typed records.

Everything here came from a host and is untrusted: each record has a
``from_wire`` that takes decoded JSON, checks every field's type and bounds
text in length, and raises :class:`WireError` on anything else; and a
``to_json`` that gives plain dicts back, for the run's folder.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from ._fields import MAX_TEXT, Fields, WireError, printable
from ._redaction import redact_command_line

JsonObject = dict[str, object]

#: What a measure is called where nothing was measured: the capture is a dump.
DUMP = "dump"
#: The highest rate that can be asked for (Hz), as hosts have it in their `_plan.py`.
MAX_RATE = 1000
#: Most arguments that are kept of a command line.
_MAX_ARGUMENTS = 200
#: What a run can know of a host: see :class:`HostRecord`.
STATUSES = ("recording", "collected", "nothing", "failed", "unreachable", "opted_out")


@dataclass(frozen=True)
class ErrorText:
    """A failure as it crosses the wire: see :class:`FleetError`."""

    reason: str
    detail: str = ""
    remedy: str = ""

    @classmethod
    def from_wire(cls, data: object) -> ErrorText:
        fields = Fields(data, "error")
        return cls(fields.text("reason"), fields.text("detail", ""), fields.text("remedy", ""))


@dataclass(frozen=True)
class Container:
    """Where a process is: ``name`` is the name in its pod on a Kubernetes node; what is not known is "".

    ``claim`` says whose word the rest is, where anybody but the host's root could have said it.
    """

    runtime: str
    id: str
    name: str
    image: str
    pod: str
    namespace: str
    claim: str

    @classmethod
    def from_wire(cls, data: object) -> Container:
        fields = Fields(data, "container")
        return cls(*(fields.text(name) for name in cls.__dataclass_fields__))

    @property
    def short_id(self) -> str:
        """As runtimes show theirs; the names of LXC, nspawn and bare namespaces are whole."""
        return self.id[:12] if len(self.id) == 64 else self.id

    def text(self) -> str:
        """What people call it."""
        name = self.name or self.short_id
        return f"{self.namespace}/{self.pod}/{name}" if self.pod else name


@dataclass(frozen=True)
class Process:
    """One process that was considered, chosen or not.

    ``start`` is the start time in clock ticks since boot (``/proc/<pid>/stat``,
    field 22); with ``pid`` it names the process for as long as the host is up.
    ``cpu`` is per cent of one core over a short window just before the choice,
    ``None`` when it was not measured. ``role`` is ``worker``, ``master``,
    ``single`` (neither) or ``helper`` (never worth a profile). ``reason`` is one
    line: why it was chosen or skipped. ``container`` is None outside of containers, ``container_pid`` the PID as seen
    inside. ``unit`` is the service of systemd that a target is in (``user@1000.service/web.service`` where it is a
    user's own), None in none.
    """

    pid: int
    start: int
    user: str
    name: str
    role: str
    python: str | None
    cpu: float | None
    reason: str
    container: Container | None = None
    container_pid: int | None = None
    unit: str | None = None

    @property
    def who(self) -> str:
        """For people: what runs, and its PID, with that inside its container."""
        inside = f", {self.container_pid} in {self.container.text()}" if self.container else ""
        return f"{self.name} (pid {self.pid}{inside})"

    @classmethod
    def from_wire(cls, data: object) -> Process:
        fields = Fields(data, "process")
        return cls(
            pid=fields.integer("pid"),
            start=fields.integer("start"),
            user=fields.text("user"),
            name=fields.text("name"),
            role=fields.text("role"),
            python=fields.optional_text("python"),
            cpu=fields.optional_number("cpu"),
            reason=fields.text("reason"),
            container=fields.optional("container", Container.from_wire),
            container_pid=fields.optional_integer("container_pid"),
            unit=fields.optional_text("unit"),
        )


@dataclass(frozen=True)
class Measure:
    """What the weights of a capture mean. Weights are seconds.

    ``kind`` is ``cpu`` (threads that are not idle), ``wall`` (all threads),
    ``gil`` (the thread that holds the GIL), or ``dump``: stacks alone. ``rate`` is samples per second as
    planned (a whole number; 0 of a dump); ``blocking`` tells whether the target was stopped for each sample;
    ``native`` whether frames of C code are included. Profiles of different
    ``kind`` are never summed silently.
    """

    kind: str
    rate: float
    blocking: bool
    native: bool

    @classmethod
    def from_wire(cls, data: object) -> Measure:
        fields = Fields(data, "measure")
        kind = fields.text("kind")
        if kind not in ("cpu", "wall", "gil", DUMP):
            raise WireError("A host sent a measure of an unknown kind", kind)
        rate = fields.number("rate")
        least, most = (0, 0) if kind == DUMP else (1, MAX_RATE)
        # The highest rate of a run is that of the fleet's files, and so of what all other hosts brought.
        if not (least <= rate <= most and rate.is_integer()):
            raise WireError("A host sent a measure of an impossible rate", f"{rate:g} Hz")
        return cls(kind, rate, fields.boolean("blocking"), fields.boolean("native"))


@dataclass(frozen=True)
class Harm:
    """What a target was, and what sampling cost it, as its host measured.

    ``threads`` and ``frames`` (over all threads) were seen just before; ``stopped`` is the share of looks at which it
    was stopped for a tracer, per cent; ``recorder_cpu`` what py-spy used, and ``cpu_before``, ``cpu_during`` what the
    target itself did, per cent of a core; ``late`` is how often py-spy said that it was behind. ``None``: not known.
    """

    threads: int | None
    frames: int | None
    stopped: float
    recorder_cpu: float
    late: int
    cpu_before: float | None
    cpu_during: float | None

    @classmethod
    def from_wire(cls, data: object) -> Harm:
        fields = Fields(data, "record of harm")
        return cls(
            threads=fields.optional_integer("threads"),
            frames=fields.optional_integer("frames"),
            stopped=fields.number("stopped"),
            recorder_cpu=fields.number("recorder_cpu"),
            late=fields.integer("late"),
            cpu_before=fields.optional_number("cpu_before"),
            cpu_during=fields.optional_number("cpu_during"),
        )

    def text(self) -> str:
        """One line for people."""
        parts = [
            f"target stopped {self.stopped:.1f} % of the time",
            f"py-spy used {self.recorder_cpu:.0f} % of a core",
            f"py-spy was behind {self.late} times" if self.late else "",
        ]
        if self.cpu_before is not None and self.cpu_during is not None:
            parts.append(f"the target's own CPU {self.cpu_before:.0f} % before, {self.cpu_during:.0f} % during")
        return "cost: " + ", ".join(filter(None, parts))


@dataclass(frozen=True)
class Capture:
    """What came of one target; the profile itself lies in ``file``.

    ``outcome`` is ``profiled`` (usable), ``empty`` (nothing was sampled, e.g. an
    idle target) or ``failed``. ``samples`` and ``errors`` are py-spy's own counts
    (``Samples: N Errors: M``). ``began`` and ``ended`` are seconds since the
    epoch by the host's clock, ``seconds`` the true length of the window by its monotonic clock.
    ``notes`` are one-line remarks that belong beside the picture ("target ended
    in the window"). ``reason``, ``detail``, ``remedy`` are set when it failed.
    ``attach`` says as whom py-spy ran and with what ("as user web with CAP_SYS_PTRACE alone"; "" when it never ran).
    ``size`` is the compressed size on the wire in bytes. ``file`` is set by the
    controller: the speedscope file's name inside the host's folder of the run, or the dump's.
    Of a dump ``samples`` are the looks that were taken and ``errors`` those that failed; ``command_line`` is there
    where it was asked for, and redacted as it is read.
    ``harm`` is what it cost the target. A target whose recorder hurt it goes on as another capture, a gentler
    ``segment`` (from 1): captures with the same PID and start time are of one target.
    ``labels`` are set by the controller where those of the host are not the same for all its captures: several rounds.
    """

    process: Process
    measure: Measure
    outcome: str
    samples: int
    errors: int
    began: float
    ended: float
    seconds: float
    size: int
    notes: tuple[str, ...] = ()
    reason: str = ""
    detail: str = ""
    remedy: str = ""
    file: str = ""
    attach: str = ""
    segment: int = 1
    harm: Harm | None = None
    command_line: tuple[str, ...] | None = None
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def is_dump(self) -> bool:
        return self.measure.kind == DUMP

    @classmethod
    def from_wire(cls, data: object) -> Capture:
        fields = Fields(data, "capture")
        outcome = fields.text("outcome")
        if outcome not in ("profiled", "empty", "failed"):
            raise WireError("A host sent a capture of an unknown outcome", outcome)
        return cls(
            process=Process.from_wire(fields.value("process")),
            measure=Measure.from_wire(fields.value("measure")),
            outcome=outcome,
            samples=fields.integer("samples"),
            errors=fields.integer("errors"),
            began=fields.moment("began"),
            ended=fields.moment("ended"),
            seconds=fields.number("seconds"),
            size=fields.integer("size"),
            notes=fields.texts("notes"),
            reason=fields.text("reason", ""),
            detail=fields.text("detail", ""),
            remedy=fields.text("remedy", ""),
            file=fields.text("file", ""),
            attach=fields.text("attach", ""),
            segment=fields.optional_integer("segment") or 1,
            harm=fields.optional("harm", Harm.from_wire),
            command_line=fields.optional("command_line", read_command_line),
            labels=_pairs(fields.rows("labels")),
        )


def _pairs(rows: list[object]) -> tuple[tuple[str, str], ...]:
    """Labels as JSON has them in a capture: lists of two."""
    pairs: dict[object, object] = {}
    for row in rows:
        if not isinstance(row, (list, tuple)) or len(row) != 2:
            raise WireError("A capture has labels that are not pairs", type(row).__name__)
        pairs[str(row[0])] = row[1]
    return _texts(pairs)


def read_command_line(data: object) -> tuple[str, ...]:
    # Not through Fields.texts: that would cut an argument before it is searched.
    if not isinstance(data, (list, tuple)) or not all(isinstance(word, str) for word in data):
        raise WireError("A host sent a command line that is none", type(data).__name__)
    return redact_command_line([str(word) for word in data[:_MAX_ARGUMENTS]])


@dataclass(frozen=True)
class Selection:
    """What the selectors led to on one host. ``notes`` say which selector matched how many processes.

    ``found``: how many Python processes the host has by its own count, for not all that were skipped are listed.
    """

    targets: tuple[Process, ...] = ()
    skipped: tuple[Process, ...] = ()
    notes: tuple[str, ...] = ()
    found: int = 0

    @classmethod
    def from_wire(cls, data: object) -> Selection:
        fields = Fields(data, "selection")
        return cls(
            targets=tuple(Process.from_wire(row) for row in fields.rows("targets")),
            skipped=tuple(Process.from_wire(row) for row in fields.rows("skipped")),
            notes=fields.texts("notes"),
            found=fields.optional_integer("found") or 0,
        )

    @property
    def considered(self) -> int:
        return max(self.found, len(self.targets) + len(self.skipped))

    def to_result(self) -> JsonObject:
        """As a module gives it back."""
        return {
            "targets": [asdict(process) for process in self.targets],
            "skipped_processes": [asdict(process) for process in self.skipped],
            "found": self.considered,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Scope:
    """``kernel.yama.ptrace_scope`` around a recording, as it was read; ``None`` is no Yama, or not known.

    ``original`` is what has to be there when nobody holds it lowered. ``lowered_at`` and ``restored_at`` are seconds
    since the epoch by the host's clock, ``None`` where this recording did not do that.
    """

    before: int | None = None
    original: int | None = None
    during: int | None = None
    after: int | None = None
    lowered_at: float | None = None
    restored_at: float | None = None

    @classmethod
    def from_wire(cls, data: object) -> Scope:
        fields = Fields(data, "scope")
        return cls(
            before=fields.optional_integer("before"),
            original=fields.optional_integer("original"),
            during=fields.optional_integer("during"),
            after=fields.optional_integer("after"),
            lowered_at=fields.optional_moment("lowered_at"),
            restored_at=fields.optional_moment("restored_at"),
        )


@dataclass(frozen=True)
class Trace:
    """One target before and after: its state (as in ``/proc/<pid>/stat``; "" not seen, or ended), its tracer's PID."""

    pid: int
    state_before: str
    tracer_before: int
    state_after: str
    tracer_after: int
    note: str = ""

    @classmethod
    def from_wire(cls, data: object) -> Trace:
        fields = Fields(data, "trace")
        return cls(
            pid=fields.integer("pid"),
            state_before=fields.text("state_before")[:1],
            tracer_before=fields.integer("tracer_before"),
            state_after=fields.text("state_after")[:1],
            tracer_after=fields.integer("tracer_after"),
            note=fields.text("note", ""),
        )


@dataclass(frozen=True)
class Evidence:
    """What shows that a host was put back. ``left`` names what is still there of ours; ``None``: nobody looked."""

    scope: Scope = field(default_factory=Scope)
    targets: tuple[Trace, ...] = ()
    notes: tuple[str, ...] = ()
    left: tuple[str, ...] | None = None

    @classmethod
    def from_wire(cls, data: object) -> Evidence:
        fields = Fields(data, "evidence")
        return cls(
            scope=Scope.from_wire(fields.value("scope")),
            targets=tuple(Trace.from_wire(row) for row in fields.rows("targets")),
            notes=fields.texts("notes"),
            left=None if fields.value("left") is None else fields.texts("left"),
        )


@dataclass(frozen=True)
class HostRecord:
    """What a run knows of one host: ``hosts/<host>/recording.json`` in the run's folder.

    ``status`` is one of

    * ``recording``: started, not yet collected;
    * ``collected``: the captures are here (each with its own outcome);
    * ``nothing``: no target was found; that is not a failure;
    * ``failed``: see ``error``;
    * ``unreachable``: no connection, see ``error``;
    * ``opted_out``: ``pyspy_enabled`` is false for it.

    ``recording`` is the id (hex digits) of the recording on the host, "" when
    none was started; ``began``, ``ended`` the actual window in seconds since the epoch by the host's clock
    (``None`` until known); ``host`` facts: architecture, kernel, Python that ran the program.
    ``evidence`` is what the host read about having been put back; ``None`` when it did not say.
    ``binary_changed`` tells whether py-spy was brought to the host in this run. ``labels`` are what the play calls the
    host or what runs on it.
    """

    host: str
    status: str
    groups: tuple[str, ...] = ()
    recording: str = ""
    began: float | None = None
    ended: float | None = None
    selection: Selection = field(default_factory=Selection)
    captures: tuple[Capture, ...] = ()
    evidence: Evidence | None = None
    warnings: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    binary_changed: bool = False
    error: ErrorText | None = None

    @classmethod
    def from_wire(cls, data: object) -> HostRecord:
        fields = Fields(data, "host record")
        error = fields.value("error")
        status = fields.text("status")
        if status not in STATUSES:
            raise WireError("A host record has an unknown status", status)
        return cls(
            host=fields.text("host"),
            status=status,
            groups=fields.texts("groups"),
            recording=fields.text("recording", ""),
            began=fields.optional_moment("began"),
            ended=fields.optional_moment("ended"),
            selection=Selection.from_wire(fields.value("selection")),
            captures=tuple(Capture.from_wire(row) for row in fields.rows("captures")),
            evidence=fields.optional("evidence", Evidence.from_wire),
            warnings=fields.texts("warnings"),
            facts=_texts(fields.mapping("facts")),
            labels=_texts(fields.mapping("labels")),
            binary_changed=fields.boolean("binary_changed"),
            error=None if error is None else ErrorText.from_wire(error),
        )

    def to_json(self) -> JsonObject:
        data: JsonObject = asdict(self)
        data["facts"], data["labels"] = dict(self.facts), dict(self.labels)
        return data


def _texts(data: dict[object, object]) -> tuple[tuple[str, str], ...]:
    return tuple((printable(str(key))[:MAX_TEXT], printable(str(value))[:MAX_TEXT]) for key, value in data.items())
