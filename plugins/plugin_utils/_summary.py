# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "summary" of the controller wing (private to the collection): a run in a dozen lines, for people in an incident.

Pure: figures from the records of the hosts, and the words for them. The same
summary goes to the terminal (:meth:`Summary.lines`) and into ``summary.md``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ._cautions import Caution, cautions
from ._errors import one_line
from ._evidence import doubts, exposure_text
from ._fields import printable
from ._profile import KINDS
from ._render._text import code, cut, interval, markdown, names, place, plural, row
from ._stacks_text import Screen
from ._wire import Capture, ErrorText, HostRecord, JsonObject

#: Lines of a terminal's first screen.
_SCREEN = 24
#: Most reasons of one sort in the summary; the report has them all.
_MOST_REASONS = 4

#: What became of a host, in the order of the summary, and in its words.
HOST_OUTCOMES = {
    "profiled": "profiled",
    "dumped": "dumped",
    "idle": "idle",
    "nothing": "no target",
    "opted_out": "opted out",
    "targets_failed": "all targets failed",
    "failed": "failed",
    "unreachable": "unreachable",
    "recording": "not collected yet",
    "missing": "no record",
}


@dataclass(frozen=True)
class Trouble:
    """One reason and all who met it."""

    what: str
    reason: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class Hot:
    """One of the hottest functions; ``share`` is of the fleet's time, from 0 to 1."""

    name: str
    place: str
    share: float


@dataclass(frozen=True)
class Picture:
    """One merged profile of the fleet: there is one for each kind of measure. ``files`` has its graph first."""

    kind: str
    measure: str
    samples: int
    seconds: float
    targets: int
    hosts: int
    files: tuple[str, ...]
    hottest: tuple[Hot, ...] = ()


