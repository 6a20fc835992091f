# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "stacks" of the controller wing (private to the collection): dumps → groups of identical stacks, and their tree.

Pure. A normalised stack is functions and files, without what differs from host to host: lines, addresses, release
folders, versions, where Python is installed. (The room "profile" keeps whole paths, for its graphs are of the code
as it lies there; it shortens them for the eye only.) Lines and members are kept beside each group, as its detail.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ._dumps import Dump, Frame, Thread
from ._errors import FleetError
from ._render._colours import is_native
from ._waiting import IDLE, ONCE, STATES, STUCK, states

ORDERS = ("largest", "rarest")


class Code(NamedTuple):
    """One function, wherever it lies.

    ``plumbing``: it is of Python's own library, or of the system's; ``installed``: of a package.
    """

    name: str
    file: str
    plumbing: bool = False
    installed: bool = False


class Member(NamedTuple):
    """One thread in a group; ``lines`` go with the group's stack.

    ``gil``: it held the GIL in one of the dumps; ``hog``: in each of several.
    """

    host: str
    pid: int
    process: str
    thread: str
    os_id: int | None
    state: str
    gil: bool
    lines: tuple[int, ...]
    hog: bool = False


@dataclass(frozen=True)
class Group:
    """All threads with one normalised stack, innermost function first; () is "no Python frame"."""

    stack: tuple[Code, ...]
    members: tuple[Member, ...]

    @property
    def threads(self) -> int:
        return len(self.members)

    @property
    def processes(self) -> int:
        return len({(member.host, member.pid) for member in self.members})

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(sorted({member.host for member in self.members}))

    @property
    def states(self) -> dict[str, int]:
        counts = Counter(member.state for member in self.members)
        return {state: counts[state] for state in STATES if counts[state]}

    @property
    def rank(self) -> int:
        """How much it is worth a look by what its threads do: 0 is most."""
        states = set(self.states)
        return 0 if states & {STUCK, ONCE} else 2 if states == {IDLE} else 1

    @property
    def gil(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.gil)

    @property
    def culprit(self) -> int | None:
        """Which frame to name: the innermost that is not Python's own; for idle threads the innermost of all."""
        if not self.stack:
            return None
        own = (index for index, code in enumerate(self.stack) if not code.plumbing)
        return 0 if set(self.states) == {IDLE} else next(own, 0)

    @property
    def asker(self) -> int | None:
        """Where the culprit is of an installed package: the innermost frame above it that is not; it works for that."""
        culprit = self.culprit
        if culprit is None or not self.stack[culprit].installed or set(self.states) == {IDLE}:
            return None
        above = range(culprit + 1, len(self.stack))
        return next((index for index in above if _is_own(self.stack[index])), None)

    def lines(self, index: int) -> dict[int, int]:
        """How many threads are on which line of the frame, most first."""
        counts = Counter(member.lines[index] for member in self.members)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True)
class Branch:
    """One branch of the tree: frames that all below it share, outermost first, and who they are.

    ``group`` is the group whose stack ends here; it may have children all the same. Each group is in one branch.
    """

    stack: tuple[Code, ...]
    threads: int
    processes: frozenset[tuple[str, int]]
    hosts: frozenset[str]
    group: Group | None = None
    children: tuple[Branch, ...] = ()


def _is_own(code: Code) -> bool:
    """Not installed, and not the script that an installation has put in ``bin`` or that was typed."""
    return not (code.plumbing or code.installed or code.name == "<module>")


_INSTALLED = re.compile(r"^.*/(?:site|dist)-packages/")
_OWN_LIBRARY = re.compile(r"^.*/lib(?:32|64)?/(?:python|pypy)\d[\d.]*t?(?:\.zip)?/(?!(?:site|dist)-packages/)")
#: What a release or a version does to the name of a folder: a date, a commit, ``v1.2.3``, ``shop-1.2.3``, a UUID.
_RELEASE = re.compile(r"^(?:v?\d[\w.+-]*|[0-9a-f]{7,40}|[0-9a-f-]{32,36}|releases?|current)$", re.IGNORECASE)
# All of these take time that is linear in the length of a path: it comes from a host.
_VERSIONED = re.compile(r"[-_]v?\d[\d.]*$")
_EGG = re.compile(r"[-_]v?\d.*\.egg$")
_TAGGED = re.compile(r"\.(?:cpython-\w[\w-]*|abi3)?\.?so(?:\.[\d.]+)?$")
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]+")


def normalise(frame: Frame) -> Code:
    """The function of a frame, as it is called on every host."""
    return Code(_ADDRESS.sub("0x…", frame.name), *_file(frame.file, frame.short))


def normal_path(path: str) -> str:
    """A file's path without what an installation, a release or a version does to it."""
    return _file(path, "")[0]


def _file(path: str, short: str) -> tuple[str, bool, bool]:
    """The path without what differs from host to host; is it Python's own; is it an installed package's."""
    if path.startswith("<frozen "):
        return path, True, False
    if _INSTALLED.search(path):
        return _unversioned(_INSTALLED.sub("", path)), False, True
    if _OWN_LIBRARY.search(path):
        return _OWN_LIBRARY.sub("", path), True, False
    # py-spy's short name begins at the outermost package; a lone script's is its name alone: its folder tells more.
    if short and short != path and "/" in short and not is_native(path):
        return _unversioned(short), False, False
    folder, _slash, name = path.rpartition("/")
    parent = folder.rpartition("/")[2]
    # Of native frames the culprit is who called them from Python.
    return _unversioned(name if _RELEASE.match(parent) or not parent else f"{parent}/{name}"), is_native(path), False


