# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "store" of the controller wing (private to the collection): rounds of snapshots, kept in one file.

A round is in it whole or not at all, whatever happens to the controller, the disk or another round.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Self

from .._calls import Function, calls
from .._compare import observations
from .._diff import normalised
from .._errors import FleetError
from .._formats import _pprof, _pprof_reader
from .._graphs import worker_of
from .._profile import Profile
from .._rounds import Retention, Round, Seen, Slice, Snapshot, Timeline, Visited
from .._wire import Capture, HostRecord
from . import _queries, _space
from ._schema import connect, transaction, unusable

#: Largest record of a host that is read back, unpacked.
_MAX_RECORD = 64 * 1024 * 1024


class Store:
    """Made by :func:`open_store`; a context manager."""

    def __init__(self, path: str, database: sqlite3.Connection) -> None:
        self.path = path
        self._database = database

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        """What SQLite refuses becomes a FleetError with a remedy."""
        try:
            yield
        except sqlite3.Error as error:
            raise unusable(self.path, error) from error

    def begin(self, name: str, holder: str, now: float, is_running: Callable[[str, float], bool]) -> None:
        """From now on the round ``name`` is under way; FleetError while another one is, whose ``holder`` runs.

        That is asked with the holder, and the time at which it began.
        """
        with self._said():
            with transaction(self._database):
                found = self._database.execute("SELECT name, holder, began FROM under_way").fetchone()
                if found is not None and found[1] != holder and is_running(found[1], found[2]):
                    raise FleetError(
                        "Another round is under way",
                        f"{found[0]}, of the process {found[1].partition('-')[0]} on {found[1].split('-', 2)[-1]}",
                        "wait for its end; if that machine is gone for good: sqlite3 STORE 'DELETE FROM under_way'",
                    )
                self._database.execute("INSERT OR REPLACE INTO under_way VALUES (1, ?, ?, ?)", (name, holder, now))

    def add(self, one: Round, visited: Visited) -> bool:
        """Keep a round; False where it is there already. With that it is over."""
        with self._said():
            slices = _sliced(visited.snapshots)
            with transaction(self._database):
                self._database.execute("DELETE FROM under_way WHERE name = ?", (one.name,))
                if self._database.execute("SELECT 1 FROM round WHERE name = ?", (one.name,)).fetchone():
                    return False
                row = (one.name, one.began, one.ended, one.hosts, one.chosen, one.user, one.reason)
                number = self._insert("round (name, began, ended, hosts, chosen, user, reason)", row)
                for record in visited.records:
                    self._insert("host (round, record)", (number, _packed(record)))
                for (service, version, kind), snapshots in slices.items():
                    self._add_slice(number, service, version, kind, snapshots)
            return True

    def _add_slice(self, number: int, service: str, version: str, kind: str, snapshots: Sequence[Snapshot]) -> None:
        workers = observations(
            calls((worker_of(one.host, one.capture.process), normalised(one.profile)) for one in snapshots)
        )
        counts = (
            len({one.host for one in snapshots}),
            len(workers),
            sum(one.profile.samples for one in snapshots),
            sum(one.profile.seconds for one in snapshots),
        )
        columns = "slice (round, service, version, kind, hosts, workers, samples, seconds)"
        mine = self._insert(columns, (number, service, version, kind, *counts))
        sums: dict[Function, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for worker in workers:
            for place, part in enumerate((worker.own, worker.total)):
                for function, seconds in part.items():
                    sums[function][place] += seconds
        self._database.executemany("INSERT OR IGNORE INTO function (name, file) VALUES (?, ?)", sums)
        self._database.executemany(
            "INSERT INTO share SELECT ?, id, ?, ? FROM function WHERE name = ? AND file = ?",
            ((mine, own, total, *function) for function, (own, total) in sums.items()),
        )
        self._database.executemany(
            "INSERT INTO snapshot (slice, host, groups, capture, profile) VALUES (?, ?, ?, ?, ?)",
            ((mine, one.host, json.dumps(one.groups), _captured(one.capture), _profile(one)) for one in snapshots),
        )

    def _insert(self, table: str, row: Sequence[object]) -> int:
        places = ", ".join("?" * len(row))
        return self._database.execute(f"INSERT INTO {table} VALUES ({places})", row).lastrowid or 0

    def prune(self, keep: Retention, now: float) -> int:
        """Remove what is not to be kept, and give its space back; how many rounds went."""
        with self._said():
            return _space.prune(self._database, keep, now)

    def rounds(self, since: float | None = None, until: float | None = None) -> list[Round]:
        """Oldest first; those that began from ``since`` to ``until``."""
        with self._said():
            return _queries.rounds(self._database, since, until)

    def services(self) -> list[tuple[str, str]]:
        """Each service with each kind of measure."""
        with self._said():
            return _queries.services(self._database)

    def slices(self, service: str, kind: str, since: float | None = None, until: float | None = None) -> list[Slice]:
        with self._said():
            return _queries.slices(self._database, service, kind, since, until)

    def timeline(
        self, service: str, kind: str, since: float | None = None, until: float | None = None, most: int = 12
    ) -> Timeline:
        """The hottest ``most`` functions over that time, by their own share."""
        with self._said():
            return _queries.timeline(self._database, service, kind, since, until, most)

    def seen(self, one: Slice) -> Seen:
        """A slice with each of its workers."""
        tree = calls((worker_of(each.host, each.capture.process), normalised(each.profile)) for each in self._of(one))
        return Seen(one, tuple(observations(tree)))

    def profiles(self, one: Slice) -> list[Profile]:
        """Those of a slice, without what releases do to the paths of files."""
        return [normalised(each.profile) for each in self._of(one)]

    def _of(self, one: Slice) -> list[Snapshot]:
        where = "round.name = ? AND service = ? AND version = ? AND kind = ?"
        with self._said():
            return list(self._snapshots(where, (one.round, one.service, one.version, one.kind)))

    def visited(self, rounds: Sequence[str]) -> Visited:
        """All that is kept of these rounds, in their order."""
        with self._said():
            records: list[HostRecord] = []
            snapshots: list[Snapshot] = []
            for name in rounds:
                question = (
                    "SELECT record FROM host JOIN round ON round.id = host.round WHERE round.name = ? ORDER BY host.id"
                )
                records += [_unpacked(row[0]) for row in self._database.execute(question, (name,))]
                snapshots += self._snapshots("round.name = ?", (name,))
            return Visited(tuple(records), tuple(snapshots))

    def _snapshots(self, where: str, values: Sequence[object]) -> Iterator[Snapshot]:
        question = (
            "SELECT host, groups, service, version, capture, profile"
            " FROM snapshot JOIN slice ON slice.id = snapshot.slice"
            f" JOIN round ON round.id = slice.round WHERE {where} ORDER BY snapshot.id"
        )
        for host, groups, service, version, captured, profile in self._database.execute(question, values):
            try:
                capture = Capture.from_wire(json.loads(captured))
                read = _pprof_reader.profile(profile, capture.measure)
                named = tuple(json.loads(groups))
            except (ValueError, TypeError) as error:  # SQLite has no checksums: what a disk lost comes as it is.
                raise FleetError(
                    f"A stored snapshot cannot be read: {self.path}", str(error), "take the store from a backup"
                ) from error
            yield Snapshot(host, named, service, version, capture, read)


def stem(path: str) -> str:
    """What the names of all begin with that lies beside the store in this file.

    No other ending goes: ``shop.eu`` and ``shop.us`` would be one, and the page of ``shop.html`` in its place.
    """
    return path.removesuffix(".sqlite3")


def open_store(path: str, create: bool = True) -> Store:
    """The store in this file; FleetError where it cannot be used, and then nothing was changed."""
    return Store(path, connect(path, create))


def _sliced(snapshots: Sequence[Snapshot]) -> dict[tuple[str, str, str], list[Snapshot]]:
    found: dict[tuple[str, str, str], list[Snapshot]] = {}
    for one in snapshots:
        found.setdefault((one.service, one.version, one.profile.kind), []).append(one)
    return found


def _captured(capture: Capture) -> str:
    return json.dumps({**asdict(capture), "command_line": None})


def _profile(one: Snapshot) -> bytes:
    # Host and PID are in the index; only processes sampled with their parent have PIDs of their own.
    return _pprof.write([_pprof.Part(one.profile, ())], one.capture.began, one.capture.ended)


def _packed(record: HostRecord) -> bytes:
    """Without its captures, which have rows of their own when they are usable, and without each skipped process."""
    selection = replace(record.selection, skipped=(), found=record.selection.considered)
    left = tuple(
        replace(capture, command_line=None)
        for capture in record.captures
        if capture.outcome != "profiled" or not capture.file
    )
    data = replace(record, selection=selection, captures=left).to_json()
    return zlib.compress(json.dumps(data).encode("utf-8", "surrogatepass"))


def _unpacked(data: bytes) -> HostRecord:
    try:
        text = zlib.decompressobj().decompress(data, _MAX_RECORD)
        return HostRecord.from_wire(json.loads(text))
    except (zlib.error, ValueError, TypeError) as error:
        raise FleetError(
            "A stored record of a host cannot be read", str(error), "take the store from a backup"
        ) from error
