# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "stacks" of the controller wing (private to the collection): groups of stacks in words. Pure.

The first screen of a terminal: the sentence that matters, who holds the GIL, then groups, each innermost frame first.
And the same as Markdown, for ``summary.md``. Locals are never here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ._fields import printable
from ._render._text import code as code_span
from ._render._text import cut, markdown, names, plural, row, wrap
from ._stacks import Branch, Code, Group, Member
from ._waiting import IDLE, MOVING, ONCE, STUCK

#: Groups and frames of each on the first screen; the files have them all.
MOST_GROUPS = 5
MOST_FRAMES = 5
_NO_FRAME = "no Python frame"


@dataclass(frozen=True)
class _Where:
    """All threads of one state whose culprit is one function, and for whom they wait there, most threads first."""

    place: str
    threads: int
    hosts: frozenset[str]
    askers: tuple[str, ...] = ()

    def text(self) -> str:
        more = f" and {plural(len(self.askers) - 1, 'other')}" if len(self.askers) > 1 else ""
        return self.place + (f" for {self.askers[0]}{more}" if self.askers else "")


def sentences(groups: Sequence[Group]) -> list[str]:
    """What to know first: ``396 of 400 threads stuck in `connect` (psycopg/connection.py:94); 3 on web-07 in …``."""
    total = sum(group.threads for group in groups)
    counts = {state: sum(group.states.get(state, 0) for group in groups) for state in (STUCK, MOVING, ONCE, IDLE)}
    told = [f"{number} {state}" for state, number in counts.items() if number]
    hosts = {host for group in groups for host in group.hosts}
    interesting = next((state for state in (STUCK, ONCE, MOVING) if counts[state]), None)
    text = f"{plural(total, 'thread')} on {plural(len(hosts), 'host')}: {', '.join(told) or 'nothing was seen'}."
    if interesting is None:
        return [text]
    first = [_sentence(_places(groups, interesting), total, interesting, hosts)]
    hogs, most = _hogs(groups)
    return [*hogs, *first, text] if most else [*first, *hogs, text]


def _hogs(groups: Sequence[Group]) -> tuple[list[str], bool]:
    """Who works and never lets go of the GIL while others of its process are stuck; is that most of those stuck?"""
    stuck = Counter((one.host, one.pid) for group in groups for one in group.members if one.state == STUCK)
    found: dict[str, list[tuple[str, int]]] = {}
    for group in groups:
        for one in group.members:
            if one.hog and one.state == MOVING and stuck[one.host, one.pid]:
                found.setdefault(_place(group, one), []).append((one.host, one.pid))
    texts = []
    for where, who in sorted(found.items(), key=lambda item: (-len(item[1]), item[0])):
        beside = sum(stuck[one] for one in who)
        texts.append(f"The GIL is kept in {where}, {plural(beside, 'thread')} stuck beside it.")
    kept = {one for who in found.values() for one in who}
    return texts[:2], 2 * sum(stuck[one] for one in kept) >= stuck.total()


def _place(group: Group, member: Member) -> str:
    """Where one thread is."""
    index = group.culprit
    return _NO_FRAME if index is None else _at(group.stack[index], [member.lines[index]])


def _sentence(places: Sequence[_Where], total: int, state: str, hosts: set[str]) -> str:
    first = places[0]
    parts = [f"{first.threads} of {plural(total, 'thread')} {state} in {first.text()}{_on(first, hosts)}"]
    # The second largest, and the rarest: the odd one out is often the culprit.
    rest = [*places[1:2], *places[2:][-1:]]
    parts += [f"{place.threads}{_on(place, hosts)} in {place.text()}" for place in rest]
    more = len(places) - len(parts)
    if more:
        parts.insert(2, f"others in {plural(more, 'more place')}")
    return "; ".join(parts) + "."


def _on(place: _Where, hosts: set[str]) -> str:
    return f" on {names(sorted(place.hosts), 2)}" if place.hosts != hosts else ""


