# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the address of index.html: what it reopens, also in a page written anew, and where it cannot be changed."""

from __future__ import annotations

from html import escape
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._formats._speedscope import Document, ThreadSamples, write
from ansible_collections.pyspy.fleet.plugins.plugin_utils._profile import Frame
from ansible_collections.pyspy.fleet.plugins.plugin_utils._report import Context, build
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run
from ansible_collections.pyspy.fleet.tests.lab.browser import Browser
from ansible_collections.pyspy.fleet.tests.lab.firefox import Firefox
from ansible_collections.pyspy.fleet.tests.lab.made_run import add_host, made_service
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition
from playwright.sync_api import FrameLocator, Page, expect

LOST = "The frame that this address zooms into is not in this graph"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made_service(tmp_path_factory.mktemp("service"))


def index(run: Run) -> Path:
    return Path(run.path, "index.html")


def zoomed(page: Page, keys: str) -> dict[str, str]:
    """What the address says when the keyboard has gone these ways from the root, and zoomed there."""
    page.locator("#flame canvas").focus()
    for key in ("ArrowDown", *keys.split(), "Enter"):
        page.keyboard.press(key)
    return view(page)


def view(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(address(page)).items()}


def address(page: Page) -> str:
    return str(page.evaluate("location.hash")).removeprefix("#")


def stacks(*paths: str) -> bytes:
    frames = {name: Frame(name, f"/srv/shop/{name}.py", 1) for path in paths for name in path.split()}
    numbers = {name: number for number, name in enumerate(frames)}
    taken = tuple(tuple(numbers[name] for name in path.split()) for path in paths for _sample in range(100))
    return write(Document(tuple(frames.values()), (ThreadSamples('Thread 1 "T"', taken, (0.02,) * len(taken)),)))


def test_a_frame_is_found_again_when_the_page_is_written_anew(chromium: Browser, tmp_path: Path) -> None:
    run = made_service(tmp_path)
    page = chromium.open(index(run))
    before = zoomed(page, "ArrowDown ArrowDown")
    expect(page.locator("#frame")).to_contain_text("render · ")
    add_host(run, "web-06", ["api"], stacks("aaa bbb ccc", "main zzz", "aaa ddd"))
    build(run, Context())
    again = chromium.open(index(run), fragment=address(page))
    expect(again.locator("#frame")).to_contain_text("render · ")
    assert again.locator("#lost").is_hidden()
    again.locator("#search").fill("x")
    # Another number: whoever went by it alone saw another frame.
    after = view(again)
    assert before["zoom"].partition(".")[0] != zoomed(again, "")["zoom"].partition(".")[0]
    assert after["zoom"] == before["zoom"]


@pytest.mark.parametrize("zoom", ["3.zzzzzz", "3", "1.", "99999.1", "x.y", "-1.0", "0.0"])
def test_a_frame_that_is_not_there_is_said_to_be_missing(chromium: Browser, service: Run, zoom: str) -> None:
    page = chromium.open(index(service), fragment=f"zoom={zoom}")
    expect(page.locator("#lost")).to_contain_text(LOST)
    assert page.locator("#frame").inner_text().startswith("all · total 100.0 %")
    page.locator("#search").fill("render")
    expect(page.locator("#lost")).to_be_hidden()
    assert "zoom" not in view(page)


def test_a_frame_that_was_not_seen_on_a_host_is_missing_there(chromium: Browser, service: Run) -> None:
    page = chromium.open(index(service), fragment="host=web-03")
    zoom = zoomed(page, "ArrowDown ArrowDown")["zoom"]
    expect(page.locator("#frame")).to_contain_text("slow · ")
    assert page.locator("#lost").is_hidden()
    expect(chromium.open(index(service), fragment=f"host=web-01&zoom={zoom}").locator("#lost")).to_be_visible()


def test_back_while_searching_empties_the_field(chromium: Browser, service: Run) -> None:
    page = chromium.open(index(service))
    page.locator("#functions button.plain", has_text="slow").click()
    page.locator("#search").focus()
    page.go_back()
    expect(page.locator("#matched")).to_have_text("")
    expect(page.locator("#search")).to_have_value("")
    page.keyboard.type("rendxr")
    for key in ("ArrowLeft", "Backspace", "e"):
        page.keyboard.press(key)
    # Whoever types keeps the place.
    assert page.locator("#search").input_value() == "render"


def test_escape_empties_the_field_in_firefox(one_firefox: Firefox, service: Run) -> None:
    one_firefox.open(index(service), fragment="search=slow")
    one_firefox.evaluate("document.getElementById('search').focus()")
    key = "new KeyboardEvent('keydown', { key: 'Escape', bubbles: true })"
    one_firefox.evaluate(f"document.getElementById('search').dispatchEvent({key})")
    await_condition(
        "an empty field",
        lambda: one_firefox.evaluate("document.getElementById('search').value + location.hash") in ("#sort=own", "#"),
    )
    assert one_firefox.evaluate("document.getElementById('matched').textContent") == ""


def test_the_line_below_the_graph_is_of_what_is_shown(chromium: Browser, service: Run) -> None:
    page = chromium.open(index(service))
    line = page.locator("#frame")
    assert line.inner_text() == "all · total 100.0 % (200.0 s) · own 0.0 % (0.00 s)"
    page.locator("#host").select_option("web-03")
    assert line.inner_text() == "all · total 100.0 % (40.0 s) · own 0.0 % (0.00 s)"
    page.go_back()
    expect(line).to_contain_text("(200.0 s)")


def test_a_link_to_a_row_leaves_the_view_as_it_is(chromium: Browser, service: Run) -> None:
    page = chromium.open(index(service), fragment="host=web-03")
    page.evaluate("document.querySelector('dl').insertAdjacentHTML('beforeend', '<a href=\"#host-5\">there</a>')")
    page.get_by_text("there").click()
    expect(page.locator("#host-5")).to_be_in_viewport()
    assert view(page) == {"host": "web-03"}
    assert page.locator("#shown").inner_text().startswith("2 workers, 1 host")


def preview(chromium: Browser, run: Run, tmp_path: Path) -> FrameLocator:
    """As a ticket shows an attachment: a document without an address, which may run scripts and nothing else."""
    outer = tmp_path / "ticket.html"
    frame = (
        f'<iframe sandbox="allow-scripts" width=1200 height=3000 srcdoc="{escape(index(run).read_text())}"></iframe>'
    )
    outer.write_text(f"<!DOCTYPE html><title>INC-4711</title>{frame}", encoding="utf-8")
    return chromium.open(outer).frame_locator("iframe")


def test_everything_works_where_the_address_cannot_be_changed(chromium: Browser, service: Run, tmp_path: Path) -> None:
    inner = preview(chromium, service, tmp_path)
    line = inner.locator("#shown")
    expect(line).to_contain_text("10 workers")
    inner.locator("#host").select_option("web-03")
    expect(line).to_contain_text("2 workers, 1 host")
    inner.locator("#search").fill("slow")
    expect(inner.locator("#matched")).to_have_text("Matched: 40.0 % in 1 function")
    expect(inner.locator("#host")).to_have_value("web-03")
    inner.locator("#flame canvas").focus()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        inner.locator("#flame canvas").press(key)
    expect(inner.locator("#frame")).to_contain_text("main · ")
    inner.locator("#out").click()
    expect(inner.locator("#frame")).to_contain_text("all · ")
    inner.locator("#reset").click()
    expect(line).to_contain_text("10 workers")
    expect(inner.locator("#search")).to_have_value("")
    inner.locator("#apart a", has_text="web-03").click()
    expect(line).to_contain_text("2 workers, 1 host")
