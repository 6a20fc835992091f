# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan for targets of known size: the rows of the table that was measured, and what must hold for all."""

from __future__ import annotations

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._plan import Facts, Options, Plan, Size, plan
from hypothesis import given
from hypothesis import strategies as st

NOTHING_ASKED = Options.from_wire({})


@pytest.mark.parametrize(
    ("size", "kind", "rate"),
    [
        (Size(1, 5), "cpu", 100),
        (Size(9, 9 * 30), "cpu", 100),
        (Size(21, 21 * 30), "cpu", 79),
        (Size(41, 41 * 50), "cpu", 24),
        (Size(61, 61 * 100), "gil", 100),
        (Size(0, 0), "cpu", 100),
    ],
)
def test_rows_of_the_measured_table(size: Size, kind: str, rate: int) -> None:
    chosen = plan(NOTHING_ASKED, size)
    assert (chosen.kind, chosen.rate, chosen.blocking) == (kind, rate, False)
    assert bool(chosen.reasons) == ((kind, rate) != ("cpu", 100))


def test_a_lower_rate_says_why() -> None:
    assert plan(NOTHING_ASKED, Size(41, 2050)).reasons == (
        "24 Hz instead of 100: reading 41 threads with 2050 frames costs too much for more",
    )


def test_the_bias_of_gil_is_named() -> None:
    assert any("released the GIL is not seen" in reason for reason in plan(NOTHING_ASKED, Size(61, 6100)).reasons)


@pytest.mark.parametrize("asked", [{"idle": True}, {"native": True}, {"nonblocking": False}])
def test_a_wish_is_not_turned_into_gil(asked: dict[str, object]) -> None:
    chosen = plan(Options.from_wire(asked), Size(61, 6100))
    assert chosen.kind == ("wall" if "idle" in asked else "cpu")
    assert chosen.rate < 10


@given(
    st.builds(Size, st.integers(0, 5000), st.integers(0, 10**6)),
    st.integers(1, 1000),
    st.sampled_from(({}, {"idle": True}, {"gil": True}, {"native": True}, {"nonblocking": False})),
)
def test_the_asked_rate_is_the_most_and_the_cost_is_bounded(size: Size, rate: int, wish: dict[str, object]) -> None:
    chosen: Plan = plan(Options.from_wire({"rate": rate, **wish}), size)
    assert 1 <= chosen.rate <= rate
    if not chosen.blocking and chosen.kind != "gil":
        assert chosen.rate == 1 or chosen.rate * size.frames <= 50_000
    if chosen.rate < min(rate, 50):
        assert any("instead of" in reason for reason in chosen.reasons)


@pytest.mark.parametrize(
    ("wish", "facts", "measure", "words"),
    [
        ({}, Facts(unmatched=True), ("gil", False, False), "before Python 3.11"),
        ({}, Facts(unmatched=True, contained=True), ("gil", False, False), "in a container"),
        ({}, Facts(contained=True), ("cpu", False, False), ""),
        ({"idle": True}, Facts(unmatched=True, contained=True), ("wall", False, False), ""),
        ({"nonblocking": False}, Facts(unmatched=True), ("cpu", True, False), "blocking was asked for"),
        ({"nonblocking": False}, Facts(unmatched=True, contained=True), ("gil", True, False), "in a container"),
        ({"native": True}, Facts(unmatched=True, contained=True), ("gil", False, False), "without native frames"),
        ({"native": True}, Facts(unmatched=True, contained=True), ("gil", False, False), "pyspy_enter_namespaces"),
        ({}, Facts(contained=True, inside=True), ("cpu", False, False), "from inside its container's namespaces"),
        ({}, Facts(unmatched=True, contained=True, inside=True), ("gil", False, False), "before Python 3.11"),
        ({"native": True}, Facts(contained=True, inside=True), ("cpu", True, True), "native frames"),
        ({}, Facts(forked=True), ("gil", False, False), "behind Python's back"),
        ({"nonblocking": False}, Facts(forked=True), ("gil", True, False), "behind Python's back"),
        ({"idle": True}, Facts(forked=True), ("wall", False, False), ""),
        ({"native": True}, Facts(stuck=True), ("cpu", False, False), "native frames are left out"),
        ({"nonblocking": False}, Facts(stuck=True), ("cpu", False, False), "state D"),
        ({}, Facts(stuck=True), ("cpu", False, False), ""),
        ({}, Facts(unsized="its size is not known"), ("cpu", False, False), "its size is not known"),
    ],
)
def test_what_a_target_is_comes_before_what_was_asked(
    wish: dict[str, object], facts: Facts, measure: tuple[str, bool, bool], words: str
) -> None:
    chosen = plan(Options.from_wire({"rate": 20, **wish}), None, facts)
    assert (chosen.kind, chosen.blocking, chosen.native) == measure
    assert words in " ".join(chosen.reasons)


def test_an_unknown_size_is_taken_for_a_large_one() -> None:
    chosen = plan(NOTHING_ASKED, None, Facts(unsized="its size is not known"))
    assert chosen.rate == 20 and "its size is not known: at most 20 Hz" in chosen.reasons
    assert plan(Options.from_wire({"rate": 7}), None, Facts(unsized="?")).rate == 7