@dataclass(frozen=True)
class Summary:
    """``hosts`` and ``targets`` count by outcome. ``rendered`` tells whether this call wrote the report.

    ``started`` are hosts with a recording or dumps, ``restored`` those of them that are as before, going
    by what they read back; ``exposed`` says what a lowered ptrace_scope opened, for how long. ``cautions`` say how far
    the figures are to be believed, ``warnings`` what went wrong while they were gathered.
    """

    job: str
    title: str
    reason: str
    run_dir: str
    hosts: Mapping[str, int] = field(default_factory=dict)
    targets: Mapping[str, int] = field(default_factory=dict)
    troubles: tuple[Trouble, ...] = ()
    pictures: tuple[Picture, ...] = ()
    stacks: Screen | None = None
    began: float | None = None
    ended: float | None = None
    shortest: float | None = None
    longest: float | None = None
    dumped: tuple[float | None, float | None] = (None, None)
    started: int = 0
    restored: int = 0
    exposed: str = ""
    cautions: tuple[Caution, ...] = ()
    warnings: tuple[str, ...] = ()
    rendered: bool = False

    @property
    def verb(self) -> str:
        """What this run is for."""
        return verb(self.job)

    @property
    def report(self) -> str:
        return f"{self.run_dir}/index.html"

    @property
    def heading(self) -> str:
        return " ".join(filter(None, (self.title or f"py-spy fleet {self.job}", self.reason and f"({self.reason})")))

    def to_json(self) -> JsonObject:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Summary:
        pictures = tuple(
            Picture(
                **{
                    **picture,
                    "files": tuple(picture["files"]),
                    "hottest": tuple(Hot(**hot) for hot in picture["hottest"]),
                }
            )
            for picture in data["pictures"]
        )
        troubles = tuple(
            Trouble(trouble["what"], trouble["reason"], tuple(trouble["members"])) for trouble in data["troubles"]
        )
        stacks = Screen.from_json(data["stacks"]) if data["stacks"] else None
        told = tuple(Caution(caution["text"], tuple(caution["hosts"])) for caution in data["cautions"])
        whole = {**data, "pictures": pictures, "troubles": troubles, "stacks": stacks, "cautions": told}
        return cls(**{**whole, "dumped": tuple(data["dumped"]), "warnings": tuple(data["warnings"])})

    def rows(self) -> list[tuple[str, str]]:
        """Label and text of each line, not yet cut to a width."""
        return [*self.figures(), *(("Warning", caution.text) for caution in self.cautions), *self.remarks()]

    def figures(self) -> list[tuple[str, str]]:
        """What there is, and what is missing."""
        rows = [("Hosts", self.hosts_text()), *_reasons(self.troubles, "host")]
        rows += [("Targets", self.targets_text()), *_reasons(self.troubles, "target")]
        rows += [("Dumps", text) for text in filter(None, [self.dumps_text()])]
        rows += [("Window", text) for text in filter(None, [self.window_text()])]
        rows += [("Restored", self.restored_text())] * bool(self.started) + _reasons(self.troubles, "restored")
        rows += [("Exposed", self.exposed)] * bool(self.exposed)
        rows += [("Samples", f"{_samples(picture)}; {picture.measure}") for picture in self.pictures]
        if not self.pictures and self.verb == "dump":
            rows += [("Stacks", "none: nothing was dumped")] * (not self.stacks)
        elif not self.pictures and not self.stacks:
            rows.append(("Profile", "none: nothing was sampled"))
        return rows

    def remarks(self) -> list[tuple[str, str]]:
        """What was noticed besides."""
        rows = [("Note", note) for note in (self.stacks.notes if self.stacks else ())]
        rows += [("Warning", warning) for warning in self.warnings[:_MOST_REASONS]]
        if len(self.warnings) > _MOST_REASONS:
            rows.append(("", f"{len(self.warnings) - _MOST_REASONS} more warnings are in the report"))
        return rows

    def hosts_text(self) -> str:
        total = sum(self.hosts.values())
        counts = [f"{self.hosts[key]} {HOST_OUTCOMES[key]}" for key in HOST_OUTCOMES if self.hosts.get(key)]
        good = next((key for key in ("profiled", "dumped") if self.hosts.get(key)), None)
        if good is None:
            return f"0 of {total} {done(self.verb)}" + "".join(f", {count}" for count in counts)
        return f"{self.hosts[good]} of {total} {good}" + "".join(f", {count}" for count in counts[1:])

    def targets_text(self) -> str:
        words = {key: key for key in ("profiled", "dumped", "empty", "failed", "skipped")}
        words["empty"] = "idle (no samples)"
        counts = [f"{self.targets.get(key, 0)} {word}" for key, word in words.items() if self.targets.get(key)]
        found, chosen = (self.targets.get(key, 0) for key in ("found", "chosen"))
        of_all = f"; {chosen} of {plural(found, 'Python process')} chosen" if found else ""
        return (", ".join(counts) or "none") + of_all

    def restored_text(self) -> str:
        return f"{self.restored} of {plural(self.started, 'host')} (read back)"

    def dumps_text(self) -> str:
        if self.stacks is None or not self.stacks.looks:
            return ""
        return ", ".join(filter(None, (self.stacks.looks, interval(*self.dumped))))

    def window_text(self) -> str:
        if self.shortest is None or self.longest is None:
            return ""
        length = f"{self.shortest:.1f} s"
        if self.longest - self.shortest >= 0.1:
            length = f"{self.shortest:.1f} to {self.longest:.1f} s"
        when = interval(self.began, self.ended)
        return f"{length} on each host, {when}" if when else length

    def lines(self, width: int = 80) -> list[str]:
        """For the terminal: printable, each line within ``width``, but for the path of the report."""
        return [*self.screen(width), printable(f"{'Report':<10}{self.report}")]

    def screen(self, width: int) -> list[str]:
        """The same without the report."""
        head = ["", *row("", self.heading, width, 0), ""]
        lines: list[str] = []
        for label, text in self.rows():
            lines += row(label, text, width)
        if self.stacks is not None:
            # What matters comes first; the groups take what room the rest leaves on one screen.
            room = _SCREEN - len(head) - len(lines) - 2
            head += [*self.stacks.lines(width, room), ""]
        lines = head + lines
        if self.pictures and self.pictures[0].hottest:
            lines += _hottest_lines(self.pictures[0], width)
        return [printable(line) for line in lines]

    def brief(self, had: Mapping[str, int] | None = None) -> list[str]:
        """One line for a play that is about something else, and one for what could not be had.

        ``had``: how many targets it speaks of, where that is not all of the run.
        """
        numbers = had or self.targets
        good = [f"{numbers[key]} {key}" for key in ("dumped", "profiled") if numbers.get(key)]
        first = f"{self.job.capitalize()}: {', '.join(good) or 'none'}; {self.report}"
        texts = [f"{names(trouble.members)}: {trouble.reason}" for trouble in self.troubles[:3]]
        if len(self.troubles) > len(texts):
            texts.append(f"{plural(len(self.troubles) - len(texts), 'more reason')} in the report.")
        more = [f"{self.job.capitalize()}, not had: {' '.join(texts)}"] * bool(texts)
        return [printable(line) for line in (first, *more)]

    def markdown(self) -> str:
        """``summary.md``: the same, to paste."""
        lines = [f"# {markdown(printable(self.heading))}", ""]
        lines += [self.stacks.markdown()] if self.stacks is not None else []
        for label, text in self.rows():
            lines.append(f"- **{label}**: {markdown(text)}" if label else f"  - {markdown(text)}")
        for picture in self.pictures:
            lines += ["", f"Hottest functions by own time, {markdown(KINDS[picture.kind])}:", ""]
            lines += [
                f"{n}. {_percent(hot)} {code(hot.name)} {code(hot.place)}" for n, hot in enumerate(picture.hottest, 1)
            ]
        return "\n".join([*lines, "", f"Report: {code(printable(self.report))}", ""])


