# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "history" of the controller wing (private to the collection): rounds of snapshots as a run's folder again.

So that the report and comparisons work on them as on any run. A process that several rounds saw is one target.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ._bodies import free_name
from ._errors import FleetError
from ._fields import MAX_ROWS
from ._formats._speedscope import spread, write
from ._graphs import render_host, render_target
from ._passes import joined
from ._profile import Profile, merge
from ._rounds import Snapshot, Visited
from ._run import Run
from ._store._store import Store
from ._wire import Capture, HostRecord

#: Written last: what it names lies in the folder whole.
_WHOLE = "rounds"


def restored(store: Store, rounds: Sequence[str], output_dir: str) -> Run:
    """The folder of these rounds, oldest first; the one that an earlier call made, if there is one."""
    name = rounds[0] if len(rounds) == 1 else f"{rounds[0]}-to-{rounds[-1]}"
    run = Run(os.path.join(os.path.abspath(os.path.expanduser(output_dir)), name))
    stamp = "\n".join([store.path, *rounds]).encode()
    try:
        os.makedirs(run.path, mode=0o700, exist_ok=True)
    except OSError as error:
        raise FleetError(
            f"The folder of results cannot be written: {run.path}",
            str(error),
            "set pyspy_output_dir to another directory",
        ) from error
    with run.lock():
        if run.read_state(_WHOLE) != stamp:
            # Of another store's round of that name, or of other rounds between the same two.
            shutil.rmtree(os.path.join(run.path, "hosts"), ignore_errors=True)
            visited = [_labelled(store.visited([one])) for one in rounds]
            snapshots = [taken for one in visited for taken in one.snapshots]
            for host, records in _by_host(record for one in visited for record in one.records).items():
                _write(run, records, [one for one in snapshots if one.host == host])
            # A comparison asks for a run's manifest; the report writes a better one.
            run.write("manifest.json", "{}\n")
            run.write_state(_WHOLE, stamp)
    return run


def _labelled(visited: Visited) -> Visited:
    """Labels with the captures: the next round may find the host with others, such as a newer version."""
    given = {record.host: record.labels for record in visited.records}
    snapshots = tuple(
        replace(one, capture=replace(one.capture, labels=given.get(one.host, ()))) for one in visited.snapshots
    )
    return Visited(tuple(replace(record, labels=()) for record in visited.records), snapshots)


def _by_host(records: Iterable[HostRecord]) -> dict[str, list[HostRecord]]:
    found: dict[str, list[HostRecord]] = {}
    for record in records:
        found.setdefault(record.host, []).append(record)
    return found


def _write(run: Run, records: Sequence[HostRecord], snapshots: Sequence[Snapshot]) -> None:
    record = records[0]
    for later in records[1:]:
        record = joined(record, later)
    taken: set[str] = set()
    captures = []
    for capture, profile in _targets(snapshots):
        named = replace(capture, file=free_name(capture, ".speedscope.json", taken))
        taken.add(named.file)
        run.write_capture(record.host, named.file, write(spread(profile), f"{record.host} {capture.process.name}"))
        captures.append(named)
    record = replace(record, captures=(*record.captures, *captures))
    if len(record.captures) > MAX_ROWS:
        raise FleetError(
            f"These rounds saw too many processes of {record.host} for one report",
            f"{len(record.captures)}; at most {MAX_ROWS}, and workers that begin anew are others",
            "name fewer rounds: a day, or an hour",
        )
    run.write_host(record)
    for capture in captures:
        render_target(run, record, capture)
    render_host(run, record.host)


def _targets(snapshots: Sequence[Snapshot]) -> list[tuple[Capture, Profile]]:
    """What each process was seen in, by each kind of measure: its snapshots of all rounds added up."""
    groups: dict[tuple[object, ...], list[Snapshot]] = {}
    for one in snapshots:
        process = one.capture.process
        # A PID and a time since boot may come again after a boot, as another service.
        key = (process.pid, process.start, one.capture.measure, one.service, one.version, one.capture.labels)
        groups.setdefault(key, []).append(one)
    return [(_sum([one.capture for one in group]), merge(one.profile for one in group)) for group in groups.values()]


def _sum(captures: Sequence[Capture]) -> Capture:
    return replace(
        captures[-1],
        samples=sum(one.samples for one in captures),
        errors=sum(one.errors for one in captures),
        began=min(one.began for one in captures),
        ended=max(one.ended for one in captures),
        seconds=sum(one.seconds for one in captures),
        size=sum(one.size for one in captures),
        notes=tuple(dict.fromkeys(note for one in captures for note in one.notes)),
        segment=1,
    )
