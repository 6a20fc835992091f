# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of a comparison's page and graphs in a real browser."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._diff import diff
from ansible_collections.pyspy.fleet.plugins.plugin_utils._diff_files import file_of, write
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run
from ansible_collections.pyspy.fleet.plugins.plugin_utils._sides import Where, sides
from ansible_collections.pyspy.fleet.tests.lab.browser import Browser, violations
from ansible_collections.pyspy.fleet.tests.lab.hostile_texts import PAYLOADS
from ansible_collections.pyspy.fleet.tests.lab.made_run import made_hostile, made_service
from playwright.sync_api import expect


def compared(run: Run, a: str, b: str) -> Path:
    found = diff(*sides((a, b), Where(os.path.dirname(run.path))))
    write(found, 5.0)
    return Path(file_of(found))


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compared(made_service(tmp_path_factory.mktemp("service")), "web", "canary")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_the_page(chromium: Browser, page_file: Path, width: int, dark: bool, tmp_path: Path) -> None:
    page = chromium.open(page_file, width=width, dark=dark)
    assert page.title() == "Changes from web to canary"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert chromium.colours(page.screenshot(path=tmp_path / "diff.png", full_page=True)) > 20
    assert page.locator("tbody tr").first.inner_text().split("\t")[:2] == ["clear", "slow"]
    assert violations(page) == []


@pytest.mark.parametrize("end", [".svg", "-baseline.svg"])
def test_the_graphs_can_be_searched(chromium: Browser, page_file: Path, end: str) -> None:
    page = chromium.open(page_file.with_name(page_file.stem + end))
    page.locator("input").first.fill("slow")
    wanted = "Matched: 40.0 %" if end == ".svg" else "Matched: 0.0 %"
    page.get_by_text(wanted).wait_for()
    # Functions and files alone: neither the change before a name, nor figures and remarks.
    page.locator("input").first.fill("^slow$")
    page.get_by_text(wanted).wait_for()
    page.locator("input").first.fill("total|points|alone|clear|[+]")
    page.get_by_text("Matched: 0.0 %").wait_for()


@pytest.mark.parametrize("end", [".svg", "-baseline.svg"])
@pytest.mark.parametrize(
    ("expression", "share"),
    [("^slow$", 40.0), ("^render$", None), (r"rates\.py:7$", 40.0)]
    + [(word, 0.0) for word in ("total", "points", "own", "alone", "clear", "^[+-]", "hottest", "→")],
)
def test_function_and_file_are_searched_and_nothing_else(
    chromium: Browser, page_file: Path, end: str, expression: str, share: float | None
) -> None:
    page = chromium.open(page_file.with_name(page_file.stem + end))
    page.locator("input").first.fill(expression)
    said = page.locator("output")
    if share is None:
        expect(said).not_to_have_text(re.compile(r"Matched: (0|100)\.0 %|^$"))
    else:
        expect(said).to_have_text(f"Matched: {share if end == '.svg' else 0:.1f} %")


def test_hostile_names_run_nothing(chromium: Browser, tmp_path: Path) -> None:
    for number, text in enumerate(PAYLOADS):
        run = made_hostile(tmp_path / str(number), text)
        file = compared(run, "host=web-02", "latest")
        for one in (file, file.with_suffix(".svg"), file.with_name(f"{file.stem}-baseline.svg")):
            page = chromium.open(one)
            assert page.evaluate("'ran' in window") is False, text
            page.context.close()
