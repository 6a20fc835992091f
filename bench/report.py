# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report at size, in headless Chromium: what it weighs, how long until its first picture, and how long a search.

``usual`` is a web service of 20 hosts with 8 workers each; ``huge`` 200 workers with 100,000 distinct nodes, which no
service has. Both are made up, by the same seed each time.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.pyspy.fleet.plugins.plugin_utils._calls import Worker, calls
from ansible_collections.pyspy.fleet.plugins.plugin_utils._profile import Frame, Profile, Stack, collapse, merge
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._page import page
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._shares import View
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._svg import Heading, render
from ansible_collections.pyspy.fleet.plugins.plugin_utils._summary import Summary
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Measure
from ansible_collections.pyspy.fleet.tests.lab.browser import Browser, browser

ROUNDS = 5
MEASURE = Measure("cpu", 100.0, False, False)
Frames = tuple[Frame, ...]
Target = tuple[Worker, Profile]

#: Milliseconds from the start of the navigation until the canvas has something on it.
FIRST_PICTURE = """() => new Promise(done => {
  const canvas = document.querySelector("#flame canvas");
  const look = () => canvas.height > 1 && canvas.getContext("2d").getImageData(200, 4, 1, 1).data[3]
    ? done(performance.now()) : requestAnimationFrame(look);
  look();
})"""
#: Milliseconds from a change of the search field until the next frame is drawn and everything waiting has run.
SEARCH = """text => new Promise(done => {
  const field = document.getElementById("search");
  const began = performance.now();
  field.value = text;
  field.dispatchEvent(new Event("input"));
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - began), 0));
})"""


def main() -> int:
    print(f"\nMedian (highest) of {ROUNDS} rounds in headless Chromium; made in one round.\n")
    print("| report | workers | nodes | MB | made in s | first picture, ms | search, ms |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        for name, targets in (("usual", list(_usual())), ("huge", list(_huge()))):
            _measure(chromium, name, targets, Path(folder) / f"{name}.html")
    return 0


def _measure(chromium: Browser, name: str, targets: list[Target], file: Path) -> None:
    began = time.monotonic()
    tree, merged = calls(targets), merge(profile for _worker, profile in targets)
    view = View("cpu", "CPU time", tree, render(merged, Heading(name)))
    file.write_text(page(Summary("profile", name, "", str(file.parent)), [], [view], []))
    made = time.monotonic() - began
    pictures, searches = [], []
    for _round in range(ROUNDS):
        opened = chromium.open(file)
        pictures.append(float(opened.evaluate(FIRST_PICTURE)))
        opened.wait_for_selector("#functions button.plain")
        searches += [float(opened.evaluate(SEARCH, text)) for text in ("f1", "page3", "f.*9$", "absent", "")]
        chromium.forget()
    size = file.stat().st_size / 1e6
    print(
        f"| {name} | {len(tree.workers)} | {len(tree.parents)} | {size:.1f} | {made:.1f} | {_told(pictures)} "
        f"| {_told(searches)} |",
        flush=True,
    )


def _told(figures: list[float]) -> str:
    return f"{statistics.median(figures):.0f} ({max(figures):.0f})"


def _usual() -> Iterator[Target]:
    """Views of a web service, with what they call, each weighted differently in each worker."""
    dice = random.Random(7)
    base = tuple(Frame(name, f"/usr/lib/python3/site-packages/{name}.py", 10) for name in ("main", "serve", "dispatch"))
    paths: list[Frames] = []
    for view in range(25):
        waiting = [(*base, Frame(f"view_{view}", f"/srv/shop/page{view % 7}.py", 20))]
        while waiting and len(paths) < 60 * (view + 1):
            path = waiting.pop()
            paths.append(path)
            if len(path) < 20:
                waiting += [(*path, _function(dice, 60)) for _child in range(dice.randint(1, 3))]
    return (_target(dice, number, paths, dice.choices(range(1, 30), k=len(paths))) for number in range(160))


def _huge() -> Iterator[Target]:
    dice = random.Random(1)
    paths: list[Frames] = [()]
    while len(paths) < 100_000:
        path = dice.choice(paths[-20_000:])
        if len(path) < 60:
            paths.append((*path, _function(dice, 2000)))
    # All nodes are reached: each worker is in some of them, and in some of its own.
    for number in range(200):
        mine = paths[1 + number :: 200] + dice.sample(paths[1:], 2500)
        yield _target(dice, number, mine, [1] * len(mine))


def _function(dice: random.Random, many: int) -> Frame:
    number = dice.randrange(many)
    return Frame(f"f{number}", f"/srv/shop/page{number % 50}.py", dice.randint(1, 300))


def _target(dice: random.Random, number: int, paths: list[Frames], weights: list[int]) -> Target:
    seen = Counter(dice.choices(paths, weights, k=3000))
    stacks = collapse(Stack(path, 0.01 * count, count, "MainThread") for path, count in seen.items())
    return Worker(f"web-{number // 8 + 1:02}", f"gunicorn: worker [shop] (pid {4000 + number})"), Profile(
        (MEASURE,), stacks
    )
