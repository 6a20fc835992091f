# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "dump_options" of the host wing (private to the collection): what the user asked of a dump. Pure."""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional

from ._errors import HostError
from ._plan import bounded, flag, refuse_both

#: Longer than ten minutes belongs to a recording.
MAX_COUNT, MAX_INTERVAL, MAX_DEADLINE = 100, 60.0, 600


class Options(NamedTuple):
    """What the user asked of a dump: ``looks`` at each target; ``interval`` and ``deadline`` are seconds.

    ``nonblocking`` is None when the user left the choice to us.
    """

    looks: int
    interval: float
    deadline: int
    native: bool
    nonblocking: Optional[bool]
    local: bool
    command_lines: bool
    enter_namespaces: bool

    @classmethod
    def from_wire(cls, data: Dict[str, object]) -> Options:
        """Validate one object of the wire; every refusal names the option (HostError)."""
        interval = data.get("interval", 1.0)
        if isinstance(interval, bool) or not isinstance(interval, (int, float)) or not 0 <= interval <= MAX_INTERVAL:
            raise HostError(
                "interval is not a number from 0 to %g (s)" % MAX_INTERVAL,
                "got %r" % (interval,),
                "choose another value",
            )
        options = cls(
            looks=bounded(data, "count", 3, MAX_COUNT, "dumps"),
            interval=float(interval),
            deadline=bounded(data, "deadline", 60, MAX_DEADLINE, "s"),
            native=bool(flag(data, "native")),
            nonblocking=flag(data, "nonblocking"),
            local=bool(flag(data, "locals")),
            command_lines=bool(flag(data, "command_lines")),
            enter_namespaces=bool(flag(data, "enter_namespaces")),
        )
        refuse_both(options.native, options.nonblocking)
        return options

    def stops(self) -> bool:
        """Would a target be stopped, for all that we know of it beforehand?"""
        return self.native or self.nonblocking is False

    def measure(self) -> Dict[str, object]:
        return measure(self.stops(), self.native)


def measure(blocking: bool, native: bool) -> Dict[str, object]:
    return {"kind": "dump", "rate": 0, "blocking": blocking, "native": native}
