# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of folded stacks."""

from __future__ import annotations

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._formats._folded import lines, read, write
from ansible_collections.pyspy.fleet.plugins.plugin_utils._profile import Frame, Profile, Stack, merge
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Measure
from hypothesis import given
from hypothesis import strategies as st


def test_a_profile_becomes_lines_of_samples() -> None:
    outer, inner = Frame("main", "/srv/app.py", 3), Frame("work;\n", "", 0)
    stacks = (Stack((outer, inner), 0.04, 2, "a"), Stack((outer, inner), 0.02, 1, "b"), Stack((outer,), 0.02, 1, "a"))
    text = write(lines(Profile((Measure("cpu", 50, False, False),), stacks)))
    assert text == "main (/srv/app.py:3) 1\nmain (/srv/app.py:3);work%3B%0A 3\n"


def sampled(rate: int, **samples: int) -> Profile:
    """So many samples of functions, at this rate."""
    stacks = (Stack((Frame(name, "", 0),), count / rate, count) for name, count in samples.items())
    return Profile((Measure("cpu", rate, False, False),), tuple(stacks))


def test_profiles_of_different_rates_count_microseconds() -> None:
    merged = merge([sampled(10, f=10), sampled(100, f=100, g=1)])
    assert lines(merged) == [(("f",), 2_000_000), (("g",), 10_000)]


def test_profiles_of_one_rate_count_samples_however_they_were_taken() -> None:
    blocking = Profile((Measure("cpu", 76, True, False),), sampled(76, f=1).stacks)
    assert lines(merge([sampled(76, f=2, g=1), blocking])) == [(("f",), 3), (("g",), 1)]


@pytest.mark.parametrize("rates", [(76, 100), (60, 100), (7, 11, 13)])
def test_counts_of_different_rates_add_up_to_the_seconds(rates: tuple[int, ...]) -> None:
    """Single samples, as most stacks have: each of 76 Hz is 1.32 of 100 Hz, which a whole number cannot say."""
    merged = merge(sampled(rate, **{f"f{rate}_{number}": 1 for number in range(999)}) for rate in rates)
    counts = dict(lines(merged))
    assert sum(counts.values()) == pytest.approx(merged.seconds * 1e6, abs=1)
    for rate in rates:
        mine = [count for (name,), count in counts.items() if name.startswith(f"f{rate}_")]
        assert len(mine) == 999 and all(abs(count - 1e6 / rate) < 1 for count in mine)


@given(st.lists(st.tuples(st.lists(st.text(), min_size=1).map(tuple), st.integers(0, 10**17)), max_size=5))
def test_what_is_written_is_read_again(rows: list[tuple[tuple[str, ...], int]]) -> None:
    assert read(write(rows)) == rows


@given(st.text())
def test_arbitrary_text_raises_nothing_else(text: str) -> None:
    try:
        read(text)
    except FleetError as error:
        assert str(error).isprintable()


@pytest.mark.parametrize("text", ["a;b\n", "a;b 1.5\n", "a;b -1\n", "a 1\nb\n"])
def test_a_line_without_a_count_is_refused_by_number(text: str) -> None:
    with pytest.raises(FleetError, match="Line [12] of a folded file"):
        read(text)


def test_files_of_other_tools_are_read() -> None:
    assert read("a;b%2;c 3\r\n\nd 4") == [(("a", "b%2", "c"), 3), (("d",), 4)]