def _places(groups: Sequence[Group], state: str) -> list[_Where]:
    """Where the threads of this state are, most first."""
    found: dict[Code | None, list[tuple[str, int]]] = {}
    askers: dict[Code | None, Counter[str]] = {}
    for group in groups:
        index, asker = group.culprit, group.asker
        key = None if index is None else group.stack[index]
        members = [one for one in group.members if one.state == state]
        if members:
            rows = [(one.host, 0 if index is None else one.lines[index]) for one in members]
            found.setdefault(key, []).extend(rows)
            named = "" if asker is None else _at(group.stack[asker], (one.lines[asker] for one in members))
            askers.setdefault(key, Counter()).update([named] * len(members) if named else [])
    places = [
        _Where(
            _at(key, (line for _host, line in rows)),
            len(rows),
            frozenset(host for host, _line in rows),
            tuple(text for text, _number in askers[key].most_common()),
        )
        for key, rows in found.items()
    ]
    return sorted(places, key=lambda one: (-one.threads, one.place))


def _at(code: Code | None, lines: Iterable[int]) -> str:
    """```connect` (psycopg/connection.py:94)``: in this function, in these lines."""
    return _NO_FRAME if code is None else f"`{code.name}` ({code.file}{_lines(sorted(set(lines)))}"


def _lines(lines: Sequence[int]) -> str:
    known = [str(line) for line in lines if line]
    if len(known) > 3:
        known = [*known[:3], "…"]
    return f":{','.join(known)})" if known else ")"


def gil_lines(groups: Iterable[Group]) -> list[str]:
    """One line for each place in which threads hold the GIL, most processes first."""
    found: dict[str, list[str]] = {}
    for group in groups:
        for member in group.gil:
            found.setdefault(_place(group, member), []).append(f"{member.host} pid {member.pid}")
    rows = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return [f"held in {where}: {names(who, 2)}" for where, who in rows]


@dataclass(frozen=True)
class Block:
    """One group: what it is, and frames with their marks, innermost first."""

    heading: str
    frames: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Screen:
    """Groups of stacks in words, for any width; ``groups`` is how many there are in all. Locals are never here.

    ``looks`` says how often and at what distance was looked, ``notes`` what a reader has to know.
    """

    sentences: tuple[str, ...]
    gil: tuple[str, ...]
    blocks: tuple[Block, ...]
    groups: int
    looks: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Screen:
        blocks = tuple(
            Block(row["heading"], tuple((mark, text) for mark, text in row["frames"])) for row in data["blocks"]
        )
        texts = {name: tuple(data[name]) for name in ("sentences", "gil", "notes")}
        return cls(**{**data, **texts, "blocks": blocks})

    def lines(self, width: int = 80, most: int | None = None) -> list[str]:
        """For the terminal: printable, no line longer than ``width``.

        Groups beyond ``most`` lines are left out, but for the head of the first; the files have all.
        """
        lines = [line for text in self.sentences for line in wrap(text, width)]
        for number, text in enumerate(self.gil[:3]):
            lines += row("" if number else "GIL", text, width, 5)
        shown = 0
        for block in self.blocks:
            more = ["", *wrap(block.heading, width), *(cut(f"  {mark} {text}", width) for mark, text in block.frames)]
            if most is not None and len(lines) + len(more) + 2 > most:
                if shown:
                    break
                # Its innermost frames at least; the sentence above has named its culprit.
                more = more[: max(4, most - len(lines) - 2)]
            lines += more
            shown += 1
        if self.groups > shown:
            lines += ["", cut(f"{plural(self.groups - shown, 'more group')} in the files", width)]
        return [cut(printable(line), width) for line in lines]

    def markdown(self) -> str:
        """The same for ``summary.md``, to paste."""
        lines = ["\n\n".join(_plain_markdown(text) for text in self.sentences), ""]
        lines += [f"- GIL {_plain_markdown(text)}" for text in self.gil[:3]]
        for block in self.blocks:
            lines += ["", f"**{markdown(printable(block.heading))}**", ""]
            lines += [f"- {'**here** ' * (mark == '>')}{code_span(printable(text))}" for mark, text in block.frames]
        if self.groups > len(self.blocks):
            lines += ["", f"{plural(self.groups - len(self.blocks), 'more group')} in the files."]
        return "\n".join([*lines, ""])


def _plain_markdown(text: str) -> str:
    return markdown(printable(text.replace("`", "")))


