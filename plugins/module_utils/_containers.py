# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "containers" of the host wing (private to the collection): which container a process is in, and its PID there.

The cgroup says it, and the parents: every runtime leaves a process above the container's first one. Where neither
does, a PID namespace of its own still tells a container without a name. Of containers in containers the outermost
counts, which is the one that this host's runtimes know. Our own container, if we are in one, counts for none.
"""

from __future__ import annotations

import os
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from ._clues import NAMESPACE, WATCHERS, Clue, Parent, by_cgroups, by_parent
from ._procfs import Gone, ProcessDir, user_name
from ._runtimes import Known, Runtimes
from ._survey import Row, Table

#: So far up the tree a container's first process is looked for.
_MAX_ANCESTORS = 64


class Container(NamedTuple):
    """``name`` is the name in its pod on a Kubernetes node, else the runtime's; what is not known is "".

    ``claim`` says whose word the rest is where anybody but root could have said it, "" elsewhere.
    """

    runtime: str
    id: str
    name: str = ""
    image: str = ""
    pod: str = ""
    namespace: str = ""
    claim: str = ""

    def to_wire(self) -> Dict[str, object]:
        return dict(self._asdict())


class Seat(NamedTuple):
    """A process in a container, and its PID as seen inside. In a namespace further in it has another one yet."""

    container: Container
    pid: int


class _Look(NamedTuple):
    """What was read of one process, once: its PIDs, from ours inwards, and what its cgroups say."""

    numbers: Tuple[int, ...]
    clue: Optional[Clue]

    @property
    def depth(self) -> int:
        """In so many PID namespaces it has a number, ours among them."""
        return len(self.numbers)

    def inside(self, identity: str) -> bool:
        """As one above a process in the container ``identity``, or in one whose cgroup says nothing: is it in it too?

        Then its word does not count: it may imitate a runtime.
        """
        if identity:
            return self.clue is not None and self.clue.id == identity
        return self.depth > 1


class Containers:
    """Answers for the processes of a table; what the answers need is read when they are asked for."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._looks: Dict[int, Optional[_Look]] = {}
        self._clues: Dict[bytes, Optional[Clue]] = {}
        self._parents: Dict[int, Optional[Clue]] = {}
        self._found: Dict[Clue, Container] = {}
        self._runtimes = Runtimes(_daemons(table))
        with ProcessDir(os.getpid()) as ourselves:
            self._namespace = ourselves.namespace("pid")
        own = self._look(os.getpid())
        self._own = own.clue.id if own is not None and own.clue is not None else ""

    def seat(self, pid: int) -> Optional[Seat]:
        """Where a process is; None when it is in no container, or has ended."""
        look = self._look(pid)
        if look is None or (look.clue is not None and look.clue.id == self._own):
            return None
        identity = look.clue.id if look.clue is not None else ""
        first, top, watchers = pid, look, []
        for ancestor in self._ancestors(pid):
            above = self._look(ancestor)
            if above is None:
                break
            if not above.inside(identity):
                watchers.append(self._watcher(ancestor))
            elif above.depth <= top.depth:
                first, top = ancestor, above
        clue = _joined(look.clue, [watcher for watcher in watchers if watcher is not None])
        if clue is not None:
            return Seat(self._container(clue), look.numbers[top.depth - 1])
        return Seat(self._of_namespace(first, top), look.numbers[top.depth - 1]) if top.depth > 1 else None

    def _of_namespace(self, pid: int, look: _Look) -> Container:
        """Who came into a PID namespace from outside, as with nsenter, is where its first process is."""
        namespace = _namespace(pid)
        if look.numbers[-1] != 1:
            for other in self._table:
                init = self._look(other) if other != pid else None
                if init is not None and init.depth > 1 and init.numbers[-1] == 1:
                    seat = self.seat(other) if _namespace(other) == namespace else None
                    if seat is not None:
                        return seat.container
        return Container(NAMESPACE, namespace)

    def of(self, pids: Iterable[int]) -> Dict[int, Seat]:
        """The same for several."""
        found = {pid: self.seat(pid) for pid in pids}
        return {pid: seat for pid, seat in found.items() if seat is not None}

    def _ancestors(self, pid: int) -> List[int]:
        chain: List[int] = []
        row = self._table.get(pid)
        while row is not None and row.stat.ppid not in chain and len(chain) < _MAX_ANCESTORS:
            row = self._table.get(row.stat.ppid)
            if row is not None:
                chain.append(row.stat.pid)
        return chain

    def _look(self, pid: int) -> Optional[_Look]:
        if pid not in self._looks:
            try:
                with ProcessDir(pid) as process:
                    # Nearly all are in our namespace, and this tells it ten times faster than their status.
                    ours = self._namespace is not None and process.namespace("pid") == self._namespace
                    numbers = () if ours else process.status().nspids
                    self._looks[pid] = _Look(numbers or (pid,), self._clue(process.cgroup()))
            except Gone:
                self._looks[pid] = None
        return self._looks[pid]

    def _clue(self, cgroup: bytes) -> Optional[Clue]:
        if cgroup not in self._clues:
            self._clues[cgroup] = by_cgroups(_paths(cgroup))
        return self._clues[cgroup]

    def _watcher(self, pid: int) -> Optional[Clue]:
        if pid not in self._parents:
            row, found = self._table[pid], None
            if row.stat.comm.startswith(WATCHERS):
                try:
                    found = by_parent(_parent(row))
                except Gone:
                    pass
            self._parents[pid] = found
        return self._parents[pid]

    def _container(self, clue: Clue) -> Container:
        if clue not in self._found:
            known = Known() if clue.runtime == NAMESPACE else self._runtimes.known(clue, clue.uid)
            self._found[clue] = Container(
                clue.runtime or known.runtime or "unknown",
                clue.id,
                known.name or clue.name,
                known.image,
                known.pod,
                known.namespace,
                "user %s" % user_name(clue.uid) if clue.claim and clue.uid else clue.claim,
            )
        return self._found[clue]


