# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The time line page at size, in headless Chromium: what it weighs, how long until its first picture, and of a step.

A day of rounds each minute, of one service and of forty; and a round each ten minutes with its flame graphs. Made up,
by the same seed each time.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from ansible_collections.pyspy.fleet.plugins.plugin_utils._calls import Calls, Worker, calls
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._timeline import page
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._timeline_data import ServiceLines
from ansible_collections.pyspy.fleet.plugins.plugin_utils._rounds import Round
from ansible_collections.pyspy.fleet.tests.lab.browser import Browser, browser
from ansible_collections.pyspy.fleet.tests.lab.made_rounds import MEASURE, made_rounds, steady

from .report import _usual

ROUNDS, GRAPHS = 1440, 144
REPEATS = 5

#: Milliseconds from the start of the navigation until the frame with the lines is drawn.
FIRST_PICTURE = """() => new Promise(done => {
  const look = () => document.querySelector("#lines .line")
    ? setTimeout(() => done(performance.now()), 0) : requestAnimationFrame(look);
  requestAnimationFrame(look);
})"""
#: Milliseconds from one change of a control until the next frame is drawn.
CHANGE = """([id, kind, value]) => new Promise(done => {
  const control = document.getElementById(id);
  const began = performance.now();
  control.value = value;
  control.dispatchEvent(new Event(kind));
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - began), 0));
})"""


def main() -> int:
    print(f"\nThe time line with 12 functions a service; median (highest) of {REPEATS} in headless Chromium.\n")
    print(
        "| services | rounds | flame graphs | MB | made in s | first picture, ms | next round, ms | other service, ms |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        for services, rounds, graphs in ((1, ROUNDS, 0), (40, ROUNDS, 0), (1, GRAPHS, 1), (4, GRAPHS, 4)):
            _measure(chromium, services, rounds, graphs, Path(folder) / f"{services}-{graphs}.html")
    return 0


def _measure(chromium: Browser, services: int, many: int, graphs: int, file: Path) -> None:
    rounds = made_rounds(many, 86400 / many)
    lines = [
        ServiceLines(steady(rounds, f"service{number}", functions=12, seed=number), MEASURE)
        for number in range(services)
    ]
    trees = [(f"service{number}", "cpu", _tree(rounds)) for number in range(graphs)]
    links = {one.name: f"{one.name}/index.html" for one in rounds}
    began = time.monotonic()
    text = page("Snapshots", [], lines, rounds, links, trees=trees)
    made = time.monotonic() - began
    file.write_text(text, encoding="utf-8")
    pictures, steps, others = [], [], []
    for _repeat in range(REPEATS):
        opened = chromium.open(file)
        pictures.append(float(opened.evaluate(FIRST_PICTURE)))
        steps += [float(opened.evaluate(CHANGE, ["round", "input", str(number)])) for number in (7, many // 2)]
        others.append(float(opened.evaluate(CHANGE, ["service", "change", str(services - 1)])))
        chromium.forget()
    size, drawn = file.stat().st_size / 1e6, graphs - text.count('type="application/json">null<')
    print(
        f"| {services} | {many} | {f'{drawn} of {graphs}' if graphs else '-'} | {size:.2f} | {made:.1f} "
        f"| {_told(pictures)} | {_told(steps)} | {_told(others)} |",
        flush=True,
    )


def _tree(rounds: list[Round]) -> Calls:
    """The report's usual web service; each of its workers as a round."""
    targets = ((Worker(one.name, "2.1"), profile) for one, (_worker, profile) in zip(rounds, _usual(), strict=False))
    return calls(targets)


def _told(figures: list[float]) -> str:
    return f"{statistics.median(figures):.0f} ({max(figures):.0f})"
