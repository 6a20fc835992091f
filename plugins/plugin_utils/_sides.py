# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "sides" of the controller wing (private to the collection): what the two sides of a comparison are.

A side is named by a run (its folder, its name, ``latest``), by rounds of snapshots (``round=2026-11-17``), or within
one run by an inventory group or by ``label=value``: a host, a service, a version, a container, an image, a user, or any
variable that the inventory has.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ._errors import FleetError
from ._graphs import Target, read
from ._render._text import names, plural
from ._run import LATEST, Run, latest, process_key
from ._services import service_of, version_of

#: The value of a variable of a host, as text; None where it has none.
Variable = Callable[[str, str], "str | None"]
#: Rounds of snapshots, named as people do, made into a run's folder.
Restore = Callable[[str], Run]
_ROUND = "round="
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Side:
    """``targets`` are captures, maybe of several kinds of measure; ``notes`` say what a reader should know of them."""

    name: str
    run: Run
    targets: tuple[Target, ...]
    notes: tuple[str, ...] = ()

    @property
    def workers(self) -> int:
        return len({target.key for target in self.targets})

    @property
    def hosts(self) -> int:
        return len({target.host for target in self.targets})


@dataclass(frozen=True)
class Where:
    """Where names are looked up: runs below ``output_dir``, groups and labels in the run ``within``."""

    output_dir: str
    within: str = LATEST
    variable: Variable = lambda _host, _name: None
    restore: Restore | None = None

    def run(self, name: str) -> Run | None:
        """The run of a name below ``output_dir``, of a path, or of rounds; None where there is none."""
        if name.startswith(_ROUND) and self.restore is not None:
            return self.restore(name.removeprefix(_ROUND))
        below = latest(self.output_dir, process_key()) if name == LATEST else os.path.join(self.output_dir, name)
        for path in (below, os.path.expanduser(name)) if name else ():
            if os.path.isfile(os.path.join(path, MANIFEST)):
                return Run(os.path.realpath(path))
        return None

    def required(self) -> Run:
        run = self.run(self.within)
        if run is None:
            raise FleetError(
                f"There is no run '{self.within}'",
                f"no {MANIFEST} in {os.path.join(os.path.abspath(self.output_dir), self.within)}",
                "set pyspy_diff_run to a run's folder, and pyspy_output_dir to where runs are",
            )
        return run


def sides(wanted: tuple[str, str], where: Where) -> tuple[Side, Side]:
    """Both sides. Workers that both would have are those of the smaller one: a canary is also one of all."""
    first, second = (_side(name, where) for name in wanted)
    for side in (first, second):
        if not side.targets:
            raise FleetError(
                f"Nothing was recorded of '{side.name}'",
                f"{side.run.name} has no usable capture of it",
                "profile it first, or name another side",
            )
    shared = set(first.targets) & set(second.targets) if first.run == second.run else set()
    if shared and set(first.targets) == set(second.targets):
        raise FleetError(
            "Both sides are the same workers",
            f"'{first.name}' and '{second.name}' of {first.run.name}",
            "name two runs, or two groups that differ (pyspy_diff_a, pyspy_diff_b)",
        )
    if shared:
        smaller, larger = sorted((first, second), key=lambda side: len(side.targets))
        rest = _without(larger, smaller, shared)
        first, second = (rest if side is larger else side for side in (first, second))
    return first, second


def _without(larger: Side, smaller: Side, shared: set[Target]) -> Side:
    both = plural(len({target.key for target in shared}), "worker")
    note = f"{both} of {smaller.name} left out of {larger.name}"
    kept = tuple(target for target in larger.targets if target not in shared)
    return Side(larger.name, larger.run, kept, (*larger.notes, note))


def _side(name: str, where: Where) -> Side:
    if not name:
        raise FleetError("A comparison has two sides", "one is not named", "set pyspy_diff_a and pyspy_diff_b")
    run = where.run(name)
    label, equals, value = name.partition("=")
    if equals and run is None:
        return _some(name, where.required(), lambda target: _labelled(target, label, value, where.variable))
    base = where.run(where.within)
    groups = _groups(base) if base is not None else set()
    if run is not None and name in groups and name != LATEST:
        raise FleetError(
            f"'{name}' is a run and an inventory group",
            f"{run.path}; group of {where.within}",
            f"write ./{name} or the whole path for the run, or group={name} for the group",
        )
    if run is not None:
        return _some(run.name, run, lambda _target: True)
    if name in groups:
        return _some(name, where.required(), lambda target: name in target.groups)
    raise FleetError(
        f"There is no run and no inventory group '{name}'",
        f"runs in {os.path.abspath(where.output_dir)}; groups of {where.within}: {names(sorted(groups), 8) or 'none'}",
        "name a run's folder, one of these groups, or label=value (container=api, zone=eu)",
    )


def _groups(run: Run) -> set[str]:
    records, _broken = run.records()
    return {group for record in records for group in record.groups}


def _some(name: str, run: Run, wanted: Callable[[Target], bool]) -> Side:
    records, broken = run.records()
    targets, warnings = read(run, records)
    notes = [str(error) for error in broken] + warnings
    return Side(name, run, tuple(target for target in targets if wanted(target)), tuple(notes))


def _labelled(target: Target, label: str, value: str, variable: Variable) -> bool:
    process, container = target.process, target.process.container
    own: dict[str, Sequence[str | None]] = {
        "group": target.groups,
        "host": (target.host,),
        "user": (process.user,),
        "python": (process.python,),
        "name": (process.name,),
        "container": (container.name, container.id, container.short_id) if container else (),
        "image": (container.image,) if container else (),
        "pod": (container.pod,) if container else (),
        "namespace": (container.namespace,) if container else (),
        "service": (service_of(process, dict(target.given)),),
        "unit": (process.unit, process.unit.removesuffix(".service")) if process.unit else (),
    }
    given = dict(target.given)
    if label in own:
        return value in own[label]
    if label in given:
        return value == given[label]
    if label == "version" and version_of(process, {}):
        return value == version_of(process, {})
    return value == variable(target.host, label)
