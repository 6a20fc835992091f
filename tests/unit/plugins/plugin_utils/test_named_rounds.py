# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._named_rounds import named, span
from ansible_collections.pyspy.fleet.plugins.plugin_utils._rounds import Round

#: 2026-11-16 to 18, each day at 00:00:00, 09:30:00 and 23:59:59.5 UTC.
TIMES = [1794787200.0 + 86400 * day + second for day in range(3) for second in (0, 34200, 86399.5)]
ROUNDS = [Round(f"r{number}", began, began + 10, 4, 4) for number, began in enumerate(TIMES)]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("r4", "4"),
        ("latest", "8"),
        ("2026-11-17", "345"),
        ("2026-11-17T09", "4"),
        ("2026-11-17T09:30", "4"),
        ("2026-11-16..2026-11-17", "012345"),
        ("r1..r3", "123"),
        ("2026-11-17T09..latest", "45678"),
        ("2026-11-18..9999-12-31", "678"),
    ],
)
def test_rounds_as_people_name_them(text: str, numbers: str) -> None:
    assert [one.name for one in named(ROUNDS, text)] == [f"r{number}" for number in numbers]


@pytest.mark.parametrize("text", ["", "r9", "yesterday", "2026-11-19", "2026-13-01", "r3..r1", "..", "r1..", "\x1b[2J"])
def test_what_there_is_not(text: str) -> None:
    with pytest.raises(FleetError, match="There is no round") as caught:
        named(ROUNDS, text)
    assert caught.value.detail == "the store has r0 to r8" and "2026-11-17T09" in caught.value.remedy


def test_a_round_that_was_pruned_still_has_its_time() -> None:
    """What was said to be usual since then does not end when that round goes."""
    name = time.strftime("%Y%m%dT%H%M%SZ-snapshot-web", time.gmtime(ROUNDS[3].began))
    assert span([], name)[0] == int(ROUNDS[3].began)
    assert [one.name for one in named(ROUNDS, f"{name}..r5")] == ["r3", "r4", "r5"]
    with pytest.raises(FleetError, match="There is no round"):
        named(ROUNDS, name)


def test_an_empty_store() -> None:
    with pytest.raises(FleetError) as caught:
        named([], "latest")
    assert caught.value.detail == "the store is empty"
