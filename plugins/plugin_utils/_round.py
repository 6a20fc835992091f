# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "round" of the controller wing (private to the collection): a round in words, and whether it was one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ._errors import FleetError
from ._fields import printable
from ._graphs import by_kind
from ._profile import describe, hottest
from ._render._text import names, plural, row
from ._services import service_of
from ._snapshots import Found
from ._summary import Picture, Summary, count, hot
from ._wire import Selection

_HOTTEST = 5
#: Hosts that said so (in their program's words) were left alone, which is what a limit is for.
_LEFT_ALONE = ("This host is too strained now", "All chosen targets are already being sampled")


def services(surveys: Mapping[str, object], given: Mapping[str, object]) -> dict[str, list[str]]:
    """Which services each host has: by the inventory's word, or else by what a look at it found.

    ``surveys`` are results of python_process_info; a host that could not be looked at has none.
    """
    return {host: [str(given[host])] if given.get(host) else sorted(_found(survey)) for host, survey in surveys.items()}


def _found(survey: object) -> set[str]:
    if not isinstance(survey, Mapping) or not isinstance(survey.get("targets"), list):
        return set()
    try:
        selection = Selection.from_wire({"targets": survey["targets"], "notes": []})
    except FleetError:
        return set()  # One host that answers nonsense must not stop the round of all others.
    return {service_of(process, {}) for process in selection.targets}


def lines(what: Found, pruned: int, width: int) -> list[str]:
    """The round on a terminal."""
    one = what.round
    text = _summary(what).screen(width)
    label = sorted({(taken.service, taken.version) for taken in what.visited.snapshots})
    said = names([" ".join(filter(None, pair)) for pair in label], 6)
    text += row("Services", said or "none", width)
    if one.chosen < one.hosts:
        text += row("Share", f"{one.chosen} of {one.hosts} hosts; each stands for {one.weight:.3g}", width)
    text += row("Pruned", plural(pruned, "round"), width) if pruned else []
    return [printable(line) for line in text]


def _summary(what: Found) -> Summary:
    records = list(what.visited.records)
    summary = count(Summary("snapshot", f"Round {what.round.name}", what.round.reason, ""), records, ())
    pictures = []
    for profile, group in by_kind(what.targets):
        hosts, targets = len({one.host for one in group}), len({one.key for one in group})
        rows = hottest(profile, _HOTTEST)
        seconds = profile.seconds
        pictures.append(
            Picture(
                profile.kind,
                describe(profile.measures),
                profile.samples,
                seconds,
                targets,
                hosts,
                (),
                tuple(hot(one.name, one.file, one.line, one.own / seconds) for one in rows),
            )
        )
    told = [f"{record.host}: {warning}" for record in records for warning in record.warnings]
    return replace(summary, pictures=tuple(pictures), warnings=(*told, *what.notes))


def verdict(what: Found, fail_on: str) -> FleetError | None:
    """Why the round fails the play; None when it does not."""
    bad = [
        record
        for record in what.visited.records
        if record.status in ("failed", "unreachable") and not (record.error and record.error.reason in _LEFT_ALONE)
    ]
    if not bad or fail_on == "none" or (fail_on == "all" and what.visited.snapshots):
        return None
    error = bad[0].error
    return FleetError(
        f"{len(bad)} of {plural(len(what.visited.records), 'host')} of the round could not be recorded",
        f"{bad[0].host}: {error.reason}: {error.detail}" if error else bad[0].host,
        (error.remedy if error else "") or "see the lines above; pyspy_fail_on says whether this fails the play",
    )
