# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the interactive graph of index.html, and of the tables beside it, as a reader uses them."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run
from ansible_collections.pyspy.fleet.tests.lab.browser import Browser, violations
from ansible_collections.pyspy.fleet.tests.lab.firefox import Firefox
from ansible_collections.pyspy.fleet.tests.lab.made_run import made_dump, made_hostile, made_mixed, made_service
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition
from playwright.sync_api import Page, expect

#: Pixels of a level of the graph.
ROW = 18


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made_service(tmp_path_factory.mktemp("service"))


@pytest.fixture
def page(chromium: Browser, service: Run) -> Page:
    return opened(chromium, service)


def opened(chromium: Browser, run: Run, fragment: str = "", **how: bool) -> Page:
    page = chromium.open(Path(run.path, "index.html"), fragment=fragment, **how)  # type: ignore[arg-type]
    if how.get("script", True):
        page.wait_for_selector("#functions button.plain")
    return page


def rows(page: Page, table: str = "#functions") -> list[list[str]]:
    found = page.locator(f"{table} tbody tr").all()
    return [[" ".join(cell.split()) for cell in row.locator("td").all_inner_texts()] for row in found]


def shown(page: Page) -> str:
    return page.locator("#shown").inner_text()


def frame(page: Page) -> str:
    """The frame that is spoken of, in words."""
    return page.locator("#frame").inner_text()


def point(page: Page, depth: int, share: float, click: bool = False) -> None:
    """Go with the pointer to a level of the graph, so far to the right."""
    box = page.locator("#flame canvas").bounding_box()
    assert box is not None
    x, y = box["x"] + share * box["width"], box["y"] + (depth + 0.5) * ROW
    page.mouse.move(x, y)
    if click:
        page.mouse.click(x, y)


def view(page: Page) -> dict[str, str]:
    """What the address says of the view."""
    return {name: values[0] for name, values in parse_qs(address(page)).items()}


def address(page: Page) -> str:
    """The part after the ``#``."""
    return str(page.evaluate("location.hash")).removeprefix("#")


def test_what_is_hot_where_and_who_differs_is_told_first(page: Page) -> None:
    head = page.locator("dl").inner_text()
    assert "profile by deploy" in head
    assert re.search(r"Hottest\n+4\d\.\d % render \(shop/views\.py:20\)", head)
    assert "Apart\n" in head and "web-03: 40.0 % in slow (shop/rates.py:7), others 0.0 %" in head
    assert page.locator("#apart tbody tr").first.locator("th").inner_text() == "web-03"


def test_the_table_is_the_same_without_scripts(chromium: Browser, service: Run, page: Page) -> None:
    plain = opened(chromium, service, script=False)
    assert len(rows(plain)) == 5
    assert rows(page) == rows(plain)
    assert plain.locator("noscript svg text", has_text="render").count() == 1
    assert not plain.locator("#view").is_visible()


def test_one_host_one_worker_one_thread(page: Page) -> None:
    assert shown(page).startswith("10 workers, 5 hosts, 10000 samples, 200.0 s; CPU time")
    assert page.locator("#group option").all_inner_texts() == [
        "whole fleet",
        "group canary",
        "group web",
        "unit web@0.service",
        "unit web@1.service",
    ]
    page.locator("#group").select_option("group canary")
    assert shown(page).startswith("2 workers, 1 host, 2000 samples")
    page.locator("#group").select_option("unit web@1.service")
    assert shown(page).startswith("5 workers, 5 hosts, 5000 samples")
    page.locator("#group").select_option("group web")
    assert shown(page).startswith("10 workers, 5 hosts, 10000 samples")
    page.locator("#host").select_option("web-03")
    assert shown(page).startswith("2 workers, 1 host, 2000 samples")
    expect(page.locator("#functions tbody tr").first).to_contain_text("slow")
    assert page.locator("#worker").locator("option").all_inner_texts()[1:] == [
        "api (pid 4711)",
        "api (pid 4712)",
    ]
    page.locator("#worker").select_option(label="api (pid 4711)")
    assert shown(page).startswith("1 worker, 1 host, 1000 samples")
    page.locator("#host").select_option("")
    page.locator("#worker").select_option("")
    page.locator("#thread").select_option(label="poller")
    assert shown(page).startswith("10 workers, 5 hosts, 1000 samples")
    expect(page.locator("#functions tbody tr")).to_have_count(1)
    assert rows(page)[0][2] == "poll"


