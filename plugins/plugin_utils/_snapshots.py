# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "snapshots" of the controller wing (private to the collection): a round, from its beginning into the store.

What hosts bring lies in a run's folder beside the store until it is in the store, and only then goes: whenever the
controller ends, it is in one of the two, and the next round takes over what it finds.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ._choosing import chosen
from ._errors import FleetError
from ._fields import Fields
from ._graphs import Target, read
from ._history import restored
from ._named_rounds import named
from ._rounds import Round, Snapshot, Visited
from ._run import Run, is_running, open_run, process_key
from ._services import service_of, version_of
from ._store._store import Store, open_store, stem

#: What the run's folder remembers of its round.
_STATE = "round.json"
#: A round of another machine is thought dead after so many seconds: of controllers that share a file system, as the
#: pods of a job's runs do, none can ask for the others' processes.
_LONGEST = 6 * 3600.0


@dataclass(frozen=True)
class Begun:
    """``hosts`` are to be visited; ``notes`` say what was left by rounds that did not end, and what became of it."""

    round: Round
    run: Run
    hosts: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """What a round brought: ``notes`` are captures that cannot be read."""

    round: Round
    visited: Visited
    targets: tuple[Target, ...]
    notes: tuple[str, ...]


def inbox(store: str) -> str:
    """The folder in which the results of rounds lie until they are stored."""
    return stem(store) + ".rounds"


def begin(store: Store, hosts: Sequence[str], share: float, user: str, reason: str) -> Begun:
    """One round at a time: FleetError where another one is under way."""
    run = _folder(store)
    now = time.time()
    visit = chosen(hosts, share)
    try:
        store.begin(run.name, process_key(), now, partial(is_running, longest=_LONGEST))
    except FleetError:
        if not run.host_folders():  # Else an earlier batch of this ansible-playbook could not be stored.
            shutil.rmtree(run.path, ignore_errors=True)
        raise
    notes = _take_over(store, run)
    one = Round(run.name, now, now, len(hosts), len(visit), user, reason)
    facts = {"began": now, "hosts": one.hosts, "chosen": one.chosen, "user": user, "reason": reason}
    run.write_state(_STATE, json.dumps(facts).encode())
    return Begun(one, run, visit, notes)


def _folder(store: Store) -> Run:
    """The run's folder of this ansible-playbook, whose name no stored round has.

    A clock that jumped back says a second again, and of two short batches both may begin in one: a round of a name
    that is stored would be taken for stored itself.
    """
    run = _opened(store)
    while any(one.name == run.name for one in store.rounds()):
        try:
            shutil.rmtree(run.path)
        except OSError as error:
            what = f"The folder of a stored round cannot be removed: {run.path}"
            raise FleetError(what, str(error), "remove it; what it has is in the store") from error
        time.sleep(0.1)
        run = _opened(store)
    return run


def _opened(store: Store) -> Run:
    try:
        return open_run(inbox(store.path), "snapshot", "", process_key())
    except FleetError as error:
        # It lies beside the store, wherever other results go.
        remedy = "set pyspy_snapshot_store to a file in a directory on the controller that you may write to"
        raise FleetError(error.reason, error.detail, remedy) from error


def found(run: Run) -> Found:
    """All that lies in the folder of a round."""
    records, broken = run.records()
    targets, notes = read(run, records)
    snapshots = tuple(
        Snapshot(
            target.host,
            target.groups,
            service_of(target.process, dict(target.given)),
            version_of(target.process, dict(target.given)),
            target.capture,
            target.profile,
        )
        for target in targets
    )
    texts = (*(str(error) for error in broken), *notes)
    return Found(_round(run), Visited(tuple(records), snapshots), tuple(targets), texts)


def keep(store: Store, run: Run, what: Found) -> None:
    """Into the store, and only then away with the folder."""
    store.add(what.round, what.visited)
    shutil.rmtree(run.path, ignore_errors=True)


def _round(run: Run) -> Round:
    data = run.read_state(_STATE)
    fields = Fields(json.loads(data) if data else None, "round")
    return Round(
        name=run.name,
        began=fields.moment("began"),
        ended=time.time(),
        hosts=fields.integer("hosts"),
        chosen=fields.integer("chosen"),
        user=fields.text("user"),
        reason=fields.text("reason"),
    )


def _take_over(store: Store, mine: Run) -> tuple[str, ...]:
    """Rounds whose controller died: nobody else is at them, for this one holds the store."""
    notes = []
    for path in _left(store.path, mine):
        run = Run(path)
        try:
            stored = any(one.name == run.name for one in store.rounds())
            if stored or (run.read_state(_STATE) is None and not run.host_folders()):
                shutil.rmtree(path, ignore_errors=True)  # It died in doing so, or before it had asked anybody.
                continue
            what = found(run)
            keep(store, run, what)
        except (FleetError, ValueError, OSError) as error:
            where = f"it stays in {path}: remove it, or run a round as its owner"
            notes.append(f"{run.name} was not ended, and cannot be taken over ({error}); {where}")
        else:
            many = len(what.visited.snapshots)
            notes.append(f"{run.name} was not ended; what it had brought is in the store ({many} snapshots)")
    return tuple(notes)


def _left(store: str, mine: Run) -> list[str]:
    with os.scandir(inbox(store)) as entries:
        folders = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    return sorted(path for path in folders if os.path.basename(path)[:1].isdigit() and path != mine.path)


def give_back(store: str, name: str, output_dir: str) -> Run:
    """Rounds out of a store, named as people do, as a run's folder below ``output_dir``."""
    path = os.path.abspath(os.path.expanduser(store))
    with open_store(path, create=False) as opened:
        rounds = named(opened.rounds(), name)
        return restored(opened, [one.name for one in rounds], output_dir)
