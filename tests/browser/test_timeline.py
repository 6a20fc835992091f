# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the time line page in real browsers, as a reader uses it."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render import _timeline_data
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._timeline import page as timeline_page
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._timeline_data import DriftRow, ServiceLines
from ansible_collections.pyspy.fleet.tests.lab.browser import Browser, violations
from ansible_collections.pyspy.fleet.tests.lab.firefox import Firefox
from ansible_collections.pyspy.fleet.tests.lab.hostile_texts import PAYLOADS
from ansible_collections.pyspy.fleet.tests.lab.made_rounds import (
    MEASURE,
    RISE,
    SLOW,
    canary,
    hostile_page,
    made_page,
    made_rounds,
)
from playwright.sync_api import Page, expect

MANY = 192
NAMES = [one.name for one in made_rounds(MANY)]
#: In :func:`made_page` the version changes at two thirds.
RELEASE = 2 * MANY // 3


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("timeline") / "timeline.html"
    made.write_text(made_page(MANY))
    return made


@pytest.fixture
def page(chromium: Browser, file: Path) -> Page:
    return chromium.open(file)


def view(page: Page) -> dict[str, str]:
    """What the address says of the view."""
    address = str(page.evaluate("location.hash")).removeprefix("#")
    return {name: values[0] for name, values in parse_qs(address).items()}


def said(page: Page) -> str:
    """The name of the chosen round."""
    return page.locator("#said").inner_text().partition(":")[0]


def rows(page: Page) -> list[list[str]]:
    return [row.locator("td").all_inner_texts() for row in page.locator("#functions tbody tr").all()]


def click(page: Page, number: int, second: bool = False) -> None:
    """Where the picture has a round, in the row of the first function."""
    box = page.locator("#lines svg").first.bounding_box()
    assert box is not None
    # Not quite the edges: they are not in the picture any more.
    x = box["x"] + 1 + (box["width"] - 2) * number / (MANY - 1)
    if second:
        page.keyboard.down("Shift")
    page.mouse.click(x, box["y"] + box["height"] / 2)
    page.keyboard.up("Shift")


def test_what_has_drifted_is_shown_first(page: Page) -> None:
    first = page.locator("#drifts tbody tr").first
    assert first.inner_text().split("\t")[:3] == ["clear", "shop", "price"]
    assert said(page) == NAMES[RELEASE]
    row = page.locator("#lines .row", has_text="shop/price.py")
    assert "+8.0 ± 1.2 points: clear" in row.inner_text()
    assert row.locator(".drift").count() == 1
    assert page.locator("#lines .drift").count() == 1
    assert page.locator("#versions").inner_text().strip() == "2.2"
    page.locator("#drifts a", has_text="search").click()
    expect(page.locator("#service option:checked")).to_have_text(re.compile("^search"))
    expect(page.locator("#lines .drift")).to_have_count(0)


def test_a_click_opens_a_round_and_another_with_shift_compares(page: Page) -> None:
    click(page, 10)
    assert said(page) == NAMES[10]
    owns = [float(row[0].split(" ")[0]) for row in rows(page)]
    assert len(owns) == 8 and owns == sorted(owns, reverse=True)
    assert page.locator("#ways code").all_inner_texts() == [
        f"ansible-playbook pyspy.fleet.history -e pyspy_history_rounds={NAMES[10]}"
    ]
    before = {row[2]: row[0] for row in rows(page)}
    click(page, MANY - 1, second=True)
    # The older one is always the first side, whichever was clicked first.
    assert page.locator("#ways code").first.inner_text() == (
        f"ansible-playbook pyspy.fleet.diff -e pyspy_diff_a=round={NAMES[10]} -e pyspy_diff_b=round={NAMES[-1]}"
    )
    top = rows(page)[0]
    assert top[1] == "price" and top[2].startswith(before["price"].removesuffix(" %") + " → ")
    left, right = (float(part) for part in top[2].removesuffix(" %").split(" → "))
    assert float(top[0]) == pytest.approx(right - left, abs=0.01) and float(top[0]) > 6
    changes = [abs(float(row[0])) for row in rows(page)]
    assert changes == sorted(changes, reverse=True)
    page.go_back()
    expect(page.locator("#other")).to_be_hidden()
    assert said(page) == NAMES[10]


def test_the_keyboard_goes_along_rounds_and_compares_two(page: Page) -> None:
    page.locator("#round").focus()
    page.keyboard.press("Home")
    assert said(page) == NAMES[0]
    page.keyboard.press("ArrowRight")
    assert said(page) == NAMES[1]
    assert str(page.locator("#round").get_attribute("aria-valuetext")).startswith(NAMES[1])
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("#other").inner_text() == "Now choose the round to compare it with."
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("End")
    assert page.locator("#heading").inner_text() == f"Functions: from {NAMES[1]} to {NAMES[-1]}"
    page.get_by_role("button", name="Stop comparing").click()
    assert page.locator("#heading").inner_text() == f"Functions in {NAMES[-1]}"


