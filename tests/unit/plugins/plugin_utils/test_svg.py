# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of flame graphs: layout, colours, the SVG itself."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._profile import Frame, Profile, Stack
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._colours import (
    _PACKAGES,
    _SPECIAL,
    package_of,
    palette,
    shaded,
)
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._flame import layout, tree
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._svg import Heading, render, with_script
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._text import columns, cut, wrap
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Measure
from hypothesis import given, settings
from hypothesis import strategies as st

CPU = Measure("cpu", 100, False, False)
SVG = "{http://www.w3.org/2000/svg}"


def profile(*stacks: tuple[str, float]) -> Profile:
    """Stacks given as ``a;b;c`` and seconds."""
    rows = [(tuple(Frame(name, f"/srv/{name}.py", 1) for name in text.split(";")), seconds) for text, seconds in stacks]
    return Profile((CPU,), tuple(Stack(frames, seconds, 1) for frames, seconds in rows))


def test_layout_places_children_under_their_parents() -> None:
    plan = layout(tree(profile(("a;b", 3.0), ("a;c", 1.0), ("d", 4.0))))
    boxes = {box.node.name: (box.depth, box.x, box.width) for box in plan.boxes}
    assert boxes == {
        "all": (0, 0.0, 1.0),
        "a": (1, 0.0, 0.5),
        "d": (1, 0.5, 0.5),
        "b": (2, 0.0, 0.375),
        "c": (2, 0.375, 0.125),
    }
    assert (plan.levels, plan.hidden) == (3, 0)


def test_lines_of_one_function_share_a_box_and_the_hottest_is_kept() -> None:
    frames = [(Frame("f", "a.py", line),) for line in (1, 2, 2)]
    root = tree(Profile((CPU,), tuple(Stack(stack, 1.0, 1) for stack in frames)))
    assert len(root.children) == 1
    node = next(iter(root.children.values()))
    assert (node.own, node.total, node.line) == (3.0, 3.0, 2)


def test_narrow_frames_are_left_out_and_counted() -> None:
    plan = layout(tree(profile(("a", 10_000.0), ("b;c;d", 1.0))))
    assert plan.hidden == 3
    assert {box.node.name for box in plan.boxes} == {"all", "a"}
    assert "3 frames are not drawn: narrower than 0.1 %" in render(
        profile(("a", 10_000.0), ("b;c;d", 1.0)), Heading("x")
    )


def test_stacks_of_any_depth_are_drawn_within_bounds() -> None:
    deep = Profile((CPU,), (Stack(tuple(Frame("f", "a.py", line) for line in range(5000)), 1.0, 1),))
    plan = layout(tree(deep))
    assert (plan.levels, plan.hidden) == (400, 5001 - 400)
    assert "deeper than 400 levels" in render(deep, Heading("x"))


STACKS = st.lists(st.tuples(st.lists(st.sampled_from("abc"), min_size=1, max_size=5), st.integers(1, 100)), min_size=1)


@given(STACKS)
def test_boxes_stay_in_their_parents_and_neighbours_differ(rows: list[tuple[list[str], int]]) -> None:
    plan = layout(tree(profile(*((";".join(names), float(seconds)) for names, seconds in rows))))
    by_level: dict[int, list[tuple[float, float, int]]] = {}
    for box in plan.boxes:
        by_level.setdefault(box.depth, []).append((box.x, box.x + box.width, box.shade))
    for depth, level in by_level.items():
        for (_x, right, shade), (left, _right, next_shade) in zip(level, level[1:], strict=False):
            assert right <= left + 1e-9
            same_parent = any(x <= _x + 1e-9 and left < end - 1e-9 for x, end, _shade in by_level.get(depth - 1, []))
            assert not same_parent or shade != next_shade or right < left - 1e-9
        for x, right, shade in level if depth else []:
            parents = [p for p in by_level[depth - 1] if p[0] <= x + 1e-9 and right <= p[1] + 1e-9]
            assert parents and all(parent[2] != shade for parent in parents)


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("", ""),
        ("/srv/shop/views.py", "shop"),
        ("views.py", "views.py"),
        ("/srv/venv/lib/python3.12/site-packages/django/db/models.py", "django"),
        ("/usr/lib/python3/dist-packages/six.py", "six"),
        ("/usr/lib/python3.11/json/decoder.py", "standard library"),
        ("/usr/lib64/python3.13t/json/decoder.py", "standard library"),
        ("<frozen importlib._bootstrap>", "standard library"),
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", "native"),
        ("/usr/src/Python-3.11.7/Modules/_json.c", "native"),
        ("/usr/bin/python3.11", "native"),
        ("/srv/venv/bin/gunicorn", "gunicorn"),
        ("<string>", "<string>"),
    ],
)
def test_whose_code_a_file_is(file: str, package: str) -> None:
    assert package_of(file) == package