def _unversioned(path: str) -> str:
    *folders, name = path.split("/")
    if folders and folders[0].endswith(".egg"):
        del folders[0]
    versions = [(_EGG if folder.endswith(".egg") else _VERSIONED, folder) for folder in folders]
    folders = [version.sub("", folder) or folder for version, folder in versions]
    return _ADDRESS.sub("0x…", "/".join([*folders, _TAGGED.sub(".so", name)]))


def groups(dumps: Iterable[Dump], order: str = "largest") -> list[Group]:
    """All threads by their normalised stack as last seen; independent of the order of ``dumps``."""
    known: dict[Frame, Code] = {}
    found: dict[tuple[Code, ...], list[Member]] = {}
    for dump in dumps:
        for thread, state, gil in states(dump):
            stack = tuple(_code(frame, known) for frame in thread.frames)
            found.setdefault(stack, []).append(_member(dump, thread, state, gil))
    return ordered([Group(stack, tuple(sorted(rows, key=_member_order))) for stack, rows in found.items()], order)


def _code(frame: Frame, known: dict[Frame, Code]) -> Code:
    # A fleet repeats the same frames over and over; locals would make each its own.
    key = Frame(frame.name, frame.file, frame.short)
    if key not in known:
        known[key] = normalise(key)
    return known[key]


def _member(dump: Dump, thread: Thread, state: str, gil: int) -> Member:
    lines = tuple(frame.line for frame in thread.frames)
    hog = gil == len(dump.looks) > 1
    return Member(dump.host, dump.pid, dump.name, thread.name, thread.os_id, state, gil > 0, lines, hog)


def _member_order(member: Member) -> tuple[object, ...]:
    os_id = -1 if member.os_id is None else member.os_id
    return member.host, member.pid, os_id, member.thread, member.state, member.gil, member.lines, member.process


def ordered(rows: Sequence[Group], order: str) -> list[Group]:
    """Largest first, or rarest: the odd one out is often the culprit. Threads count, then processes, then hosts.

    Rarest first, those come before that are stuck, and last those that only idle: at any moment somebody is in the
    middle of a request. Largest first that decides between equals.
    """
    sign = _sign(order)

    def key(row: Group) -> tuple[object, ...]:
        size = (sign * row.threads, sign * row.processes, sign * len(row.hosts))
        return (*size, row.rank, row.stack) if sign < 0 else (row.rank, *size, row.stack)

    return sorted(rows, key=key)


def _sign(order: str) -> int:
    if order not in ORDERS:
        raise FleetError("Groups of stacks have no such order", order, f"use one of {', '.join(ORDERS)}")
    return -1 if order == "largest" else 1


@dataclass
class _Node:
    stack: list[Code] = field(default_factory=list)
    inner: dict[Code, _Node] = field(default_factory=dict)
    group: Group | None = None


def tree(rows: Iterable[Group], order: str = "largest") -> Branch:
    """The groups as a prefix tree, from the outermost frame on; frames in a row that nobody leaves are one branch."""
    root = _Node()
    for group in rows:
        node = root
        for code in reversed(group.stack):
            node = node.inner.setdefault(code, _Node([code]))
        node.group = group
    return _branches(_preorder(root), _sign(order))


def _preorder(root: _Node) -> list[_Node]:
    """All nodes, each before those below it, runs made one. No recursion: a stack may be thousands of frames deep."""
    nodes, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        while node.group is None and len(node.inner) == 1:
            (only,) = node.inner.values()
            node.stack += only.stack
            node.group, node.inner = only.group, only.inner
        nodes.append(node)
        waiting += node.inner.values()
    return nodes


def _branches(nodes: Sequence[_Node], sign: int) -> Branch:
    done: dict[int, Branch] = {}
    for node in reversed(nodes):
        children = [done.pop(id(child)) for child in node.inner.values()]
        children.sort(key=lambda one: (sign * one.threads, sign * len(one.processes), sign * len(one.hosts), one.stack))
        members = node.group.members if node.group else ()
        done[id(node)] = Branch(
            tuple(node.stack),
            len(members) + sum(child.threads for child in children),
            frozenset((member.host, member.pid) for member in members).union(*(child.processes for child in children)),
            frozenset(member.host for member in members).union(*(child.hosts for child in children)),
            node.group,
            tuple(children),
        )
    return done[id(nodes[0])]


def plain(group: Group) -> dict[str, object]:
    """A group as plain data, for files and playbooks."""
    culprit, asker = group.culprit, group.asker
    return {
        "threads": group.threads,
        "processes": group.processes,
        "hosts": list(group.hosts),
        "states": group.states,
        "culprit": None if culprit is None else {**_plain_code(group, culprit), "depth": culprit},
        "asker": None if asker is None else {**_plain_code(group, asker), "depth": asker},
        "stack": [_plain_code(group, index) for index in range(len(group.stack))],
        "members": [{**member._asdict(), "lines": list(member.lines)} for member in group.members],
        "gil": [{"host": member.host, "pid": member.pid, "thread": member.thread} for member in group.gil],
    }


def _plain_code(group: Group, index: int) -> dict[str, object]:
    code = group.stack[index]
    return {"function": code.name, "file": code.file, "lines": list(group.lines(index))}
