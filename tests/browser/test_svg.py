# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of flame graphs as files of their own: with their script and without it, in real browsers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._formats._speedscope import parse, profile
from ansible_collections.pyspy.fleet.plugins.plugin_utils._profile import Frame, Profile, Stack
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._svg import Heading, render, with_script
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Measure
from ansible_collections.pyspy.fleet.tests.lab.browser import Browser, violations
from ansible_collections.pyspy.fleet.tests.lab.firefox import Firefox
from ansible_collections.pyspy.fleet.tests.lab.hostile_texts import PAYLOADS
from ansible_collections.pyspy.fleet.tests.lab.made_run import CAPTURES
from playwright.sync_api import Locator, Page, expect

CPU = Measure("cpu", 50, False, False)
#: Where each drawn frame is now: its name, left edge, width, opacity.
DRAWN = """
[...document.querySelectorAll(".graph > g > g")].filter(frame => frame.style.display !== "none").map(frame => {
  const box = frame.querySelector("rect").getBoundingClientRect();
  const name = frame.querySelector("title").textContent.split("\\n")[0];
  return [name, Math.round(box.left), Math.round(box.width), Number(frame.style.opacity)];
})
"""

FILLS = """
[...document.querySelectorAll(".graph > g > g")].map(
  frame => [frame.querySelector("title").textContent.split("\\n")[0], frame.querySelector("rect").getAttribute("fill")]
)
"""


def sampled(*rows: tuple[str, float]) -> Profile:
    """Stacks given as ``a;b;c`` and seconds; each function is in a file of its own."""
    stacks = [(tuple(Frame(name, f"/srv/{name}.py", 1) for name in text.split(";")), seconds) for text, seconds in rows]
    return Profile((CPU,), tuple(Stack(frames, seconds, 1) for frames, seconds in stacks))


SHOP = sampled(
    ("main;serve;cart;price", 3.0),
    ("main;serve;cart;Price.tax", 1.0),
    ("main;serve;ship;price;price", 2.0),
    ("main;idle", 1.5),
    ("other;price", 0.52),
)


PACKAGES = ["django", "sqlalchemy", "psycopg2", "gunicorn", "requests", "celery"]
MANY_PACKAGES = Profile(
    (CPU,),
    tuple(Stack((Frame("run", f"/venv/lib/python3.12/site-packages/{name}/x.py", 1),), 1.0, 1) for name in PACKAGES),
)
LONG_HEADING = Heading("Checkout is slow since the release of Friday (INC-4711)", ("CPU time (not idle), 50 Hz " * 4,))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return written(tmp_path, SHOP)


def written(folder: Path, what: Profile, heading: Heading | None = None) -> Path:
    file = folder / "graph.svg"
    heading = heading or Heading("web-03", ("CPU time (not idle) · 8 samples",))
    file.write_text(with_script(render(what, heading)), "utf-8")
    return file


def drawn(page: Page) -> dict[str, tuple[int, int, float]]:
    """Frames by name; of two of the same name the lower one."""
    return {name: (left, width, opacity) for name, left, width, opacity in page.evaluate(DRAWN)}


def frame(page: Page, name: str) -> Locator:
    return page.locator(".graph > g > g").filter(has=page.locator("title", has_text=re.compile(f"^{name}\n"))).first


def matched(page: Page) -> str:
    return page.locator("output").inner_text()


def search(page: Page, text: str) -> str:
    page.get_by_role("searchbox").fill(text)
    return matched(page)


def typed(page: Page) -> str:
    return str(page.get_by_role("searchbox").evaluate("field => field.value"))


def test_a_click_zooms_and_there_are_four_ways_back(chromium: Browser, shop: Path) -> None:
    page = chromium.open(shop)
    before = drawn(page)
    assert before["cart"] == (246, 628, 1) and before["all"] == (10, 1260, 1)
    for back in ("button", "Escape", "root", "history"):
        frame(page, "cart").click()
        now = drawn(page)
        assert set(now) == {"all", "main", "serve", "cart", "price", "Price.tax"}
        assert now["main"] == now["serve"] == (10, 1260, 0.6) and now["cart"] == (10, 1260, 1)
        assert now["price"][1:] == (945, 1) and now["Price.tax"][1:] == (315, 1)
        assert page.get_by_role("button", name="Reset zoom").is_visible()
        if back == "button":
            page.get_by_role("button", name="Reset zoom").click()
        elif back == "root":
            frame(page, "all").click()
        elif back == "Escape":
            page.keyboard.press("Escape")
        else:
            page.go_back()
        expect(page.get_by_role("button", name="Reset zoom")).to_be_hidden()
        assert drawn(page) == before, back


def test_a_label_that_had_no_room_is_written_when_it_has(chromium: Browser, tmp_path: Path) -> None:
    page = chromium.open(written(tmp_path, sampled(("main;a_rather_long_name", 1.0), ("main;other", 99.0))))
    assert frame(page, "a_rather_long_name").locator("text").count() == 0
    frame(page, "a_rather_long_name").click()
    assert frame(page, "a_rather_long_name").locator("text").text_content() == "a_rather_long_name"


