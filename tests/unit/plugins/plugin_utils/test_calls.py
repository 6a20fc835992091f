# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the call tree of many targets, and of the shares that are told from it."""

from __future__ import annotations

import math

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._calls import Calls, Worker, calls
from ansible_collections.pyspy.fleet.plugins.plugin_utils._profile import Frame, Profile, Stack, functions, merge
from ansible_collections.pyspy.fleet.plugins.plugin_utils._spread import Apart, apart, error, rows, usages
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Measure
from hypothesis import given
from hypothesis import strategies as st

CPU = Measure("cpu", 50, False, False)
TICK = 0.02


def frames(path: str) -> tuple[Frame, ...]:
    """``a:1 b:2``: functions with their lines, outermost first; all in one file."""
    return tuple(
        Frame(name, "/app.py", int(line or 0)) for name, _colon, line in (w.partition(":") for w in path.split())
    )


def profile(samples: dict[str, int], thread: str = "MainThread", process: int = 0) -> Profile:
    stacks = tuple(Stack(frames(path), count * TICK, count, thread, process) for path, count in samples.items())
    return Profile((CPU,), stacks)


def fleet(*hosts: list[dict[str, int]]) -> Calls:
    """Hosts h1, h2, … with these workers."""
    return calls(
        (Worker(f"h{number}", f"w{index}"), profile(samples))
        for number, workers in enumerate(hosts, 1)
        for index, samples in enumerate(workers)
    )


def test_workers_share_one_tree_and_keep_their_samples() -> None:
    tree = fleet([{"main:1 b:7": 3, "main:2 a:5": 1}], [{"main:2 b:8": 2, "main:2": 1}])
    assert tree.functions == (("a", "/app.py"), ("b", "/app.py"), ("main", "/app.py"))
    # The root, main, and what it calls in the order of the names; the hottest lines are of all workers.
    assert (tree.parents, tree.places, tree.lines) == ((-1, 0, 1, 1), (-1, 2, 0, 1), (0, 2, 5, 7))
    assert [(one.worker, one.tick, one.own) for one in tree.series] == [
        (0, TICK, {2: 1, 3: 3}),
        (1, TICK, {1: 1, 3: 2}),
    ]


def test_threads_segments_and_processes_stay_apart_or_add_up() -> None:
    worker = Worker("h1", "w")
    tree = calls([(worker, profile({"a": 1})), (worker, profile({"a": 2})), (worker, profile({"a": 4}, "other"))])
    assert [(one.thread, one.samples) for one in tree.series] == [("MainThread", 3), ("other", 4)]
    two = (*profile({"a": 1}, process=7).stacks, *profile({"a": 1}, process=8).stacks)
    assert [one.name for one in calls([(worker, Profile((CPU,), two))]).workers] == ["w, process 7", "w, process 8"]


def test_nothing_sampled_is_a_root_alone() -> None:
    tree = calls([(Worker("h1", "w"), Profile((CPU,), ()))])
    assert tree.parents == (-1,) and rows(tree, usages(tree)) == [] and apart(tree, usages(tree)) == []


STACKS = st.dictionaries(
    st.lists(st.sampled_from(["a", "b", "c", "a:2"]), min_size=1, max_size=8).map(" ".join),
    st.integers(1, 50),
    min_size=1,
)


@given(st.lists(st.lists(STACKS, min_size=1, max_size=3), min_size=1, max_size=4))
def test_shares_are_those_of_the_merged_profile(hosts: list[list[dict[str, int]]]) -> None:
    tree = fleet(*hosts)
    merged = merge(profile(samples) for workers in hosts for samples in workers)
    assert sum(one.samples for one in tree.series) == merged.samples
    assert all(parent < node for node, parent in enumerate(tree.parents))
    found = {(row.name, row.file): (row.own, row.total) for row in rows(tree, usages(tree))}
    wanted = {(row.name, row.file): (row.own / merged.seconds, row.total / merged.seconds) for row in functions(merged)}
    assert found.keys() == wanted.keys()
    for key, shares in wanted.items():
        assert found[key] == pytest.approx(shares)


def test_a_function_s_spread_over_hosts() -> None:
    tree = fleet([{"main a": 10}], [{"main a": 4, "main b": 6}], [{"main a": 5, "main b": 5}])
    first, *_rest = rows(tree, usages(tree))
    assert (first.name, first.own) == ("a", pytest.approx(19 / 30))
    assert (first.lowest, first.highest) == (("h2", pytest.approx(0.4)), ("h1", pytest.approx(1.0)))
    assert first.median == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("parts", "samples", "expected"),
    [
        ([], 0, 0.0),
        ([(0.0, 0.0)], 0, 0.0),
        # Few workers: as for independent samples, which is 2 √(p (1-p) / n).
        ([(5.0, 10.0)], 100, 0.1),
        ([(5.0, 10.0)] * 4, 400, 0.05),
        # Workers that are all alike differ by no more than that.
        ([(5.0, 10.0)] * 5, 500, 2 * math.sqrt(0.25 / 500)),
        # One of five does it all: 2 √(Σ(x - p t)² · 5/4) / T, by hand.
        ([(10.0, 10.0)] + [(0.0, 10.0)] * 4, 5000, 2 * math.sqrt((8**2 + 4 * 2**2) * 5 / 4) / 50),
        # Who was not sampled at all says nothing.
        ([(5.0, 10.0)] * 4 + [(0.0, 0.0)] * 4, 400, 0.05),
        ([(10.0, 10.0)] * 3, 300, 0.0),
    ],
)
def test_the_error_of_a_share(parts: list[tuple[float, float]], samples: int, expected: float) -> None:
    assert error(parts, samples) == pytest.approx(expected)


def told(*hosts: dict[str, int]) -> list[Apart]:
    tree = fleet(*([samples, samples] for samples in hosts))
    return apart(tree, usages(tree))


def test_the_odd_host_stands_out_first() -> None:
    usual = {"main a": 500, "main b": 500}
    found = told(usual, usual, {"main a": 300, "main b": 300, "main c": 400}, usual, usual)
    assert [(one.host, one.odd) for one in found] == [
        ("h3", True),
        ("h1", False),
        ("h2", False),
        ("h4", False),
        ("h5", False),
    ]
    [first, *_others] = found[0].differences
    assert (first.name, first.here, first.others, first.odd) == ("c", pytest.approx(0.4), 0.0, True)
    assert found[0].unlike == pytest.approx(0.4) and found[1].unlike == pytest.approx(0.1)
    assert (found[0].workers, found[0].samples) == (2, 2000)


@pytest.mark.parametrize(
    "hosts",
    [
        # Too few hosts to say what is usual.
        [{"a": 500}, {"a": 500}, {"b": 500}],
        # All differ that much.
        [{"a": 900, "b": 100}, {"a": 700, "b": 300}, {"a": 500, "b": 500}, {"a": 300, "b": 700}, {"a": 100, "b": 900}],
        # Few samples: 2 of 10 are nothing to speak of.
        [{"a": 10}, {"a": 10}, {"a": 8, "b": 2}, {"a": 10}, {"a": 10}],
        # Two percentage points are not, however sure.
        [{"a": 100_000}] * 4 + [{"a": 98_000, "b": 2_000}],
    ],
)
def test_no_host_stands_out(hosts: list[dict[str, int]]) -> None:
    assert not any(one.odd for one in told(*hosts))


def test_one_host_has_nothing_beside_it() -> None:
    assert told({"a": 5}) == []