def _joined(clue: Optional[Clue], watchers: List[Clue]) -> Optional[Clue]:
    """What the cgroup says, and what the outermost parent that speaks of the same container adds to it.

    A parent of root makes a name that was only a claim good. Without a cgroup the outermost parent's word is all.
    """
    if clue is None:
        return watchers[-1] if watchers else None
    same = [watcher for watcher in watchers if watcher.id == clue.id]
    if same:
        watcher = same[-1]
        return clue._replace(
            runtime=clue.runtime or watcher.runtime,
            name=watcher.name or clue.name,
            bundle=watcher.bundle,
            claim=watcher.claim and clue.claim,
            uid=watcher.uid and clue.uid,
        )
    pod = [watcher for watcher in watchers if watcher.bundle and not watcher.claim]
    return clue._replace(runtime=clue.runtime or pod[-1].runtime, bundle=pod[-1].bundle) if pod else clue


def _parent(row: Row) -> Parent:
    with ProcessDir(row.stat.pid) as process:
        return Parent(process.status().uids[0], row.argv, process.exe(), process.cwd())


def _paths(data: bytes) -> Tuple[str, ...]:
    """The paths of ``/proc/<pid>/cgroup`` (cgroups(7)), each once."""
    lines = data.decode("utf-8", "replace").split("\n")
    return tuple(dict.fromkeys(line.split(":", 2)[2] for line in lines if line.count(":") >= 2))


def _namespace(pid: int) -> str:
    try:
        with ProcessDir(pid) as process:
            return process.namespace("pid") or "a PID namespace"
    except Gone:
        return "a PID namespace"


def _daemons(table: Mapping[int, Row]) -> List[Tuple[str, ...]]:
    """Command lines of Docker's daemons that are root's, by what the kernel says they execute."""
    found = []
    for row in table.values():
        if row.stat.comm != "dockerd":
            continue
        try:
            with ProcessDir(row.stat.pid) as process:
                if process.status().uids[0] == 0 and (process.exe() or "").endswith("/dockerd"):
                    found.append(row.argv)
        except Gone:
            continue
    return found
