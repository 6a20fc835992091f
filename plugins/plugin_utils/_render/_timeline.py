# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "render" of the controller wing (private to the collection): the time line page of snapshots, one file.

Nothing is loaded from elsewhere, and a content security policy says so. The script draws the lines and opens rounds;
without it there are pictures, tables, and the reports of the newest rounds.
"""

from __future__ import annotations

import functools
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from markupsafe import Markup

from .._calls import Calls
from .._rounds import Round, Timeline
from . import _timeline_data, _timeline_svg
from ._page import _hash, _style
from ._templates import template
from ._text import clock, day, plural
from ._timeline_data import DriftRow, ServiceLines, short

_FILES = (
    *(f"view/{name}.js" for name in ("table", "data", "sums", "flame")),
    *(f"timeline/{name}.js" for name in ("data", "picture", "table", "graph", "page")),
)
#: Rows that are written out; what is left out is counted in the page.
_MOST_DRIFTS, _MOST_ROUNDS = 100, 100


@dataclass(frozen=True)
class _FunctionRow:
    name: str
    file: str
    oldest: str
    median: str
    newest: str
    change: str


@dataclass(frozen=True)
class _Section:
    """A service for readers without scripts."""

    heading: str
    facts: str
    svg: Markup
    rows: list[_FunctionRow]


@dataclass(frozen=True)
class _Drift:
    verdict: str
    clear: bool
    service: str
    function: str
    file: str
    now: str
    usual: str
    change: str
    address: str


@dataclass(frozen=True)
class _RoundRow:
    name: str
    when: str
    hosts: str
    link: str


def page(
    title: str,
    facts: Sequence[tuple[str, str]],
    services: Sequence[ServiceLines],
    rounds: Sequence[Round],
    links: Mapping[str, str | None],
    drifts: Sequence[DriftRow] = (),
    trees: Sequence[tuple[str, str, Calls]] = (),
) -> str:
    """``links`` has, for names of rounds, the relative address of the report, or None where there is none.

    ``trees`` are service, kind and calls, in the order of their importance: later ones are left out where the page
    would be too large. Their workers are rounds: ``host`` is the round's name, ``name`` the version.
    """
    ranked = sorted(drifts, key=lambda one: (not one.clear, -abs(one.change)))
    known = _timeline_data.all_rounds(rounds, services)
    addresses = {name: relative(link) for name, link in links.items()}
    data = _timeline_data.document(services, known, addresses, ranked)
    return template("timeline.html.j2").render(
        title=short(title),
        facts=[(short(label), short(text)) for label, text in facts],
        drifts=[_drift(one) for one in ranked[:_MOST_DRIFTS]],
        more_drifts=max(0, len(ranked) - _MOST_DRIFTS),
        sections=[_section(one) for one in services],
        rounds=[_round(one, links.get(one.name)) for one in reversed(known[-_MOST_ROUNDS:])],
        more_rounds=max(0, len(known) - _MOST_ROUNDS),
        data=data,
        trees=_timeline_data.documents(trees, services, len(data)),
        style=Markup(_style()),
        style_hash=_hash(_style()),
        script=Markup(_script()),
        script_hash=_hash(_script()),
    )


def relative(link: str | None) -> str:
    """An address that leads to a file beside the page or above it, whatever it looks like; "" where there is none."""
    return f"./{quote(link, safe='/', errors='replace')}" if link else ""


@functools.cache
def _script() -> str:
    folder = os.path.dirname(os.path.abspath(__file__))
    texts = []
    for name in _FILES:
        with open(os.path.join(folder, *name.split("/")), encoding="utf-8") as file:
            texts.append(file.read())
    return "\n".join(['"use strict";', *texts])


def _drift(one: DriftRow) -> _Drift:
    error = f" ± {100 * one.error:.1f}" if one.error is not None else ""
    return _Drift(
        verdict=short(one.verdict),
        clear=one.clear,
        service=short(one.service),
        function=short(one.function[0]),
        file=short(one.function[1]),
        now=f"{100 * one.now:.1f} %",
        usual=f"{100 * one.usual:.1f} %",
        change=f"{100 * one.change:+.1f}{error}",
        address=_timeline_data.address(one),
    )


def _round(one: Round, link: str | None) -> _RoundRow:
    hosts = f"{one.chosen} of {plural(one.hosts, 'host')}" if one.hosts else ""
    return _RoundRow(short(one.name), f"{day(one.began)} {clock(one.began)}", hosts, relative(link))


def _section(lines: ServiceLines) -> _Section:
    timeline = lines.timeline
    facts = [lines.measure, plural(len(timeline.slices), "round")]
    if timeline.slices:
        first, last = timeline.slices[0].began, timeline.slices[-1].began
        facts.append(f"{day(first)} {clock(first)} to {day(last)} {clock(last)} UTC")
    thinned = _timeline_svg.thinned(timeline)
    return _Section(
        heading=f"{short(timeline.service)} ({short(timeline.kind)})",
        facts="; ".join(filter(None, [*facts, thinned])),
        svg=_timeline_svg.picture(timeline),
        rows=_rows(timeline),
    )


def _rows(timeline: Timeline) -> list[_FunctionRow]:
    if not timeline.slices:
        return []
    return [
        _function(name, file, [shares[number].own for shares in timeline.shares])
        for number, (name, file) in enumerate(timeline.functions)
    ]


def _function(name: str, file: str, owns: Iterable[float]) -> _FunctionRow:
    shown = [round(1000 * own) / 1000 for own in owns]
    oldest, median, newest = shown[0], statistics.median(shown), shown[-1]
    change = f"{100 * (newest - median):+.1f}"
    return _FunctionRow(
        short(name), short(file), f"{100 * oldest:.1f} %", f"{100 * median:.1f} %", f"{100 * newest:.1f} %", change
    )