def test_one_container_and_one_measure(chromium: Browser, tmp_path: Path) -> None:
    page = opened(chromium, made_mixed(tmp_path))
    group, measure = page.locator("#group"), page.locator("#measure")
    assert shown(page).startswith("2 workers, 2 hosts, 2000 samples") and "CPU time (not idle)" in shown(page)
    assert group.locator("option").all_inner_texts()[1:3] == ["container api", "container shop"]
    group.select_option("container shop")
    assert shown(page).startswith("1 worker, 1 host, ")
    expect(page.locator("#functions tbody tr", has_text="slow")).to_have_count(1)
    group.select_option("container api")
    expect(page.locator("#functions tbody tr", has_text="slow")).to_have_count(0)
    assert measure.locator("option").count() == 2
    point(page, 2, 0.6, click=True)
    page.locator("#flame canvas").focus()
    page.keyboard.press("ArrowDown")
    measure.select_option("gil")
    # There the container is not, nor the frame that was zoomed into and marked.
    assert shown(page).startswith("1 worker, 1 host, ") and "holding the GIL" in shown(page)
    assert frame(page).startswith("all · total 100.0 % (20.0 s)") and group.input_value() == ""
    page.keyboard.press("ArrowDown")
    assert frame(page).startswith("all · ")
    page.go_back()
    expect(page.locator("#shown")).to_contain_text("CPU time (not idle)")
    expect(group).to_have_value("container api")


def test_a_host_of_the_table_is_shown_in_the_graph(page: Page) -> None:
    line = page.locator("#shown")
    page.locator("#apart a", has_text="web-03").click()
    expect(line).to_contain_text("2 workers, 1 host")
    page.go_back()
    expect(line).to_contain_text("10 workers")


def test_zoom_and_the_ways_back(page: Page) -> None:
    point(page, 1, 0.5, click=True)
    assert frame(page).startswith("main")
    first = view(page)
    point(page, 2, 0.6)
    assert "total" in page.locator("#tip").inner_text()
    point(page, 2, 0.6, click=True)
    assert frame(page).startswith("render") and view(page)["zoom"] != first["zoom"]
    # Zoomed in, it is as wide as the graph.
    point(page, 2, 0.01)
    assert page.locator("#tip").inner_text().startswith("render\n")
    page.go_back()
    expect(page.locator("#frame")).to_contain_text("main · ")
    assert view(page) == first
    page.get_by_role("button", name="Zoom out").click()
    assert "zoom" not in view(page) and frame(page).startswith("all · total 100.0 %")
    point(page, 2, 0.6, click=True)
    page.keyboard.press("Escape")
    assert frame(page).startswith("main")
    page.get_by_role("button", name="Back to the first view").click()
    assert view(page) == {}


def test_what_is_said_is_of_what_is_shown(page: Page) -> None:
    """The frame's figures were of the fleet still; the field kept what was no longer looked for."""
    page.locator("#host").select_option("web-03")
    expect(page.locator("#frame")).to_have_text(re.compile(r"^all · total 100\.0 % \(40\.0 s\)"))
    page.locator("#functions button.plain", has_text="slow").click()
    page.locator("#search").focus()
    page.go_back()
    expect(page.locator("#search")).to_have_value("")
    assert page.locator("#matched").inner_text() == ""


def test_an_address_reopens_the_view(chromium: Browser, service: Run, page: Page) -> None:
    page.locator("#host").select_option("web-03")
    page.locator("#search").fill("slow")
    point(page, 1, 0.5, click=True)
    again = opened(chromium, service, address(page))
    assert (shown(again), frame(again)) == (shown(page), frame(page))
    assert again.locator("#search").input_value() == "slow"
    assert again.locator("#matched").inner_text() == page.locator("#matched").inner_text()


@pytest.mark.parametrize(
    "fragment",
    ["host=nobody", "zoom=99999", "zoom=-1", "zoom=x", "measure=wall", "search=(", "sort=x", "=&&%", "group=group "],
)
def test_an_address_of_another_page_does_no_harm(chromium: Browser, service: Run, fragment: str) -> None:
    page = opened(chromium, service, fragment)
    assert shown(page).startswith("10 workers")


def test_search_says_how_much_matches(page: Page) -> None:
    search = page.locator("#search")
    search.fill("RENDER|slow")
    # 450 of 1000 samples of each worker; on web-03 230 and 400.
    assert page.locator("#matched").inner_text() == "Matched: 48.6 % in 2 functions"
    expect(page.locator("#functions tbody tr")).to_have_count(2)
    search.fill("rates.py$")
    assert page.locator("#matched").inner_text() == "Matched: 8.0 % in 1 function"
    search.fill("(")
    assert "regular expression" in page.locator("#matched").inner_text()
    assert search.get_attribute("aria-invalid") == "true"
    expect(page.locator("#functions tbody tr")).to_have_count(5)
    search.fill("")
    assert page.locator("#matched").inner_text() == ""


def test_a_function_of_the_table_is_found_in_the_graph(page: Page) -> None:
    page.locator("#functions button.plain", has_text="render").click()
    assert page.locator("#search").input_value() == "^render$"
    assert page.locator("#matched").inner_text().startswith("Matched: 40.6 %")


