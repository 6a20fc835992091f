# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guardrails: each limit refuses by its name and with what was measured, and nothing else refuses."""

from __future__ import annotations

import math

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._errors import HostError
from ansible_collections.pyspy.fleet.plugins.module_utils._guardrails import (
    Limits,
    Readings,
    judge,
    occupied,
    parse_available,
    parse_pressure,
    read,
)
from hypothesis import given
from hypothesis import strategies as st

CALM = Readings(load=0.5, memory_pressure=0.0, io_pressure=1.0, free_memory=4000.0, free_space=900.0)


def test_a_calm_host_bears_a_recording() -> None:
    assert judge(Limits(), CALM) is None


def test_a_kernel_that_tells_nothing_refuses_nothing() -> None:
    assert judge(Limits(), Readings(None, None, None, None, None)) is None


@pytest.mark.parametrize(
    ("limit", "strained", "measured"),
    [
        ("max_load", CALM._replace(load=10.1), "10.1"),
        ("max_memory_pressure", CALM._replace(memory_pressure=40.5), "40.5"),
        ("max_io_pressure", CALM._replace(io_pressure=80.5), "80.5"),
        ("min_free_memory", CALM._replace(free_memory=127.0), "127.0"),
        ("min_free_space", CALM._replace(free_space=31.0), "31.0"),
    ],
)
def test_each_limit_refuses_by_name_and_can_be_turned_off(limit: str, strained: Readings, measured: str) -> None:
    refusal = judge(Limits(), strained)
    assert refusal is not None
    assert measured in refusal.detail and f"pyspy_{limit}" in refusal.detail and f"pyspy_{limit}" in refusal.remedy
    assert judge(Limits()._replace(**{limit: 0.0}), strained) is None


def test_every_limit_that_is_passed_is_named() -> None:
    refusal = judge(Limits(), CALM._replace(load=99.0, free_space=0.0))
    assert refusal is not None
    assert "pyspy_max_load" in refusal.detail and "pyspy_min_free_space" in refusal.detail


@pytest.mark.parametrize(
    ("limits", "state", "tracer", "word"),
    [
        (Limits(), "S", 0, None),
        (Limits(), "R", 0, None),
        (Limits(), "D", 0, None),
        (Limits(), "S", 77, "process 77"),
        (Limits(), "t", 77, "process 77"),
        (Limits(), "T", 0, "state T"),
        (Limits(allow_traced=True), "S", 77, None),
        (Limits(allow_traced=True), "t", 77, "state t"),
        (Limits(allow_traced=True, allow_stopped=True), "t", 77, None),
        (Limits(allow_stopped=True), "T", 0, None),
    ],
)
def test_a_target_that_somebody_has_in_hand_is_left_alone(
    limits: Limits, state: str, tracer: int, word: str | None
) -> None:
    found = occupied(limits, state, tracer)
    if word is None:
        assert found is None
    else:
        assert found is not None and word in found.reason and "pyspy_allow_" in found.remedy


@pytest.mark.parametrize("value", [1, "yes", None])
def test_a_permission_is_true_or_false(value: object) -> None:
    with pytest.raises(HostError, match="allow_traced"):
        Limits.from_wire({"allow_traced": value})


@pytest.mark.parametrize("value", [-1, True, "3", None, math.inf, [1]])
def test_a_limit_is_a_number(value: object) -> None:
    with pytest.raises(HostError, match="max_load"):
        Limits.from_wire({"max_load": value})


def test_limits_that_are_not_sent_are_the_defaults() -> None:
    assert Limits.from_wire({"max_load": 3}) == Limits(max_load=3.0)


def test_pressure_of_a_real_file() -> None:
    text = "some avg10=12.34 avg60=5.00 avg300=1.00 total=9\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    assert parse_pressure(text) == 12.34


def test_memory_of_a_real_file() -> None:
    assert parse_available("MemTotal:  100 kB\nMemAvailable:   204800 kB\n") == 200.0


@given(st.text())
def test_other_files_mean_nothing(text: str) -> None:
    assert parse_pressure(text) is None or "avg10=" in text
    assert parse_available(text) is None or "MemAvailable:" in text


def test_this_host_can_be_read() -> None:
    readings = read("/")
    assert readings.load is not None and readings.load >= 0
    assert readings.free_memory is not None and readings.free_memory > 0
    assert readings.free_space is not None and readings.free_space > 0
    assert read("/no/such/place").free_space is None
