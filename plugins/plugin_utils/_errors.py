# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "errors" of the controller wing (private to the collection): the one exception a person may meet."""

from __future__ import annotations


class FleetError(Exception):
    """What went wrong, in the three parts that somebody in an incident needs.

    ``reason`` says what could not be done, in one line; ``detail`` is the
    tool's or the system's own words ("" when there are none); ``remedy`` is
    what to do about it ("" only when there truly is nothing to do).
    """

    def __init__(self, reason: str, detail: str = "", remedy: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.remedy = remedy

    def __str__(self) -> str:
        return one_line(self.reason, self.detail, self.remedy)


def one_line(reason: str, detail: str, remedy: str) -> str:
    """The three parts as one line for a terminal: ``reason: detail. Remedy: remedy``."""
    text = reason.rstrip(".")
    if detail:
        text += ": " + " ".join(detail.split()).rstrip(".")
    if remedy:
        text += ". Remedy: " + remedy.rstrip(".")
    return text + "."