def test_the_table_is_sorted_by_any_column(page: Page) -> None:
    page.get_by_role("button", name="highest").click()
    expect(page.locator("th[aria-sort=descending]")).to_have_text("highest")
    shares = [float(row[6].split(" ")[0]) for row in rows(page)]
    assert shares == sorted(shares, reverse=True) and shares[0] > shares[-1]
    page.get_by_role("button", name="function").click()
    expect(page.locator("th[aria-sort=ascending]")).to_have_count(1)
    names = [row[2] for row in rows(page)]
    assert names == sorted(names)


def test_the_keyboard_reaches_everything(page: Page) -> None:
    page.locator("#flame canvas").focus()
    page.keyboard.press("ArrowDown")
    assert frame(page).startswith("all · ")
    page.keyboard.press("ArrowDown")
    assert frame(page).startswith("main · ")
    page.keyboard.press("ArrowDown")
    assert frame(page).startswith("render · ")
    page.keyboard.press("ArrowLeft")
    assert frame(page).startswith("query · ")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert "zoom" in view(page) and page.locator("#frame").get_attribute("aria-live") == "polite"
    page.keyboard.press("/")
    page.keyboard.type("query")
    assert page.locator("#matched").inner_text().startswith("Matched: ")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert "zoom" not in view(page) or frame(page).startswith("main")


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_stands_in_anybody_s_way(chromium: Browser, service: Run, dark: bool) -> None:
    page = opened(chromium, service, dark=dark)
    assert violations(page) == []


@pytest.mark.parametrize(("width", "height"), [(390, 800), (1280, 800)])
def test_it_fits(chromium: Browser, service: Run, width: int, height: int, tmp_path: Path) -> None:
    page = chromium.open(Path(service.path, "index.html"), width=width, height=height)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.querySelector('#flame canvas').clientWidth") > 0.8 * min(width, 1240)
    assert chromium.colours(page.locator("#flame").screenshot(path=tmp_path / "graph.png")) > 10


def test_firefox_draws_it(one_chromium: Browser, one_firefox: Firefox, service: Run, tmp_path: Path) -> None:
    file = Path(service.path, "index.html")
    one_firefox.open(file)
    drawn = "[...document.querySelector('#flame canvas').getContext('2d').getImageData(200, 4, 1, 1).data].join()"
    # It is painted at the next frame, which a page that is not looked at may wait for.
    await_condition("a graph", lambda: one_firefox.evaluate(drawn) == "238,238,238,255")
    assert "10 workers" in str(one_firefox.evaluate("document.getElementById('shown').textContent"))
    assert one_chromium.colours(one_firefox.screenshot(tmp_path / "page.png")) > 20
    assert one_firefox.errors(file) == []


#: Whatever of these runs sets a flag, or is noticed as an error, a dialog or a request.
HOSTILE = [
    "</script><script>hit = 1</script>",
    "</noscript></code><img src=x onerror='hit = 1'><svg onload='hit = 1'>",
    "\"' onmouseover='hit = 1' autofocus onfocus='hit = 1' x=\"",
    "{{ 7 * 7 }}{% raw %}${7 * 7}<!--<script>",
    "\u202egnp.x\u2066 \x1b[31m\x00\x07\u2028]]>",
    "javascript:hit = 1",
    "x" * 1_000_000,
    "🐍" * 3000 + "</title><style>*{display:none}</style>",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_text(chromium: Browser, tmp_path: Path, text: str) -> None:
    page = opened(chromium, made_hostile(tmp_path, text))
    for depth in (1, 2):
        point(page, depth, 0.2)
    for control in ("group", "host", "worker", "thread"):
        page.locator(f"#{control}").select_option(index=1)
    page.locator("#functions button.plain").first.click()
    point(page, 1, 0.2, click=True)
    for fold in page.locator("details:not([open]) > summary").all():
        fold.click()
    assert page.evaluate("typeof hit") == "undefined"
    assert "49" not in page.title()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert page.locator("#functions tbody tr").count() == 1


def test_a_dump_s_tree_unfolds(chromium: Browser, tmp_path: Path) -> None:
    page = chromium.open(Path(made_dump(tmp_path).path, "index.html"), width=390)
    tree = page.locator(".tree")
    stuck, idle = tree.get_by_text("ask (stock.py)"), tree.get_by_text("wait (sync.py)")
    assert stuck.is_visible() and "3 stuck" in tree.inner_text() and "6 idle" in tree.inner_text()
    assert page.locator(".lead").inner_text().startswith("3 of 9 threads stuck in recv (shop/http.py:3)")
    top = tree.locator("summary").first
    assert top.inner_text().split()[0] == "9/9/3"
    top.click()
    assert not stuck.is_visible()
    top.press("Enter")
    assert stuck.is_visible() and idle.count() == 1
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