@pytest.mark.parametrize(
    "expression",
    ["price", "^price$", "Price", "cart|ship", "srv/(cart|idle)", "^main$", "^nothing$", r"\.tax", "p.*e"],
)
def test_what_matches_adds_up(chromium: Browser, shop: Path, expression: str) -> None:
    assert search(chromium.open(shop), expression) == f"Matched: {expected(SHOP, expression)}"


@pytest.mark.parametrize("source", ["plain", "native", "wall"])
@pytest.mark.parametrize("expression", ["json", "^(fib|loads)$", "hot", r"\.py:"])
def test_what_matches_in_a_real_capture_adds_up(
    chromium: Browser, tmp_path: Path, source: str, expression: str
) -> None:
    real = profile(parse((CAPTURES / f"{source}.speedscope.json").read_bytes()), CPU)
    found = search(chromium.open(written(tmp_path, real)), expression)
    assert found == f"Matched: {expected(real, expression)}"


def expected(what: Profile, expression: str) -> str:
    """The share of the stacks in which any frame matches."""
    wanted = re.compile(expression, re.IGNORECASE)
    hits = sum(
        stack.seconds
        for stack in what.stacks
        if any(wanted.search(part.name) or wanted.search(f"{part.file}:{part.line}") for part in stack.frames)
    )
    return f"{100 * hits / what.seconds:.1f} %"


def test_what_matches_stands_out(chromium: Browser, shop: Path) -> None:
    page = chromium.open(shop)
    before = page.evaluate(FILLS)
    search(page, "price")
    magenta = [
        name
        for (name, fill), (_name, was) in zip(page.evaluate(FILLS), before, strict=True)
        if fill == "#ee82ee" != was
    ]
    assert sorted(magenta) == ["Price.tax", "price", "price", "price", "price"]
    search(page, "")
    assert page.evaluate(FILLS) == before


def test_a_search_within_a_frame_says_its_share_too(chromium: Browser, shop: Path) -> None:
    page = chromium.open(shop)
    frame(page, "cart").click()
    assert search(page, "tax") == "Matched: 25.0 % (12.5 % of all)"
    page.get_by_role("checkbox", name="Aa").check()
    assert search(page, "price.tax") == "Matched: 0.0 % (0.0 % of all)"
    page.get_by_role("checkbox", name="Aa").uncheck()
    assert matched(page) == "Matched: 25.0 % (12.5 % of all)"
    # Half of an expression is looked for as it stands.
    assert search(page, "price(") == "Matched: 0.0 % (0.0 % of all)"
    assert search(page, "") == ""


def test_what_is_not_drawn_is_not_passed_over_in_silence(chromium: Browser, tmp_path: Path) -> None:
    file = written(tmp_path, sampled(("main;wanted", 5.0), ("main;other", 5.0), ("main;wanted_too", 0.005)))
    page = chromium.open(file)
    assert search(page, "^wanted$") == "Matched: at least 50.0 %"
    assert search(page, "wanted_too") == "Matched: at least 0.0 %"
    assert search(page, "main") == "Matched: 100.0 %"


def test_everything_can_be_done_from_the_keyboard(chromium: Browser, shop: Path) -> None:
    page = chromium.open(shop)
    page.keyboard.press("/")
    page.keyboard.type("price/")
    assert typed(page) == "price/"
    page.keyboard.press("Backspace")
    assert matched(page) == "Matched: 81.3 %"
    page.keyboard.press("Escape")
    assert matched(page) == "" and typed(page) == ""
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert focused(page) == "all"
    for key, name in [
        ("ArrowDown", "main"),
        ("ArrowRight", "other"),
        ("ArrowRight", "other"),
        ("ArrowLeft", "main"),
        ("ArrowDown", "idle"),
        ("ArrowRight", "serve"),
        ("ArrowUp", "main"),
        ("ArrowDown", "idle"),
        ("Enter", "idle"),
    ]:
        page.keyboard.press(key)
        assert focused(page) == name, key
    assert drawn(page)["idle"][:2] == (10, 1260)
    page.keyboard.press("Escape")
    assert drawn(page)["idle"][1] < 1260
    page.keyboard.press("Control+f")
    assert page.evaluate("document.activeElement.type") == "search"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert focused(page) == "idle"


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.querySelector('title').textContent.split('\\n')[0]"))


def test_a_frame_tells_its_figures_when_pointed_at_or_focused(chromium: Browser, shop: Path) -> None:
    page = chromium.open(shop)
    wanted = "Price.tax · /srv/Price.tax.py:1 · total 12.5 % (1.00 s) · own 12.5 % (1.00 s)"
    frame(page, "Price.tax").hover()
    assert page.get_by_text(wanted).is_visible()
    page.mouse.move(5, 5)
    assert page.get_by_text(wanted).count() == 0
    frame(page, "Price.tax").focus()
    assert page.get_by_text(wanted).is_visible()


