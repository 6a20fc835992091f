# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of index.html in real browsers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run
from ansible_collections.pyspy.fleet.tests.lab.browser import Browser, violations
from ansible_collections.pyspy.fleet.tests.lab.firefox import Firefox
from ansible_collections.pyspy.fleet.tests.lab.made_run import made_run
from playwright.sync_api import expect


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_opens(chromium: Browser, fleet_run: Run, width: int, tmp_path: Path) -> None:
    page = chromium.open(Path(fleet_run.path, "index.html"), width=width)
    assert page.title() == "Checkout is slow (INC-4711)"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert chromium.colours(page.screenshot(path=tmp_path / "page.png")) > 20


@pytest.mark.parametrize(("hosts", "workers"), [(60, 2), (1, 1)])
def test_a_long_fleet_and_one_worker_fit_a_phone(chromium: Browser, hosts: int, workers: int, tmp_path: Path) -> None:
    page = chromium.open(Path(made_run(tmp_path, hosts, workers).path, "index.html"), width=390)
    page.wait_for_selector("#functions button.plain")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("article").count() == hosts
    assert page.locator("#apart").count() == (hosts > 1)
    page.locator("#host").select_option(f"web-{hosts:02}")
    expect(page.locator("#shown")).to_contain_text(re.compile(f"^{workers} workers?, 1 host, "))
    page.locator("#search").fill("hot_loop")
    expect(page.locator("#matched")).to_contain_text("Matched: 72.1 %")
    # What is wider than a phone scrolls by itself.
    for part in page.locator("article, figure, dl, .controls, .scroll").all():
        box = part.bounding_box()
        assert box is None or box["x"] + box["width"] <= 390
    assert violations(page) == []


def test_the_page_opens_in_firefox(one_chromium: Browser, one_firefox: Firefox, fleet_run: Run, tmp_path: Path) -> None:
    file = Path(fleet_run.path, "index.html")
    one_firefox.open(file)
    assert one_firefox.evaluate("document.title") == "Checkout is slow (INC-4711)"
    assert one_chromium.colours(one_firefox.screenshot(tmp_path / "page.png")) > 20
    assert one_firefox.errors(file) == []
