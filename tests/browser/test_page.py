# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of index.html in real browsers."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run
from ansible_collections.pyspy.fleet.tests.lab.browser import Browser
from ansible_collections.pyspy.fleet.tests.lab.firefox import Firefox


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_opens(chromium: Browser, fleet_run: Run, width: int, tmp_path: Path) -> None:
    page = chromium.open(Path(fleet_run.path, "index.html"), width=width)
    assert page.title() == "Checkout is slow (INC-4711)"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert chromium.colours(page.screenshot(path=tmp_path / "page.png")) > 20


def test_the_page_opens_in_firefox(one_chromium: Browser, one_firefox: Firefox, fleet_run: Run, tmp_path: Path) -> None:
    file = Path(fleet_run.path, "index.html")
    one_firefox.open(file)
    assert one_firefox.evaluate("document.title") == "Checkout is slow (INC-4711)"
    assert one_chromium.colours(one_firefox.screenshot(tmp_path / "page.png")) > 20
    assert one_firefox.errors(file) == []
