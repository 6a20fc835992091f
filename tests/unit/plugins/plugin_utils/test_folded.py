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


def test_profiles_of_different_rates_count_at_the_highest() -> None:
    frame = (Frame("f", "", 0),)
    slow = Profile((Measure("cpu", 10, False, False),), (Stack(frame, 1.0, 10),))
    fast = Profile((Measure("cpu", 100, False, False),), (Stack(frame, 1.0, 100),))
    assert lines(merge([slow, fast])) == [(("f",), 200)]


@pytest.mark.parametrize(
    ("slow", "fast", "second"), [(76, 100, 1900), (60, 100, 300), (10, 100, 100), (997, 1000, 997000)]
)
def test_single_samples_of_different_rates_are_as_heavy_as_they_were(slow: int, fast: int, second: int) -> None:
    """Rounded to samples at the highest rate, one at 76 Hz was one at 100 Hz."""
    parts = [
        Profile((Measure("cpu", rate, False, False),), (Stack((Frame(f"at {rate}", "", 0),), 1 / rate, 1),))
        for rate in (slow, fast)
    ]
    assert dict(lines(merge(parts))) == {(f"at {slow}",): second // slow, (f"at {fast}",): second // fast}


def test_rates_without_a_measure_in_common_count_nanoseconds() -> None:
    rates = [991, 983, 977, 971]  # primes
    parts = [
        Profile((Measure("cpu", rate, False, False),), (Stack((Frame("f", "", 0),), 1 / rate, 1),)) for rate in rates
    ]
    [(_names, count)] = lines(merge(parts))
    assert abs(count - sum(1e9 / rate for rate in rates)) < 2


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
