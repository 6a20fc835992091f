# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._dump_options import Options
from ansible_collections.pyspy.fleet.plugins.module_utils._errors import HostError


def test_the_defaults() -> None:
    assert Options.from_wire({}) == Options(3, 1.0, 60, False, None, False, False, False)
    assert not Options.from_wire({}).stops()


@pytest.mark.parametrize(
    ("asked", "stops"),
    [
        ({"native": True}, True),
        ({"nonblocking": False}, True),
        ({"nonblocking": True}, False),
        ({"interval": 0}, False),
        ({"count": 100, "interval": 60, "deadline": 600}, False),
    ],
)
def test_what_stops_the_target(asked: dict[str, object], stops: bool) -> None:
    options = Options.from_wire(asked)
    assert options.stops() is stops
    assert options.measure() == {"kind": "dump", "rate": 0, "blocking": stops, "native": options.native}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"count": 0}, "count is not a whole number from 1 to 100"),
        ({"count": 101}, "count is not"),
        ({"count": True}, "count is not"),
        ({"interval": -0.1}, "interval is not a number from 0 to 60"),
        ({"interval": 61}, "interval is not"),
        ({"interval": True}, "interval is not"),
        ({"interval": "1"}, "interval is not"),
        ({"interval": float("nan")}, "interval is not"),
        ({"deadline": 0}, "deadline is not a whole number from 1 to 600"),
        ({"deadline": 1.5}, "deadline is not"),
        ({"locals": "yes"}, "locals is neither true nor false"),
        ({"native": True, "nonblocking": True}, "native and nonblocking exclude each other"),
    ],
)
def test_what_is_refused(asked: dict[str, object], words: str) -> None:
    with pytest.raises(HostError, match=words):
        Options.from_wire(asked)
