# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "errors" of the host wing (private to the collection): the one exception that becomes an answer."""

from __future__ import annotations

from typing import Dict


class HostError(Exception):
    """What could not be done on this host, in the three parts that somebody in an incident needs.

    ``reason`` says what, in one line; ``detail`` is the system's or py-spy's own
    words ("" when there are none); ``remedy`` is what to do about it.
    """

    def __init__(self, reason: str, detail: str = "", remedy: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.remedy = remedy

    def to_wire(self) -> Dict[str, str]:
        return {"reason": self.reason, "detail": self.detail, "remedy": self.remedy}