def verb(job: str) -> str:
    """What a job does with its targets."""
    return "dump" if job in ("dump", "evidence") else "profile"


def done(verb: str) -> str:
    return verb + ("d" if verb.endswith("e") else "ed")


def _samples(picture: Picture) -> str:
    return f"{picture.samples} of {plural(picture.targets, 'target')}"


def _percent(hot: Hot) -> str:
    return f"{100 * hot.share:.1f} %"


def _hottest_lines(picture: Picture, width: int) -> list[str]:
    lines = []
    room = max(width - 20, 20)
    longest = max(len(hot.name) for hot in picture.hottest)
    for number, hot in enumerate(picture.hottest):
        name = cut(hot.name, min(longest, room * 3 // 5))
        text = cut(f"{name:<{min(longest, room * 3 // 5)}}  {hot.place}".rstrip(), room)
        lines.append(f"{'Hottest' if number == 0 else '':<10}{_percent(hot):>7}  {text}")
    return lines


def _reasons(troubles: Iterable[Trouble], about: str) -> list[tuple[str, str]]:
    rows = [trouble for trouble in troubles if trouble.what.startswith(about)]
    texts = [("", f"{names(trouble.members)}: {trouble.reason}") for trouble in rows[:_MOST_REASONS]]
    if len(rows) > _MOST_REASONS:
        texts.append(("", f"{len(rows) - _MOST_REASONS} more reasons are in the report"))
    return texts


def host_outcome(record: HostRecord) -> str:
    """One of :data:`HOST_OUTCOMES`."""
    outcomes = {_done(capture) or capture.outcome for capture in record.captures}
    if record.status != "recording":
        # What an earlier pass brought is there, whatever became of a later one.
        for good in ("profiled", "dumped"):
            if good in outcomes:
                return good
    if record.status != "collected":
        return record.status
    if "empty" in outcomes:
        return "idle"
    return "targets_failed" if record.captures or record.selection.targets else "nothing"


def _done(capture: Capture) -> str:
    """What could be done with a target; "" where nothing could."""
    return "" if capture.outcome != "profiled" else "dumped" if capture.is_dump else "profiled"


def lost(record: HostRecord) -> list[str]:
    """Chosen targets of which no capture came back."""
    if record.status != "collected":
        return []
    back = {(capture.process.pid, capture.process.start) for capture in record.captures}
    return [row.who for row in record.selection.targets if (row.pid, row.start) not in back]


def failures(record: HostRecord) -> list[str]:
    """One line for each chosen target of a collected host that could not be profiled."""
    failed = [capture for capture in by_target(record) if capture.outcome == "failed"]
    return [capture_text(capture) for capture in failed] + [NO_CAPTURE] * len(lost(record))


def by_target(record: HostRecord) -> list[Capture]:
    """One capture for each target, the best of its segments; ``seconds`` is what they were together.

    A target that was both dumped and recorded has one of each.
    """
    order = ("profiled", "empty", "failed")
    segments: dict[tuple[int, int, bool], list[Capture]] = {}
    for capture in record.captures:
        segments.setdefault((capture.process.pid, capture.process.start, capture.is_dump), []).append(capture)
    best = [min(parts, key=lambda part: order.index(part.outcome)) for parts in segments.values()]
    lengths = [sum(part.seconds for part in parts if part.outcome != "failed") for parts in segments.values()]
    return [replace(one, seconds=length or one.seconds) for one, length in zip(best, lengths, strict=True)]


NO_CAPTURE = one_line("no capture of this target came back", "", "run the playbook again")


def capture_text(capture: Capture) -> str:
    return one_line(capture.reason or "py-spy failed", capture.detail, capture.remedy)


def error_text(error: ErrorText | None, default: str) -> str:
    return one_line(error.reason, error.detail, error.remedy) if error else default


def count(summary: Summary, records: Sequence[HostRecord], hosts: Sequence[str]) -> Summary:
    """``summary`` with the figures of the records; ``hosts`` are all hosts of the play."""
    known = {record.host for record in records}
    missing = [host for host in hosts if host not in known]
    outcomes = [host_outcome(record) for record in records] + ["missing"] * len(missing)
    captures = [capture for record in records for capture in by_target(record)]
    started = [record for record in records if _touched(record)]
    lengths = [capture.seconds for capture in captures if _done(capture) == "profiled"]
    dumps = [capture for capture in captures if _done(capture) == "dumped"]
    return replace(
        summary,
        hosts={outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))},
        targets=coverage(records),
        troubles=tuple(_troubles(records, missing)),
        started=len(started),
        restored=sum(not doubts(record) for record in started),
        exposed=exposure_text(started),
        cautions=cautions(records),
        began=min((record.began for record in records if record.began is not None), default=None),
        ended=max((record.ended for record in records if record.ended is not None), default=None),
        shortest=min(lengths, default=None),
        longest=max(lengths, default=None),
        dumped=(
            min((capture.began for capture in dumps), default=None),
            max((capture.ended for capture in dumps), default=None),
        ),
    )


