# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "changes" of the controller wing (private to the collection): the words and figures of changes. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ._compare import CLEAR, Change, Shift
from ._errors import FleetError
from ._render._text import code, place
from ._wire import JsonObject


def limit(points: float | None) -> float | None:
    """``fail_above`` as somebody gave it; FleetError for one that nothing is above: that gate would let all pass."""
    if points is None or 0 <= points < 100:
        return points
    raise FleetError(
        "fail_above is not a number of percentage points",
        f"got {points}",
        "give one from 0 up to 100, or leave it out so that nothing fails",
    )


def growth(change: Change) -> float:
    """Percentage points that a clear part of a change grew by."""
    return max((100 * shift.change for shift in (change.own, change.total) if shift.verdict == CLEAR), default=0.0)


def sentence(change: Change) -> str:
    """``+5.1 ± 1.2 points in price (shop/price.py): own 12.0 → 17.1 %, total 12.0 → 17.1 %``."""
    where = f"{change.name} ({place(change.file, 0)})"
    return f"{points(change.shift)} in {where}: own {arrow(change.own)}, total {arrow(change.total)}"


def points(shift: Shift) -> str:
    error = "" if shift.error is None else f" ± {100 * shift.error:.1f}"
    return f"{100 * shift.change:+.1f}{error} points"


def arrow(shift: Shift) -> str:
    return f"{100 * shift.before:.1f} → {100 * shift.after:.1f} %"


def table(rows: Sequence[tuple[Change, str]]) -> list[str]:
    """As Markdown: changes, each with its verdict."""
    parts = ["| function | where | own | change | total | change | verdict |", "|---|---|---|---|---|---|---|"]
    for one, verdict in rows:
        shown = (code(one.name), code(one.file), arrow(one.own), points(one.own), arrow(one.total), points(one.total))
        parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in (*shown, verdict)) + " |")
    return parts


def change_data(change: Change) -> JsonObject:
    return {
        "name": change.name,
        "file": change.file,
        "verdict": change.verdict,
        "own": {**change.own._asdict(), "verdict": change.own.verdict},
        "total": {**change.total._asdict(), "verdict": change.total.verdict},
    }