def test_a_version_is_compared_with_what_was_before_it(page: Page) -> None:
    page.get_by_role("button", name="Compare with 2.1 before").click()
    assert page.locator("#heading").inner_text() == f"Functions: from {NAMES[RELEASE - 1]} to {NAMES[RELEASE]}"
    assert rows(page)[0][1] == "price"


def test_while_a_version_is_rolled_out_a_round_has_two(chromium: Browser, tmp_path: Path) -> None:
    rounds = made_rounds(10)
    made = tmp_path / "canary.html"
    drift = DriftRow("shop", SLOW, 0.18, 0.1, RISE, 0.012, "clear", rounds[8].name)
    made.write_text(timeline_page("Canary", [], [ServiceLines(canary(rounds, 6), MEASURE)], rounds, {}, [drift]))
    page = chromium.open(made)
    paths = page.locator("#lines .row:first-child .line").all()
    assert [str(path.get_attribute("d")).count("M") for path in paths] == [1, 1]
    assert page.locator("#round").get_attribute("max") == "13"
    assert said(page) == rounds[8].name and "version 2.2" in page.locator("#said").inner_text()
    page.locator("#hold").click()
    page.locator("#round").focus()
    page.keyboard.press("ArrowLeft")
    assert "version 2.1" in page.locator("#said").inner_text()
    # Both are of one round: the change is from the old to the new, and there are no two rounds to compare.
    assert rows(page)[0][1] == "price" and float(rows(page)[0][0]) > 6
    assert [text.split(" ")[1] for text in page.locator("#ways code").all_inner_texts()] == ["pyspy.fleet.history"]


def test_a_gap_is_no_line(page: Page) -> None:
    def lines() -> list[int]:
        paths = page.locator("#lines .row:first-child .line").all()
        return [str(path.get_attribute("d")).count("M") for path in paths]

    assert lines() == [1, 1]
    page.locator("#service").select_option(label="mail (CPU time (not idle), 50 Hz, nonblocking)")
    assert lines() == [2]


def test_a_day_and_the_ones_before(page: Page) -> None:
    assert page.locator("#what").inner_text().startswith("192 rounds in the picture, 2 versions")
    assert page.locator("#earlier").is_disabled()
    page.locator("#round").focus()
    page.keyboard.press("End")
    page.locator("#range").select_option("day")
    assert page.locator("#what").inner_text().startswith("97 rounds in the picture")
    assert page.locator("#axis span").first.inner_text() == "2026-11-22 23:45"
    page.locator("#earlier").click()
    assert page.locator("#axis span").last.inner_text() == "2026-11-22 23:45"
    assert said(page) == NAMES[95] and page.locator("#earlier").is_disabled()
    page.locator("#later").click()
    assert said(page) == NAMES[-1]


def test_pointing_tells_the_round_s_values(page: Page) -> None:
    picture = page.locator("#lines svg").nth(2)
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    tip = page.locator("#tip").inner_text()
    assert tip.startswith("price shop/price.py: ") and "UTC, version 2.1, 96 workers on 12 hosts" in tip
    page.mouse.move(5, 5)
    assert page.locator("#tip").is_hidden()


def test_reports_are_linked_where_they_are(page: Page) -> None:
    page.locator("#round").focus()
    page.keyboard.press("End")
    assert page.locator("#ways a").get_attribute("href") == f"./rounds/{NAMES[-1]}/index.html"
    page.locator("#rounds-heading + details summary").click()
    assert page.locator("#rounds-heading + details a").count() == 3


def test_a_round_has_its_flame_graph_and_two_a_difference(page: Page) -> None:
    page.get_by_role("button", name="Compare with 2.1 before").click()
    page.locator("#flame canvas").focus()
    for _step in range(3):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    words = []
    for _step in range(8):
        words.append(page.locator("#frame").inner_text())
        page.keyboard.press("ArrowLeft")
    [price] = {text for text in words if text.startswith("price")}
    assert float(price.split("(")[1].split(" ")[0]) > 6 and "→" in price
    page.locator("#widths").select_option("old")
    assert view(page)["widths"] == "old"
    page.get_by_role("button", name="Stop comparing").click()
    assert page.locator("#widths").is_hidden()
    assert page.locator("#frame").inner_text().startswith("all · total 100.0 %")
    page.locator("#flame canvas").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.locator("#frame").inner_text().startswith("main") and view(page)["zoom"].startswith("1.")
    page.get_by_role("button", name="Zoom out").click()
    assert "zoom" not in view(page)
    # Another service has none.
    page.locator("#service").select_option(index=1)
    assert page.locator("#graph").is_hidden() and page.locator("#no-graph").is_hidden()