def _touched(record: HostRecord) -> bool:
    """Was anything begun on the host that it had to be put back from?"""
    return bool(record.recording) or record.evidence is not None


def coverage(records: Sequence[HostRecord]) -> dict[str, int]:
    """How many Python processes were found, chosen, profiled, skipped …; who was dumped and profiled is in both."""
    captures = [capture for record in records for capture in by_target(record)]
    counts = {outcome: sum(_done(capture) == outcome for capture in captures) for outcome in ("profiled", "dumped")}
    counts["empty"] = sum(capture.outcome == "empty" for capture in captures)
    counts["failed"] = sum(len(failures(record)) for record in records)
    counts["found"] = sum(record.selection.considered for record in records)
    counts["chosen"] = sum(len(record.selection.targets) for record in records)
    counts["skipped"] = counts["found"] - counts["chosen"]
    return counts


def _troubles(records: Sequence[HostRecord], missing: Sequence[str]) -> list[Trouble]:
    rows: list[tuple[str, str, str]] = []
    for record in records:
        if record.status in ("failed", "unreachable"):
            rows.append(("host", record.host, error_text(record.error, f"{record.status}, no reason was given")))
        elif record.status == "nothing":
            note = "; ".join(record.selection.notes) or "no Python process was found"
            rows.append(("host", record.host, note))
        elif record.status == "recording":
            rows.append(("host", record.host, NOT_COLLECTED))
        rows += [("target", record.host, text) for text in failures(record)]
        if _touched(record) and record.status != "recording":
            rows += [("restored", record.host, text) for text in doubts(record)]
    if missing:
        rows += [("host", host, "no record yet: not reached by this run so far") for host in missing]
    return group(rows)


NOT_COLLECTED = one_line("the recording was started but not collected", "", "run the playbook pyspy.fleet.collect")


def group(rows: Iterable[tuple[str, str, str]]) -> list[Trouble]:
    """Rows of (what, who, reason) by reason, commonest first; reasons that differ in figures only count as one."""
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for what, who, reason in rows:
        groups.setdefault((what, re.sub(r"\d+(?:\.\d+)?", "#", reason)), []).append((who, reason))
    troubles = []
    for (what, _pattern), found in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        same = len({reason for _who, reason in found}) == 1
        text = found[0][1] if same else f"e.g. {found[0][1]}"
        troubles.append(Trouble(what, text, tuple(who for who, _reason in found)))
    return troubles


def hot(name: str, file: str, line: int, share: float) -> Hot:
    return Hot(name, place(file, line), share)
