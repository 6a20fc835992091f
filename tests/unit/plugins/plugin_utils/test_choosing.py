# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import math
from collections import Counter

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._choosing import chosen, waves
from hypothesis import given
from hypothesis import strategies as st

FLEET = [f"web-{number:03}" for number in range(200)]


@pytest.mark.parametrize(
    ("hosts", "share", "many"), [(10, 0.3, 3), (10, 0.31, 4), (1, 0.01, 1), (7, 1.0, 7), (0, 1, 0)]
)
def test_a_share_of_the_hosts_rounded_up(hosts: int, share: float, many: int) -> None:
    assert len(chosen(FLEET[:hosts], share)) == many


def test_the_choice_stays_when_the_order_does_not_and_when_hosts_come() -> None:
    before = set(chosen(FLEET, 0.25))
    assert set(chosen(reversed(FLEET), 0.25)) == before
    assert before <= set(chosen(FLEET, 0.5))
    grown = set(chosen([*FLEET, *(f"new-{number}" for number in range(20))], 0.25))
    assert len(before - grown) <= 10, "as many as came in, of new ones"


def test_the_choice_is_that_of_sha256sum() -> None:
    """A round of a later release, or of another controller, is of the same hosts."""
    assert chosen(FLEET, 0.015) == ("web-088", "web-152", "web-125")


def test_the_choice_prefers_nobody() -> None:
    """Over many fleets each place of the inventory is chosen equally often."""
    times = Counter(
        FLEET.index(host.split("/")[1]) // 20
        for fleet in range(200)
        for host in chosen([f"{fleet}/{h}" for h in FLEET], 0.1)
    )
    expected = 200 * 20 / 10
    assert all(abs(many - expected) < 5 * math.sqrt(expected) for many in times.values()), times


SERVICES = st.dictionaries(st.sampled_from(FLEET), st.lists(st.sampled_from("abcd"), max_size=3), max_size=30)


@given(SERVICES, st.floats(0.01, 1.0))
def test_no_wave_has_more_of_a_service_than_its_share(services: dict[str, list[str]], at_once: float) -> None:
    found = waves(services, at_once)
    assert sorted(host for wave in found for host in wave) == sorted(services)
    of_all = Counter(name for some in services.values() for name in set(some))
    for wave in found:
        assert wave
        for name, many in Counter(name for host in wave for name in set(services[host])).items():
            assert many <= max(1.0, at_once * of_all[name] + 1e-3)


def test_waves() -> None:
    two = {host: ["shop"] for host in FLEET[:10]}
    assert [len(wave) for wave in waves(two, 0.5)] == [5, 5]
    assert [len(wave) for wave in waves(two, 1.0)] == [10]
    assert [len(wave) for wave in waves({**two, **{host: [] for host in FLEET[10:20]}}, 0.5)] == [15, 5]
    assert waves({}, 0.5) == []
