# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of profiles: adding up, tables of functions, words for measures."""

from __future__ import annotations

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._profile import (
    Frame,
    Function,
    Profile,
    Stack,
    describe,
    functions,
    hottest,
    merge,
    rooted,
)
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Measure
from hypothesis import given
from hypothesis import strategies as st

CPU = Measure("cpu", 100, False, False)
MAIN = Frame("main", "app.py", 1)
WORK = Frame("work", "app.py", 10)
WORK_BELOW = Frame("work", "app.py", 12)


def test_merging_adds_equal_stacks_and_keeps_threads_apart() -> None:
    one = Profile((CPU,), (Stack((MAIN, WORK), 1.0, 100, "a"), Stack((MAIN,), 0.5, 50, "a")))
    two = Profile((CPU,), (Stack((MAIN, WORK), 2.0, 200, "a"), Stack((MAIN, WORK), 4.0, 400, "b")))
    merged = merge([one, two])
    assert merged.stacks == (
        Stack((MAIN,), 0.5, 50, "a"),
        Stack((MAIN, WORK), 3.0, 300, "a"),
        Stack((MAIN, WORK), 4.0, 400, "b"),
    )
    assert merged.measures == (CPU,)


def test_merging_keeps_the_different_rates() -> None:
    slow = Measure("cpu", 20, False, False)
    merged = merge([Profile((CPU,), ()), Profile((slow,), ())])
    assert merged.measures == (slow, CPU)
    assert merged.rate == 100


def test_different_measures_are_refused_with_a_remedy() -> None:
    with pytest.raises(FleetError) as caught:
        merge([Profile((CPU,), ()), Profile((Measure("gil", 100, False, False),), ())])
    assert "cpu" in caught.value.detail and "gil" in caught.value.detail and caught.value.remedy


def test_merging_nothing_is_refused() -> None:
    with pytest.raises(FleetError):
        merge([])


def test_functions_merge_lines_and_count_recursion_once() -> None:
    stacks = (Stack((MAIN, WORK, WORK, WORK_BELOW), 3.0, 3), Stack((MAIN, WORK), 1.0, 1), Stack((MAIN,), 0.5, 1))
    assert functions(Profile((CPU,), stacks)) == [
        Function("work", "app.py", 12, own=4.0, total=4.0),
        Function("main", "app.py", 1, own=0.5, total=4.5),
    ]


def test_a_function_that_only_calls_has_its_hottest_calling_line() -> None:
    stacks = (Stack((Frame("main", "app.py", 5), WORK), 1.0, 1), Stack((Frame("main", "app.py", 7), WORK), 2.0, 2))
    row = next(row for row in functions(Profile((CPU,), stacks)) if row.name == "main")
    assert (row.line, row.own, row.total) == (7, 0.0, 3.0)


def test_hottest_leaves_out_functions_without_own_time() -> None:
    assert [row.name for row in hottest(Profile((CPU,), (Stack((MAIN, WORK), 1.0, 1),)), 5)] == ["work"]


def test_processes_are_put_in_front_where_there_are_several() -> None:
    one = Profile((CPU,), (Stack((MAIN,), 1.0, 1, "a", 7),))
    assert rooted(one) is one
    two = Profile((CPU,), (*one.stacks, Stack((MAIN,), 1.0, 1, "a", 8)))
    assert [stack.frames[0].name for stack in rooted(two).stacks] == ["process 7", "process 8"]


@pytest.mark.parametrize(
    ("measures", "text"),
    [
        ([], ""),
        ([CPU], "CPU time (not idle), 100 Hz, nonblocking"),
        (
            [CPU, Measure("cpu", 20, True, True)],
            "CPU time (not idle), 20 to 100 Hz, blocking and nonblocking, with C frames and without",
        ),
        ([Measure("gil", 50, True, False)], "time holding the GIL, 50 Hz, blocking"),
    ],
)
def test_a_measure_in_words(measures: list[Measure], text: str) -> None:
    assert describe(measures) == text


FRAMES = st.builds(Frame, st.sampled_from("fgh"), st.sampled_from(["a.py", "b.py"]), st.integers(0, 3))
STACKS = st.builds(
    Stack, st.lists(FRAMES, min_size=1, max_size=6).map(tuple), st.integers(1, 9).map(float), st.integers(1, 9)
)
PROFILES = st.lists(STACKS, max_size=8).map(lambda stacks: Profile((CPU,), tuple(stacks)))


@given(st.lists(PROFILES, min_size=1, max_size=4))
def test_nothing_is_lost_in_merging(parts: list[Profile]) -> None:
    merged = merge(parts)
    assert merged.seconds == sum(part.seconds for part in parts)
    assert merged.samples == sum(part.samples for part in parts)
    assert {row[:2]: row[3:] for row in functions(merged)} == {
        row[:2]: row[3:] for row in functions(Profile((CPU,), tuple(s for part in parts for s in part.stacks)))
    }


@given(PROFILES)
def test_own_times_add_up_and_no_total_exceeds_the_whole(profile: Profile) -> None:
    rows = functions(profile)
    assert sum(row.own for row in rows) == profile.seconds
    assert all(row.own <= row.total <= profile.seconds for row in rows)
