# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "render" of the controller wing (private to the collection): the tables of functions and of hosts, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from markupsafe import Markup

from .._calls import Calls
from .._spread import ODD_BY, USUAL, Apart, Difference, Row, apart, rows, usages
from ._text import names, place, share

#: Rows of the page; with scripts its table has all functions.
_MOST_FUNCTIONS, _MOST_HOSTS, _MOST_ODD = 25, 100, 3
#: The columns of the table of functions: what sorts by them, the heading, and whether they are figures.
COLUMNS = (
    ("own", "own", True),
    ("total", "total", True),
    ("name", "function", False),
    ("place", "where", False),
    ("lowest", "lowest", True),
    ("median", "median", True),
    ("highest", "highest", True),
)


@dataclass(frozen=True)
class View:
    """All samples of one measure, and their graph as SVG (our own rendering, in which every text is escaped)."""

    kind: str
    measure: str
    tree: Calls
    svg: str


@dataclass(frozen=True)
class _FunctionRow:
    name: str
    place: str
    file: str
    own: str
    total: str
    lowest: str
    lowest_host: str
    median: str
    highest: str
    highest_host: str


@dataclass(frozen=True)
class _DifferenceRow:
    name: str
    place: str
    here: str
    others: str
    odd: bool


@dataclass(frozen=True)
class _HostRow:
    host: str
    address: str
    workers: int
    samples: int
    unlike: str
    differences: list[_DifferenceRow]


@dataclass(frozen=True)
class Section:
    """``verdict`` is the sentence above the hosts, ``odd`` one for each host that stands out."""

    heading: str
    svg: Markup
    functions: list[_FunctionRow]
    more: int
    verdict: str
    odd: list[str]
    apart: list[_HostRow]
    more_apart: int


def section_of(view: View) -> Section:
    each = usages(view.tree)
    functions, hosts = rows(view.tree, each), apart(view.tree, each)
    return Section(
        heading=view.measure,
        svg=Markup(view.svg),
        functions=[_function(row) for row in functions[:_MOST_FUNCTIONS]],
        more=max(0, len(functions) - _MOST_FUNCTIONS),
        verdict=_verdict(hosts),
        odd=[_sentence(host) for host in hosts if host.odd][:_MOST_ODD],
        apart=[_host(host, view.kind) for host in hosts[:_MOST_HOSTS]],
        more_apart=max(0, len(hosts) - _MOST_HOSTS),
    )


def _function(row: Row) -> _FunctionRow:
    return _FunctionRow(
        name=row.name,
        place=place(row.file, row.line),
        file=row.file,
        own=_with_error(row.own, row.own_error),
        total=_with_error(row.total, row.total_error),
        lowest=share(row.lowest.share, 1),
        lowest_host=row.lowest.host,
        median=share(row.median, 1),
        highest=share(row.highest.share, 1),
        highest_host=row.highest.host,
    )


def _with_error(part: float, error: float) -> str:
    return f"{100 * part:.1f} ± {100 * error:.1f} %"


def _verdict(hosts: Sequence[Apart]) -> str:
    odd = [host.host for host in hosts if host.odd]
    if odd:
        return f"{names(odd)} {'stands' if len(odd) == 1 else 'stand'} out."
    if len(hosts) < USUAL:
        return f"With fewer than {USUAL} hosts nothing tells what is usual."
    return f"None of {len(hosts)} hosts stands out by {100 * ODD_BY:g} percentage points and by more than their noise."


def _sentence(host: Apart) -> str:
    """``web-07: 28.6 % in recompute_discounts (models/order.py:77), others 0.0 %``."""
    odd = [one for one in host.differences if one.odd]
    parts = [
        f"{share(one.here, 1)} in {one.name} ({place(one.file, one.line)}), others {share(one.others, 1)}"
        for one in odd
    ]
    return f"{host.host}: {'; '.join(parts)}"


def _host(host: Apart, kind: str) -> _HostRow:
    return _HostRow(
        host=host.host,
        address=urlencode({"measure": kind, "host": host.host}),
        workers=host.workers,
        samples=host.samples,
        unlike=share(host.unlike, 1),
        differences=[_difference(one) for one in host.differences],
    )


def _difference(one: Difference) -> _DifferenceRow:
    return _DifferenceRow(one.name, place(one.file, one.line), share(one.here, 1), share(one.others, 1), one.odd)
