# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the flame graph of two profiles."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._profile import Frame, Profile, Stack
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._diff import Names, render_diff
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._svg import Heading
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Measure
from ansible_collections.pyspy.fleet.tests.lab.hostile_texts import PAYLOADS

SVG = "{http://www.w3.org/2000/svg}"


def profile(**stacks: float) -> Profile:
    """Stacks given as ``a_b_c`` and seconds."""
    rows = [
        (tuple(Frame(name, f"{name}.py", 1) for name in text.split("_")), seconds) for text, seconds in stacks.items()
    ]
    return Profile((Measure("cpu", 100, False, False),), tuple(Stack(frames, seconds, 1) for frames, seconds in rows))


def frames(before: Profile, after: Profile, of_before: bool = False) -> dict[str, tuple[list[str], float, str]]:
    """By the place in the file: the lines of the title, the share of the width, the colour."""
    verdicts = {("b", "b.py"): "b everywhere"}
    text = render_diff(before, after, Names("old", "new"), Heading("t"), verdicts, of_before)
    found = {}
    for group in ElementTree.fromstring(text).iter(f"{SVG}g"):
        title, box = group.find(f"{SVG}title"), group.find(f"{SVG}rect")
        if title is not None and box is not None:
            lines = (title.text or "").split("\n")
            name = lines[1].partition(".py")[0] if ".py" in lines[1] else "all"
            found[name] = lines, float(box.get("width", "0")) / 1180, box.get("fill", "")
    return found


#: The second is of twice the length: what counts is shares.
BEFORE, AFTER = profile(a_b=6.0, a_c=2.0, d=2.0), profile(a_b=8.0, a_c=8.0, e=4.0)


def test_widths_of_the_second_side() -> None:
    found = frames(BEFORE, AFTER)
    assert {name: round(width, 2) for name, (_lines, width, _fill) in found.items()} == {
        "all": 1.0,
        "a": 0.8,
        "b": 0.4,
        "c": 0.4,
        "e": 0.2,
    }
    assert found["a"][0] == ["a", "a.py:1", "total 80.0 → 80.0 % (+0.0 points)", "own   0.0 → 0.0 % (+0.0 points)"]
    assert found["b"][0][0] == "-20.0 b" and found["b"][0][-1] == "b everywhere"
    assert found["c"][0][2:] == ["total 20.0 → 40.0 % (+20.0 points)", "own   20.0 → 40.0 % (+20.0 points)"]
    assert found["e"][0][0] == "+20.0 e" and found["e"][0][-1] == "in new alone"


def test_widths_of_the_first_side_show_what_has_gone() -> None:
    found = frames(BEFORE, AFTER, of_before=True)
    assert (found["d"][0][0], found["d"][0][-1]) == ("-20.0 d", "in old alone") and "e" not in found
    assert found["b"][0][0] == "-20.0 b" and round(found["b"][1], 2) == 0.6
    assert found["b"][0][3] == "own   60.0 → 40.0 % (-20.0 points)"


def test_colours_say_less_the_same_and_more() -> None:
    found = frames(BEFORE, AFTER)
    assert (found["a"][2], found["b"][2], found["c"][2]) == ("#eeeeee", "#6cb2eb", "#f5931f")
    # Where all changes are small, the colours are faint.
    small = frames(profile(a=100.0, b=100.0), profile(a=101.0, b=99.0))
    assert small["a"][2] not in ("#eeeeee", "#f5931f") and small["a"][0][0] == "+0.5 a"


@pytest.mark.parametrize("of_before", [False, True])
def test_nothing_beside_something(of_before: bool) -> None:
    nothing = Profile((Measure("cpu", 100, False, False),), ())
    assert ("all" in frames(nothing, AFTER, of_before)) is not of_before
    assert ("all" in frames(BEFORE, nothing, of_before)) is of_before


@pytest.mark.parametrize("text", PAYLOADS)
def test_hostile_names_stay_text(text: str) -> None:
    stack = Stack((Frame(text, text, 1),), 1.0, 1)
    side = Profile((Measure("cpu", 100, False, False),), (stack,))
    svg = render_diff(side, side, Names(text, text), Heading(text, (text,)), {(text, text): text})
    assert {element.tag for element in ElementTree.fromstring(svg).iter()} <= {
        f"{SVG}{tag}" for tag in ("svg", "title", "rect", "g", "text")
    }
