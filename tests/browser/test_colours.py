# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of what can be read in the graph of index.html: the contrast of each name with what the canvas has below it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run
from ansible_collections.pyspy.fleet.tests.lab.browser import Browser
from ansible_collections.pyspy.fleet.tests.lab.made_run import made_run, made_service
from playwright.sync_api import Page

#: What is asked of text by WCAG 2.2, level AA.
ENOUGH = 4.5
#: From then on the least contrast of each text is kept, by the text: all pixels that it is drawn on count.
WATCHED = """
() => {
  const linear = part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const sheet = getComputedStyle(document.querySelector('.graph')).backgroundColor.match(/\\d+/g).map(Number);
  const pen = CanvasRenderingContext2D.prototype;
  const drawn = pen.fillText;
  window.contrasts = {};
  pen.fillText = function (text, x, y) {
    const below = this.getImageData(x, y - 7, Math.max(1, Math.floor(this.measureText(text).width)), 14).data;
    const ink = [1, 3, 5].map(start => parseInt(this.fillStyle.slice(start, start + 2), 16));
    for (let i = 0; i < below.length; i += 4) {
      const paper = [0, 1, 2].map(n => sheet[n] + (below[i + n] - sheet[n]) * below[i + 3] / 255);
      const mixed = ink.map((part, n) => part * this.globalAlpha + paper[n] * (1 - this.globalAlpha));
      const [low, high] = [light(mixed), light(paper)].sort((a, b) => a - b);
      window.contrasts[text] = Math.min(window.contrasts[text] ?? 21, (high + 0.05) / (low + 0.05));
    }
    return drawn.apply(this, arguments);
  };
}
"""


@pytest.fixture(scope="module", params=["shop", "native", "wall"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Ordinary code; with hatched frames of C; with dotted ones that wait."""
    folder = tmp_path_factory.mktemp(request.param)
    return made_service(folder) if request.param == "shop" else made_run(folder, 1, 1, request.param)


@pytest.fixture
def watching(chromium: Browser) -> Iterator[Browser]:
    """Chromium, which advises against what only the test does: to read a canvas again and again."""
    yield chromium
    chromium.errors[:] = [error for error in chromium.errors if "willReadFrequently" not in error]


def contrasts(page: Page) -> dict[str, float]:
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    found = page.evaluate("Object.entries(window.contrasts)")
    page.evaluate("window.contrasts = {}")
    return dict(found)


@pytest.mark.parametrize("dark", [False, True])
def test_every_name_can_be_read(watching: Browser, run: Run, dark: bool, tmp_path: Path) -> None:
    page = watching.open(Path(run.path, "index.html"), dark=dark)
    page.evaluate(WATCHED)
    page.locator("#search").fill("no such function")
    missed = contrasts(page)
    page.screenshot(path=tmp_path / "missed.png")
    page.locator("#search").fill("")
    plain = contrasts(page)
    page.locator("#flame canvas").focus()
    for key in ("ArrowDown",) * 4 + ("Enter",):
        page.keyboard.press(key)
    above = contrasts(page)
    page.locator("#search").fill("[rl]")
    page.screenshot(path=tmp_path / "found.png")
    both = contrasts(page)
    for found in (missed, plain, above, both):
        assert len(found) > 2 and min(found.values()) >= ENOUGH, found


def test_what_a_search_has_missed_recedes(watching: Browser, run: Run) -> None:
    """On both papers: a frame that is not meant has less of its own colour than one that is."""
    for dark in (False, True):
        page = watching.open(Path(run.path, "index.html"), dark=dark)
        spread = "[...document.querySelector('#flame canvas').getContext('2d').getImageData(4, 20, 1, 1).data]"
        page.evaluate(WATCHED)
        contrasts(page)
        plain = page.evaluate(spread)
        page.locator("#search").fill("no such function")
        contrasts(page)
        paper = 24 if dark else 255
        near = [abs(part - paper) for part in page.evaluate(spread)[:3]]
        assert sum(near) < 0.5 * sum(abs(part - paper) for part in plain[:3]), dark