def test_the_address_reopens_the_view(chromium: Browser, shop: Path) -> None:
    page = chromium.open(shop)
    frame(page, "ship").click()
    search(page, "a&b=c #|Price")
    page.get_by_role("checkbox", name="Aa").check()
    view, figures = drawn(page), matched(page)
    again = chromium.open(shop, fragment=page.url.partition("#")[2])
    assert typed(again) == "a&b=c #|Price"
    assert (drawn(again), matched(again)) == (view, figures)
    # Of another state of the file, or made up.
    for fragment in ("zoom=99.1", "zoom=%00", "search=%FF%3Cb%3E", "=&&"):
        assert drawn(chromium.open(shop, fragment=fragment)) == drawn(chromium.open(shop))


@pytest.mark.parametrize("width", [1600, 1280, 390])
def test_it_fills_the_window_and_nothing_sticks_out(chromium: Browser, width: int, tmp_path: Path) -> None:
    page = chromium.open(written(tmp_path, MANY_PACKAGES, LONG_HEADING), width=width)
    page.screenshot(path=tmp_path / "graph.png")
    assert drawn(page)["all"][:2] == (10, width - 20)
    edges = "[...document.querySelectorAll('text, rect, input')].map(part => part.getBoundingClientRect().right)"
    assert max(page.evaluate(edges)) <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    head, tools = page.locator(".head").bounding_box(), page.locator("foreignObject").bounding_box()
    assert head and tools and head["y"] + head["height"] <= tools["y"]
    page.set_viewport_size({"width": 500, "height": 800})
    page.wait_for_function("document.querySelector('.graph rect').getBoundingClientRect().width === 480")


def test_it_is_accessible(chromium: Browser, shop: Path) -> None:
    page = chromium.open(shop)
    search(page, "price")
    assert violations(page) == []


def test_without_scripts_text_and_titles_are_there(chromium: Browser, shop: Path, tmp_path: Path) -> None:
    page = chromium.open(shop, script=False)
    assert page.locator("text", has_text="web-03").is_visible()
    assert page.locator("text", has_text="CPU time (not idle) · 8 samples").is_visible()
    assert page.locator("title", has_text="Price.tax\n/srv/Price.tax.py:1\ntotal 12.5 %").count() == 1
    assert page.locator("text", has_text="cart").is_visible()
    assert page.locator("input, button").count() == 0
    assert chromium.colours(page.screenshot(path=tmp_path / "static.png")) > 20


def test_a_graph_of_nothing_opens(chromium: Browser, tmp_path: Path) -> None:
    page = chromium.open(written(tmp_path, Profile((CPU,), ())))
    assert page.locator("text", has_text="Nothing was sampled.").is_visible()
    assert page.locator("input").count() == 0


def test_hostile_texts_are_text(chromium: Browser, one_firefox: Firefox, tmp_path: Path) -> None:
    stacks = [
        Stack((Frame(text, f"/srv/{text}", number), Frame(f"inner {text}", text, 1)), 1.0, 1, text)
        for number, text in enumerate(PAYLOADS)
    ]
    file = written(tmp_path, Profile((CPU,), tuple(stacks)), Heading(PAYLOADS[1], tuple(PAYLOADS)))
    page = chromium.open(file)
    names = [name for name, *_place in page.evaluate(DRAWN)]
    assert len(names) == 2 * len(PAYLOADS) + 1 and PAYLOADS[0] in names and "inner {{ 7 * 191 }}" in " ".join(names)
    for text in ("<script>", "]]>", "onerror", "\\{\\{", "</script>"):
        assert search(page, text) != "Matched: 0.0 %"
    for number in range(1, len(names)):
        page.locator(".graph > g > g").nth(number).dispatch_event("click")
        page.locator(".graph > g > g").nth(number).dispatch_event("mouseover", {"bubbles": True})
        page.keyboard.press("Escape")
    known = {"svg", "title", "rect", "g", "text", "tspan", "script", "foreignObject"}
    known |= {"div", "input", "label", "button", "span", "output", "bdi"}
    assert set(page.evaluate("[...document.querySelectorAll('*')].map(part => part.localName)")) <= known
    assert page.locator("script").count() == 1
    assert page.evaluate("'ran' in window") is False
    one_firefox.open(file, fragment="search=script")
    assert one_firefox.evaluate("'ran' in window") is False
    assert one_firefox.errors(file) == []


def test_firefox_draws_and_reopens_the_same(
    one_chromium: Browser, one_firefox: Firefox, shop: Path, tmp_path: Path
) -> None:
    one_firefox.open(shop)
    plain = one_firefox.screenshot(tmp_path / "graph.png")
    one_firefox.open(shop, fragment="search=price")
    assert one_firefox.evaluate("document.querySelector('output').textContent") == "Matched: 81.3 %"
    assert one_firefox.screenshot(tmp_path / "searched.png") != plain
    assert one_chromium.colours(plain) > 20
    assert one_firefox.errors(shop) == []