def screen(groups: Sequence[Group], looks: str = "", notes: Sequence[str] = ()) -> Screen:
    """The groups come in the order they are given."""
    blocks = tuple(Block(heading(group), tuple(_frames(group))) for group in groups[:MOST_GROUPS])
    return Screen(tuple(sentences(groups)), tuple(gil_lines(groups)), blocks, len(groups), looks, tuple(notes))


def heading(group: Group) -> str:
    """``33 threads, 5 processes, 3 hosts: 33 stuck``."""
    counts = ", ".join(f"{number} {state}" for state, number in group.states.items())
    hosts = names(group.hosts, 3) if len(group.hosts) <= 3 else plural(len(group.hosts), "host")
    text = f"{plural(group.threads, 'thread')}, {plural(group.processes, 'process')}, {hosts}: {counts}"
    return text + (f"; {len(group.gil)} held the GIL" if group.gil else "")


def _frames(group: Group) -> list[tuple[str, str]]:
    """The innermost frames, and always the culprit and for whom, marked; what is left out is counted."""
    if not group.stack:
        return [(" ", _NO_FRAME)]
    marked = {group.culprit or 0, group.asker}
    shown = [index for index in range(len(group.stack)) if index < MOST_FRAMES or index in marked]
    rows = []
    for before, index in zip([-1, *shown], shown, strict=False):
        if index > before + 1:
            rows.append((" ", f"… {plural(index - before - 1, 'more frame')}"))
        rows.append((">" if index in marked and set(group.states) != {IDLE} else " ", frame_text(group, index)))
    if len(group.stack) > shown[-1] + 1:
        rows.append((" ", f"… {plural(len(group.stack) - shown[-1] - 1, 'more frame')}"))
    return rows


def frame_text(group: Group, index: int) -> str:
    """Function, file and line; where lines differ, how many threads are on which."""
    code = group.stack[index]
    lines = {line: number for line, number in group.lines(index).items() if line}
    text = f"{code.name} ({code.file}{_lines(tuple(lines)) if len(lines) == 1 else ')'}"
    if len(lines) > 1:
        most = list(lines.items())
        # The rarest line is shown whatever is cut: one thread on a line of its own may hold what the others wait for.
        most = most if len(most) <= 3 else [*most[:2], most[-1]]
        text += " lines " + ", ".join(f"{line} ({number}×)" for line, number in most)
    return text


def tree_lines(root: Branch, width: int = 80) -> list[str]:
    """The tree, outermost frame first: each branch says how many share it, and names the hosts where not all do."""
    lines: list[str] = []
    for depth, branch, above in preorder(root):
        counts = f"{branch.threads}/{len(branch.processes)}/{len(branch.hosts)}"
        on = f" on {differs(branch, above)}" if differs(branch, above) else ""
        indent = "  " * min(depth, 10)
        lines.append(cut(printable(f"{indent}{counts}{on}  {branch_text(branch)}"), width))
    return lines


def preorder(root: Branch) -> Iterator[tuple[int, Branch, Branch | None]]:
    """Each branch before those below it, with its depth and the branch above it; no recursion, for they may be deep."""
    waiting: list[tuple[int, Branch, Branch | None]] = [(0, root, None)]
    while waiting:
        depth, branch, above = waiting.pop()
        yield depth, branch, above
        waiting += [(depth + 1, child, branch) for child in reversed(branch.children)]


def differs(branch: Branch, above: Branch | None) -> str:
    """Who is in a branch where not all are that are above it: hosts, or processes of the same hosts; else ""."""
    if above is None or branch.hosts != above.hosts:
        return names(sorted(branch.hosts), 2)
    if branch.processes == above.processes:
        return ""
    few = len(branch.processes) <= 2
    return names([f"{host} pid {pid}" for host, pid in branch.processes]) if few else ""


def branch_text(branch: Branch) -> str:
    """The frames that all below it share, of many the ends."""
    if len(branch.stack) > 2:
        return f"{_short(branch.stack[0])} → … {len(branch.stack) - 2} … → {_short(branch.stack[-1])}"
    return " → ".join(_short(code) for code in branch.stack) or ("no Python frame" if branch.group else "all")


def _short(code: Code) -> str:
    return f"{code.name} ({code.file.rpartition('/')[2]})"
