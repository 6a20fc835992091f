# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "render" of the controller wing (private to the collection): text that fits, on terminals and in boxes."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Sequence


def share(part: float, whole: float) -> str:
    return f"{100 * part / whole if whole else 0:.1f} %"


def plural(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}{'es' if word.endswith('s') else 's'}"


def columns(text: str) -> int:
    """How many columns of a monospaced font the text takes."""
    return sum(_columns_of(char) for char in text)


def _columns_of(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, most: int) -> str:
    """``text`` in at most so many columns, with an ellipsis where it was longer; "" where none fits."""
    if columns(text) <= most:
        return text
    kept = ""
    room = most - 1
    for char in text:
        room -= _columns_of(char)
        if room < 0:
            break
        kept += char
    return f"{kept}…" if len(kept) > 1 else ""


def wrap(text: str, most: int) -> list[str]:
    """``text`` in lines of at most so many columns, broken at blanks."""
    lines: list[str] = []
    for word in text.split():
        if lines and columns(lines[-1]) + 1 + columns(word) <= most:
            lines[-1] += f" {word}"
        else:
            lines.append(cut(word, most))
    return lines


def row(label: str, text: str, width: int, indent: int = 10) -> list[str]:
    """``label`` and beside it ``text``, over as many lines as it takes."""
    lines = wrap(text, max(width - indent, 20)) or [""]
    return [f"{label:<{indent}}{lines[0]}".rstrip(), *(" " * indent + line for line in lines[1:])]


def names(items: Sequence[str], most: int = 3) -> str:
    """``web-03, web-07 (+12 more)``, in the order a person counts in."""
    ordered = sorted(set(items), key=_natural)
    if len(ordered) <= most:
        return ", ".join(ordered)
    return f"{', '.join(ordered[:most])} (+{len(ordered) - most} more)"


def _natural(text: str) -> list[tuple[int, str]]:
    # Digits without leading zeros, their number first: "9" before "10".
    parts = re.split("([0-9]+)", text)
    return [(len(part.lstrip("0")), part) if part[:1].isdecimal() else (0, part) for part in parts]


def place(file: str, line: int) -> str:
    """``app/views.py:34``: the last two parts of a path, and the line."""
    short = "/".join(file.split("/")[-2:])
    return f"{short}:{line}" if line else short


def clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(seconds))


def day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def interval(began: float | None, ended: float | None) -> str:
    """``2026-11-22 09:38:02 to 09:38:32 UTC``; "" where it is not known."""
    # The clock is the host's and untrusted: beyond the year 9999 there is nothing to show.
    if began is None or ended is None or not 0 < began <= ended < 253402300800:
        return ""
    return f"{day(began)} {clock(began)} to {clock(ended)} UTC"


def markdown(text: str) -> str:
    """Free text that stays text in Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&!])", r"\\\1", text)


def code(text: str) -> str:
    """A name as a code span, whatever it holds."""
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") or not text.strip() else ""
    return f"{fence}{pad}{text}{pad}{fence}"
