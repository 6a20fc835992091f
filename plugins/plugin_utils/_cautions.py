# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "cautions" of the controller wing (private to the collection): what to know before figures are believed.

Pure: a few sentences over the whole fleet, from what hosts counted and noted of each target: which stacks could not be
read, whom sampling slowed, what lacks a part of its window, and which measures are mixed. What is missing as a whole
(hosts, targets) is told elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ._profile import KINDS
from ._render._text import cut, plural
from ._wire import Capture, HostRecord

#: From this share of stacks on that could not be read it is told (a few in a thousand are usual: a target changes while
#: it is read).
_UNREAD = 0.01
#: Shares from which a target counts as slowed, per cent: of the time it was stopped, of a core that py-spy used.
_STOPPED, _RECORDER = 5.0, 50.0
#: Most columns of the name of one target, and most hosts that are pointed at.
_NAME, _HOSTS = 60, 3
#: How notes of hosts begin, and what they come to.
_ENDINGS = (
    ("ended early and gone on with more gently", "gone on with more gently"),
    ("ended early", "ended early"),
    ("this hurts the target", "hurt, but it was asked for"),
)


@dataclass(frozen=True)
class Caution:
    """One sentence, and some of the hosts it is about, the worst first."""

    text: str
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Target:
    """One process of a host with all its captures: of dumps, or of the segments of a recording."""

    host: str
    parts: tuple[Capture, ...]

    @property
    def who(self) -> str:
        return f"{cut(self.host, _NAME)} {cut(self.parts[0].process.who, _NAME)}"

    @property
    def errors(self) -> int:
        return sum(part.errors for part in self.parts)

    @property
    def attempts(self) -> int:
        return self.errors + sum(part.samples for part in self.parts)

    @property
    def unread(self) -> float:
        return self.errors / self.attempts if self.attempts else 0.0

    @property
    def stopped(self) -> float:
        return max((part.harm.stopped for part in self.parts if part.harm), default=0.0)

    @property
    def recorder(self) -> float:
        return max((part.harm.recorder_cpu for part in self.parts if part.harm), default=0.0)

    @property
    def late(self) -> bool:
        return any(part.harm and part.harm.late for part in self.parts) or self.says("py-spy fell behind")

    @property
    def ending(self) -> str:
        """What became of a recorder that hurt it; "" where none did."""
        return next((words for begin, words in _ENDINGS if self.says(begin)), "")

    @property
    def sampled(self) -> list[Capture]:
        return [part for part in self.parts if part.outcome == "profiled"]

    def has(self, kind: str) -> bool:
        return any(part.measure.kind == kind for part in self.sampled)

    def says(self, begin: str) -> bool:
        return any(note.startswith(begin) for note in self._notes)

    def ran_out(self) -> bool:
        return any(note.endswith("dumps: then the deadline was over") for note in self._notes)

    @property
    def _notes(self) -> list[str]:
        return [note for part in self.parts for note in part.notes]


def cautions(records: Sequence[HostRecord]) -> tuple[Caution, ...]:
    """The most grave first; none where there is nothing to say."""
    recorded, dumped = _targets(records, False), _targets(records, True)
    found = [
        _unread(recorded, "errors while sampling", "attempts to read a stack"),
        _unread(dumped, "errors while dumping", "dumps"),
        _slowed(recorded),
        _partial(recorded, dumped),
        _mixed(recorded),
    ]
    return tuple(one for one in found if one)


def _targets(records: Iterable[HostRecord], dumps: bool) -> list[_Target]:
    """Those of which something came back; what failed as a whole has its reason elsewhere."""
    parts: dict[tuple[str, int, int], list[Capture]] = {}
    for record in records:
        for capture in record.captures:
            if capture.is_dump == dumps and capture.outcome != "failed":
                key = record.host, capture.process.pid, capture.process.start
                parts.setdefault(key, []).append(capture)
    return [_Target(host, tuple(found)) for (host, _pid, _start), found in parts.items()]


def _unread(targets: Sequence[_Target], what: str, tries: str) -> Caution | None:
    some = _worst((one for one in targets if one.unread >= _UNREAD), lambda one: one.unread)
    if not some:
        return None
    top = some[0]
    text = f"{_part(some, targets)}: {what} ({top.errors} of {top.attempts} {tries} failed at worst: {top.who})"
    return Caution(text, _hosts(some))


def _slowed(targets: Sequence[_Target]) -> Caution | None:
    some = [one for one in targets if one.stopped >= _STOPPED or one.recorder >= _RECORDER or one.ending]
    if not some:
        return None
    # What counts is the target; a busy recorder takes a core from its whole host.
    some = _worst(some, lambda one: one.stopped)
    greedy = _worst(some, lambda one: one.recorder)[0]
    parts = [
        f"stopped {some[0].stopped:.0f} % of the time at worst, {some[0].who}" if some[0].stopped >= _STOPPED else "",
        f"py-spy used {greedy.recorder:.0f} % of a core, {greedy.who}" if greedy.recorder >= _RECORDER else "",
        *(_number(sum(one.ending == words for one in some), words) for _begin, words in _ENDINGS),
    ]
    text = f"{_part(some, targets)} {'was' if len(some) == 1 else 'were'} slowed: {'; '.join(filter(None, parts))}"
    return Caution(text, _hosts(some))


def _partial(recorded: Sequence[_Target], dumped: Sequence[_Target]) -> Caution | None:
    ended = [one for one in recorded if one.says("the target ended in the window")]
    late = [one for one in recorded if one.late]
    cut_off = [one for one in dumped if one.ran_out()]
    if not ended and not late and not cut_off:
        return None
    parts = [
        f"{_part(ended, recorded)} ended in the window" if ended else "",
        f"py-spy fell behind on {_part(late, recorded)}" if late else "",
        f"the deadline came before the last dump of {_part(cut_off, dumped)}" if cut_off else "",
    ]
    return Caution(f"results are partial: {'; '.join(filter(None, parts))}", _hosts([*ended, *late, *cut_off]))


def _mixed(targets: Sequence[_Target]) -> Caution | None:
    kinds = [(kind, [one for one in targets if one.has(kind)]) for kind in KINDS]
    kinds = sorted((pair for pair in kinds if pair[1]), key=lambda pair: -len(pair[1]))
    if len(kinds) > 1:
        parts = [f"{KINDS[kind]} of {plural(len(some), 'target')}" for kind, some in kinds]
        text = f"mixed measures, which are not added up but have a graph each: {', '.join(parts)}"
        return Caution(text, _hosts(kinds[-1][1]))
    blocking = [one for one in targets if any(part.measure.blocking for part in one.sampled)]
    if 0 < len(blocking) < sum(bool(one.sampled) for one in targets):
        text = f"mixed measures in one graph: {_part(blocking, targets)} stopped for each sample, the others not"
        return Caution(text, _hosts(blocking))
    return None


def _worst(targets: Iterable[_Target], key: Callable[[_Target], float]) -> list[_Target]:
    return sorted(targets, key=lambda one: (-key(one), one.host, one.parts[0].process.pid))


def _part(some: Sequence[_Target], targets: Sequence[_Target]) -> str:
    return f"{len(some)} of {plural(len(targets), 'target')}"


def _number(number: int, words: str) -> str:
    return f"{number} {words}" if number else ""


def _hosts(targets: Iterable[_Target]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.host for one in targets))[:_HOSTS]
