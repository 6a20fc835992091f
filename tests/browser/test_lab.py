# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the lab's browsers: a page that misbehaves is noticed."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.pyspy.fleet.tests.lab.browser import Browser, violations
from ansible_collections.pyspy.fleet.tests.lab.firefox import Firefox

BAD = """<!DOCTYPE html><html lang="en"><title>x</title><body style="background: url(http://192.0.2.1/x.png)">
<script src="other.js"></script><script>absent()</script><img src="http://192.0.2.1/y.png" hidden>
<a href="/"></a></body></html>"""


def test_the_lab_sees_what_a_bad_page_does(one_chromium: Browser, one_firefox: Firefox, tmp_path: Path) -> None:
    file = tmp_path / "bad.html"
    file.write_text(BAD)
    page = one_chromium.open(file)
    assert {Path(address).name for address in one_chromium.requests} == {"x.png", "y.png", "other.js"}
    assert any("absent is not defined" in error for error in one_chromium.errors)
    page.evaluate("alert(1)")
    assert "dialog: 1" in one_chromium.errors
    assert any(line.startswith("link-name (serious)") for line in violations(page))
    assert one_chromium.colours(page.screenshot()) == 1
    one_chromium.forget()
    one_firefox.open(file)
    assert any("absent is not defined" in error for error in one_firefox.errors(file))
