# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "diff" of the controller wing (private to the collection): the files of a comparison.

They lie beside the report of the second side's run: ``diff-<a>-<b>.html`` with all in one, ``.md``, ``.json``, and two
flame graphs, ``.svg`` with the widths of the second side and ``-baseline.svg`` with those of the first.
"""

from __future__ import annotations

import json

from ._changes import points, sentence
from ._compare import Change
from ._diff import Diff, data, noise, normalised, text, who, window
from ._profile import merge
from ._render._diff import Names, page, render_diff
from ._render._svg import Heading, with_script
from ._render._text import interval
from ._run import safe_name


def file_of(found: Diff) -> str:
    """Where the page is, or would be."""
    return f"{found.b.run.path}/{_stem(found)}.html"


def write(found: Diff, fail_above: float | None) -> None:
    stem, run = _stem(found), found.b.run
    graphs = _graphs(found)
    names = [f"{stem}{end}" for end in (".svg", "-baseline.svg", ".md", ".json")]
    run.write(names[0], with_script(graphs[0]))
    run.write(names[1], with_script(graphs[1]))
    run.write(names[2], text(found))
    run.write(names[3], json.dumps(data(found, fail_above), indent=1) + "\n")
    run.write(f"{stem}.html", page(_heading(found), _facts(found), found.comparison.changes, graphs, names))


def _stem(found: Diff) -> str:
    return f"diff-{safe_name(found.a.name)}-{safe_name(found.b.name)}"


def _heading(found: Diff) -> str:
    return f"Changes from {found.a.name} to {found.b.name}"


def _facts(found: Diff) -> list[tuple[str, str]]:
    rows = [
        ("Before", _side(found, 0)),
        ("After", _side(found, 1)),
        ("Noise", noise(found)),
        *(("Note", note) for note in found.notes),
    ]
    clear = [("Clear", sentence(change)) for change in found.clear[:10]]
    none = ("Clear", "nothing" if found.comparison.enough else "no verdict")
    return [*rows, *(clear or [none])]


def _side(found: Diff, number: int) -> str:
    side = (found.a, found.b)[number]
    return "; ".join(filter(None, (who(side, found.measures[number]), interval(*window(side)))))


def _graphs(found: Diff) -> tuple[str, str]:
    """The picture with the widths of the second side, and the one with those of the first."""
    before, after = (merge(normalised(target.profile) for target in side.targets) for side in (found.a, found.b))
    names = Names(found.a.name, found.b.name)
    verdicts = {(change.name, change.file): _verdict(change) for change in found.comparison.changes}
    pictures = []
    for widths, of_before in ((found.b, False), (found.a, True)):
        lines = (
            _side(found, 0),
            _side(found, 1),
            f"Widths are of {widths.name}; + is more and - is less in {names.after}",
        )
        heading = Heading(_heading(found), lines)
        pictures.append(render_diff(before, after, names, heading, verdicts, of_before))
    return pictures[0], pictures[1]


def _verdict(change: Change) -> str:
    """About the whole function: a frame is one of its places."""
    return f"everywhere: own {points(change.own)}, total {points(change.total)}: {change.verdict}"