def test_flame_graphs_that_would_be_too_large_are_left_out_and_that_is_said(
    chromium: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_timeline_data, "_LARGEST", 1000)
    made = tmp_path / "large.html"
    made.write_text(made_page(12))
    page = chromium.open(made)
    assert "the page would be too large" in page.locator("#no-graph").inner_text()
    assert page.locator("#graph").is_hidden()


def test_an_address_reopens_the_view(chromium: Browser, file: Path, page: Page) -> None:
    page.locator("#service").select_option(index=3)
    click(page, MANY // 2)
    click(page, 20, second=True)
    again = chromium.open(file, fragment=str(page.evaluate("location.hash")).removeprefix("#"))
    for part in ("#heading", "#said", "#other", "#what", "#functions", "#ways"):
        assert again.locator(part).inner_text() == page.locator(part).inner_text()
    assert view(page) == {"service": "jobs", "kind": "cpu", "at": f"{NAMES[MANY // 2]} 0", "with": f"{NAMES[20]} 0"}
    # The odd round: half of all was in one function.
    assert rows(again)[0][1] == "price"


@pytest.mark.parametrize(
    "fragment",
    [
        "service=nobody",
        "at=x",
        "with=x",
        "range=year",
        "range=day&until=x",
        "range=day&until=1",
        "zoom=99999",
        "zoom=x&widths=y",
        "=&&%",
        "until=-1e99",
    ],
)
def test_an_address_of_another_page_does_no_harm(chromium: Browser, file: Path, fragment: str) -> None:
    page = chromium.open(file, fragment=fragment)
    expect(page.locator("#functions tbody tr")).to_have_count(8)


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_it_fits_and_stands_in_nobody_s_way(
    chromium: Browser, file: Path, width: int, dark: bool, tmp_path: Path
) -> None:
    page = chromium.open(file, width=width, dark=dark, fragment=f"service=shop&at={NAMES[-1]}&with={NAMES[0]}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert chromium.colours(page.screenshot(path=tmp_path / "line.png")) > 20
    assert violations(page) == []


def test_without_scripts_there_are_pictures_and_tables(chromium: Browser, file: Path) -> None:
    page = chromium.open(file, script=False)
    assert not page.locator("#view").is_visible()
    assert page.locator("noscript svg").count() == 4
    assert page.locator("noscript table").first.locator("tbody tr").count() == 8
    assert page.locator("noscript svg text", has_text="2.2").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_on_paper_there_are_no_controls(page: Page) -> None:
    page.emulate_media(media="print")
    assert not page.locator("#service").is_visible()
    assert page.locator("#lines svg").first.is_visible() and page.locator("#functions").is_visible()


def test_firefox_draws_it(one_chromium: Browser, one_firefox: Firefox, file: Path, tmp_path: Path) -> None:
    one_firefox.open(file)
    assert one_firefox.evaluate("document.querySelectorAll('#lines svg').length") == 9
    assert str(one_firefox.evaluate("document.getElementById('said').textContent")).startswith(NAMES[RELEASE])
    assert one_chromium.colours(one_firefox.screenshot(tmp_path / "page.png")) > 20
    assert one_firefox.errors(file) == []


@pytest.mark.parametrize("text", PAYLOADS, ids=range(len(PAYLOADS)))
def test_hostile_names_are_text(chromium: Browser, tmp_path: Path, text: str) -> None:
    file = tmp_path / "timeline.html"
    file.write_text(hostile_page(text), encoding="utf-8", errors="replace")
    page = chromium.open(file)
    click(page, 0)
    click(page, MANY - 1, second=True)
    assert page.locator("#functions tbody tr").count() == 2
    assert page.evaluate("'ran' in window") is False
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert page.locator("#ways code").count() == 0
    plain = chromium.open(file, script=False)
    assert plain.locator("noscript svg").count() == 1


def test_it_works_where_the_address_cannot_be_changed(chromium: Browser, file: Path, tmp_path: Path) -> None:
    """As a ticket shows an attachment: a document without an address, which may run scripts and nothing else."""
    outer = tmp_path / "ticket.html"
    inner = f'<iframe sandbox="allow-scripts" width=1200 height=3000 srcdoc="{escape(file.read_text())}"></iframe>'
    outer.write_text(f"<!DOCTYPE html><title>INC-4711</title>{inner}", encoding="utf-8")
    page = chromium.open(outer).frame_locator("iframe")
    page.locator("#round").press("Home")
    expect(page.locator("#said")).to_contain_text(NAMES[0])
    page.locator("#service").select_option(index=1)
    expect(page.locator("#service")).to_have_value("1")
