# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "render" of the controller wing (private to the collection): what the time line page draws, as one document.

A store holds many rounds: shares are pairs of characters in one long string for each service, in tenths of a
percent, which is what the page shows. ``timeline/data.js`` reads it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from markupsafe import Markup

from .._calls import Calls, Function
from .._fields import printable
from .._rounds import Round, Slice, Timeline
from ._view import _ESCAPES
from ._view import document as tree_document

#: Digits of shares, none of which means anything to JSON or HTML.
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_PAIRS = [a + b for a in _DIGITS for b in _DIGITS]
#: Longer names are cut: they stand in the page many times.
_LONGEST = 500
#: Characters of all documents together, beside which there are the pictures: a page stays below 5 MB.
_LARGEST = 4_300_000


@dataclass(frozen=True)
class ServiceLines:
    """``measure`` says in words what the time line's seconds are, such as ``CPU time (not idle), 50 Hz``."""

    timeline: Timeline
    measure: str


@dataclass(frozen=True)
class DriftRow:
    """A function that is not as it used to be: own shares (of 1), the change between them, how far noise goes.

    ``verdict`` begins with "clear" where it is. Without ``round`` it is the service's newest, without ``kind`` its
    first.
    """

    service: str
    function: Function
    now: float
    usual: float
    change: float
    error: float | None
    verdict: str
    round: str = ""
    kind: str = ""

    @property
    def clear(self) -> bool:
        return self.verdict.split(" ")[0].rstrip(":,;") == "clear"


def short(text: str) -> str:
    return printable(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")


def address(drift: DriftRow) -> str:
    """What the page's address has behind the ``#`` to show it."""
    view = {"service": short(drift.service), "kind": short(drift.kind), "at": short(drift.round)}
    return urlencode({name: value for name, value in view.items() if value}, errors="replace")


def all_rounds(rounds: Sequence[Round], services: Sequence[ServiceLines]) -> list[Round]:
    """Those given, and those that are known from slices alone."""
    known = {one.name: one for one in rounds}
    for lines in services:
        for part in lines.timeline.slices:
            known.setdefault(part.round, Round(part.round, part.began, part.began, 0, 0))
    return sorted(known.values(), key=lambda one: (one.began, one.name))


def document(
    services: Sequence[ServiceLines], rounds: Sequence[Round], links: Mapping[str, str], drifts: Sequence[DriftRow]
) -> Markup:
    numbers = {one.name: number for number, one in enumerate(rounds)}
    content = {
        "rounds": [
            [short(one.name), round(one.began), one.hosts, one.chosen, links.get(one.name, "")] for one in rounds
        ],
        "services": [_service(one, numbers, drifts) for one in services],
        # What is shown first: where the most important drift is.
        "first": address(drifts[0]) if drifts else "",
    }
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return Markup(text.encode("utf-8", "replace").decode().translate(_ESCAPES))


def documents(
    trees: Sequence[tuple[str, str, Calls]], services: Sequence[ServiceLines], size: int
) -> list[tuple[int, Markup]]:
    """Numbers of services with their call trees; "null" for one that would make the page too large."""
    numbers = {(one.timeline.service, one.timeline.kind): number for number, one in enumerate(services)}
    found = []
    for service, kind, tree in trees:
        if (service, kind) in numbers:
            text = tree_document([(kind, "", tree)], {})
            fits = size + len(text) <= _LARGEST
            size += len(text) * fits
            found.append((numbers[service, kind], text if fits else Markup("null")))
    return found


def _service(lines: ServiceLines, numbers: Mapping[str, int], drifts: Sequence[DriftRow]) -> dict[str, object]:
    timeline = lines.timeline
    versions = list(dict.fromkeys(part.version for part in timeline.slices))
    at = [numbers[part.round] for part in timeline.slices]
    return {
        "service": short(timeline.service),
        "kind": short(timeline.kind),
        "measure": short(lines.measure),
        "functions": [[short(name), short(file)] for name, file in timeline.functions],
        "versions": [short(version) for version in versions],
        "at": [number - before for before, number in zip([0, *at], at, strict=False)],
        "runs": _runs(timeline.slices, versions),
        "hosts": [part.hosts for part in timeline.slices],
        "workers": [part.workers for part in timeline.slices],
        "samples": [part.samples for part in timeline.slices],
        "shares": "".join(_pair(part) for row in timeline.shares for share in row for part in share),
        "drifts": [mark for drift in drifts for mark in _mark(drift, timeline)],
    }


def _runs(slices: Sequence[Slice], versions: Sequence[str]) -> list[list[int]]:
    """Which version, and of how many slices on end."""
    numbers = {version: number for number, version in enumerate(versions)}
    return [
        [numbers[version], len(list(group))] for version, group in itertools.groupby(slices, lambda one: one.version)
    ]


def _pair(share: float) -> str:
    return _PAIRS[max(0, min(round(1000 * share), len(_PAIRS) - 1))]


def _mark(drift: DriftRow, timeline: Timeline) -> list[list[object]]:
    """Function, slice and words of a clear drift, where this time line has them."""
    if not drift.clear or drift.service != timeline.service or drift.kind not in ("", timeline.kind):
        return []
    found = [number for number, part in enumerate(timeline.slices) if part.round == drift.round or not drift.round]
    if not found or drift.function not in timeline.functions:
        return []
    error = f" ± {100 * drift.error:.1f}" if drift.error is not None else ""
    words = f"{100 * drift.change:+.1f}{error} points: {drift.verdict}"
    return [[timeline.functions.index(drift.function), found[-1], short(words)]]