def test_black_text_is_readable_on_every_colour() -> None:
    for tint in (*_PACKAGES, *_SPECIAL.values()):
        red, green, blue = (int(tint[start : start + 2], 16) / 255 for start in (1, 3, 5))
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (red, green, blue)]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert (luminance + 0.05) / 0.05 >= 7, tint
    assert len({shaded(_PACKAGES[0], shade) for shade in range(3)}) == 3


def test_the_heaviest_packages_have_tints_of_their_own() -> None:
    packages = ["django", "standard library", "sqlalchemy", "psycopg2", "native", "gunicorn", "shop", "pricing"]
    tints = palette(packages)
    assert len(set(tints.values())) == 8
    assert palette(packages[:1])["django"] == tints["django"]
    assert set(palette([*packages, "more"])) == {*packages, "more"}


def test_every_frame_has_a_title_with_its_figures() -> None:
    root = ElementTree.fromstring(render(profile(("a;b", 3.0), ("a", 1.0)), Heading("web-03", ("CPU time",))))
    titles = [title.text for title in root.iter(f"{SVG}title")]
    assert titles[0] == "web-03"
    assert "a\n/srv/a.py:1\ntotal 100.0 % (4.00 s)\nown   25.0 % (1.00 s)" in titles
    assert "b\n/srv/b.py:1\ntotal 75.0 % (3.00 s)\nown   75.0 % (3.00 s)" in titles
    assert len([text for text in root.iter(f"{SVG}text") if text.text == "CPU time"]) == 1


def test_the_script_is_small_and_all_that_is_added() -> None:
    plain = render(profile(("a;b", 3.0), ("a;c", 1.0)), Heading("x"))
    scripted = with_script(plain)
    assert len(scripted) - len(plain) < 10 * 1024
    scripts = ElementTree.fromstring(scripted).findall(f"{SVG}script")
    assert len(scripts) == 1 and scripted.startswith(plain.removesuffix("</svg>"))
    code = scripts[0].text or ""
    assert code.rstrip().endswith("})();") and "innerHTML" not in code and "eval" not in code


def test_the_same_profile_gives_the_same_bytes() -> None:
    one, two = profile(("a;b", 3.0), ("a;c", 1.0)), profile(("a;c", 1.0), ("a;b", 3.0))
    assert render(one, Heading("x", ("y",))) == render(two, Heading("x", ("y",)))


def test_an_empty_profile_says_so() -> None:
    assert "Nothing was sampled." in render(Profile((CPU,), ()), Heading("x"))


HOSTILE = "</title></svg><script>alert(1)</script>\"'&;\x00\x1b[31m\n\ud800"


def test_hostile_names_stay_text() -> None:
    stacks = (Stack((Frame(HOSTILE, HOSTILE, 1),), 1.0, 1),)
    text = render(Profile((CPU,), stacks), Heading(HOSTILE, (HOSTILE,)))
    tags = {"svg", "title", "rect", "text", "g"}
    assert {element.tag.removeprefix(SVG) for element in ElementTree.fromstring(text.encode()).iter()} == tags
    scripted = ElementTree.fromstring(with_script(text).encode())
    assert {element.tag.removeprefix(SVG) for element in scripted.iter()} == {*tags, "script"}


@settings(max_examples=50)
@given(st.text(min_size=1, max_size=40), st.text(max_size=40), st.text(max_size=300))
def test_any_text_gives_well_formed_xml(name: str, file: str, heading: str) -> None:
    stacks = (Stack((Frame(name, file, 1),), 1.0, 1),)
    ElementTree.fromstring(render(Profile((CPU,), stacks), Heading(heading, (heading,))).encode())


@given(st.text(), st.integers(0, 40))
def test_cut_text_fits(text: str, room: int) -> None:
    assert columns(cut(text, room)) <= room


@given(st.text(), st.integers(5, 40))
def test_wrapped_text_fits_and_loses_no_short_word(text: str, room: int) -> None:
    lines = wrap(text, room)
    assert all(columns(line) <= room for line in lines)
    if all(columns(word) <= room for word in text.split()):
        assert " ".join(lines).split() == text.split()
