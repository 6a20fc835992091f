# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "errors" of the host wing (private to the collection): the one exception that becomes an answer; bugs too."""

from __future__ import annotations

import os
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


def unexpected(error: Exception) -> HostError:
    """A bug of ours in one line, with the place where it showed itself."""
    trace, last = error.__traceback__, None
    while trace is not None:
        last, trace = trace, trace.tb_next
    where = "" if last is None else " (%s:%d)" % (os.path.basename(last.tb_frame.f_code.co_filename), last.tb_lineno)
    return HostError(
        "The host program failed",
        "%s: %s%s" % (type(error).__name__, error, where),
        "report this line as a bug of pyspy.fleet",
    )
