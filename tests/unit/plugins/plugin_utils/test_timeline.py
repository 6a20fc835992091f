# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the time line page's document and pictures. How it behaves is tested in browsers."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render import _timeline_data, _timeline_svg
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._timeline import page, relative
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._timeline_data import (
    DriftRow,
    ServiceLines,
    all_rounds,
    document,
    documents,
)
from ansible_collections.pyspy.fleet.tests.lab.made_rounds import (
    BEGAN,
    SLOW,
    gapped,
    made_calls,
    made_page,
    made_rounds,
    risen,
    steady,
    timeline,
)

ROUNDS = made_rounds(6)
CLEAR = DriftRow("shop", SLOW, 0.18, 0.1, 0.08, 0.012, "clear", ROUNDS[4].name)


def read(*services: ServiceLines, drifts: tuple[DriftRow, ...] = ()) -> Any:
    return json.loads(document(services, all_rounds(ROUNDS, services), {ROUNDS[5].name: "./x"}, drifts))


def test_the_document() -> None:
    content = read(ServiceLines(risen(ROUNDS, 4), "CPU"), drifts=(CLEAR,))
    assert content["rounds"][0] == [ROUNDS[0].name, BEGAN, 12, 12, ""]
    assert content["rounds"][5][4] == "./x"
    [line] = content["services"]
    assert (line["versions"], line["runs"]) == (["2.1", "2.2"], [[0, 4], [1, 2]])
    assert line["at"] == [0, 1, 1, 1, 1, 1]
    assert line["drifts"] == [[2, 4, "+8.0 ± 1.2 points: clear"]]
    assert content["first"] == f"service=shop&at={ROUNDS[4].name}"


def test_shares_are_in_tenths_of_a_percent_by_slice_function_and_kind() -> None:
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    made = steady(ROUNDS)
    [line] = read(ServiceLines(made, ""))["services"]
    pairs = [line["shares"][at : at + 2] for at in range(0, len(line["shares"]), 2)]
    found = [64 * digits.index(a) + digits.index(b) for a, b in pairs]
    assert found == [round(1000 * part) for row in made.shares for share in row for part in share]


def test_a_round_that_is_known_from_slices_alone_is_there_in_its_place() -> None:
    services = [ServiceLines(steady(ROUNDS), "")]
    assert [one.name for one in all_rounds(ROUNDS[3:], services)] == [one.name for one in ROUNDS]


@pytest.mark.parametrize(
    ("change", "marks"),
    [
        ({}, 1),
        ({"verdict": "clear: since 2.2"}, 1),
        ({"verdict": "within noise"}, 0),
        ({"verdict": "clearly not"}, 0),
        ({"service": "other"}, 0),
        ({"kind": "wall"}, 0),
        ({"round": ""}, 1),
        ({"round": "gone"}, 0),
        ({"function": ("unknown", "x.py")}, 0),
    ],
)
def test_which_drifts_are_marked_in_a_line(change: dict[str, Any], marks: int) -> None:
    drift = DriftRow(**{**CLEAR.__dict__, **change})
    [line] = read(ServiceLines(risen(ROUNDS, 4), ""), drifts=(drift,))["services"]
    assert len(line["drifts"]) == marks


def test_the_most_important_drift_is_first() -> None:
    small = DriftRow("shop", SLOW, 0.11, 0.1, 0.01, None, "clear")
    noise = DriftRow("shop", SLOW, 0.5, 0.1, 0.4, 0.5, "within noise")
    text = page("t", [], [ServiceLines(risen(ROUNDS, 4), "")], ROUNDS, {}, [noise, small, CLEAR])
    assert re.findall(r'class="figure">([+-][\d. ±]+)</td></tr>', text)[:3] == ["+8.0 ± 1.2", "+1.0", "+40.0 ± 50.0"]


@pytest.mark.parametrize(
    ("link", "address"),
    [
        ("r/1/index.html", "./r/1/index.html"),
        ("../r/index.html", "./../r/index.html"),
        ("javascript:alert(1)", "./javascript%3Aalert%281%29"),
        ("//elsewhere/x", ".///elsewhere/x"),
        (None, ""),
        ("", ""),
    ],
)
def test_links_lead_nowhere_else(link: str | None, address: str) -> None:
    assert relative(link) == address


def lines_of(svg: str) -> list[str]:
    return re.findall(r'<path d="([^"]*)" stroke="#[^>]*fill="none"', svg)


def test_a_gap_is_a_gap_and_a_version_its_own_line() -> None:
    one = lines_of(_timeline_svg.picture(steady(ROUNDS, functions=1)))
    assert [path.count("M") for path in one] == [1]
    gone = lines_of(_timeline_svg.picture(gapped(made_rounds(20), 5, 9)))
    assert {path.count("M") for path in gone} == {2}
    released = lines_of(_timeline_svg.picture(risen(ROUNDS, 4)))
    assert [path.count("L") for path in released[:2]] == [3, 1]


def test_many_rounds_are_thinned_and_that_is_said() -> None:
    many = made_rounds(1000)
    svg = _timeline_svg.picture(steady(many))
    assert max(len(re.findall("[LM]", path)) for path in lines_of(svg)) == _timeline_svg.SLOTS
    assert _timeline_svg.thinned(steady(many)).startswith("a point of the picture is the median of the rounds in 166 ")
    assert _timeline_svg.thinned(steady(ROUNDS)) == ""
    assert "4 functions in the table alone" in _timeline_svg.thinned(steady(ROUNDS, functions=12))


@pytest.mark.parametrize(("most", "top"), [(0.0, 0.01), (0.01, 0.01), (0.3, 0.3), (0.31, 0.4), (0.99, 1.0), (1.0, 1.0)])
def test_scales_end_at_round_numbers(most: float, top: float) -> None:
    assert _timeline_svg.scale(most) == pytest.approx(top)


def test_flame_graphs_are_there_as_far_as_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [ServiceLines(steady(ROUNDS, name), "") for name in ("a", "b", "c")]
    trees = [(one.timeline.service, "cpu", made_calls(one.timeline)) for one in reversed(lines)]
    whole = documents([*trees, ("other", "cpu", trees[0][2])], lines, 0)
    assert [number for number, _tree in whole] == [2, 1, 0]
    [picture] = json.loads(whole[0][1])["pictures"]
    assert picture["workers"] == [[one.name, "2.1", "", ""] for one in ROUNDS]
    monkeypatch.setattr(_timeline_data, "_LARGEST", 2 * len(whole[0][1]) + 100)
    assert [tree == "null" for _number, tree in documents(trees, lines, 100)] == [False, False, True]


def test_a_page_without_rounds_and_a_service_without_slices() -> None:
    assert "nothing to draw" in page("t", [], [], [], {})
    assert "<h3>shop (cpu)</h3>" in page("t", [], [ServiceLines(timeline([], "shop"), "")], [], {})


def test_what_is_inline_is_named_by_the_policy_and_nothing_else() -> None:
    text = made_page()
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "script-src 'sha256-" in policy
    assert "unsafe" not in policy and "style=" not in text.replace(".style", "")
