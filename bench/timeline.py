# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The time line page at size, in headless Chromium: what it weighs, how long until its first picture, and of a step.

A day of rounds each minute, of one service and of forty. Made up, by the same seed each time.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._timeline import page
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._timeline_data import ServiceLines
from ansible_collections.pyspy.fleet.tests.lab.browser import Browser, browser
from ansible_collections.pyspy.fleet.tests.lab.made_rounds import MEASURE, made_rounds, steady

ROUNDS, SERVICES = 1440, (1, 40)
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
    print(
        f"\nThe time line of {ROUNDS} rounds with 12 functions; median (highest) of {REPEATS} in headless Chromium.\n"
    )
    print("| services | MB | made in s | first picture, ms | next round, ms | other service, ms |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        for services in SERVICES:
            _measure(chromium, services, Path(folder) / f"{services}.html")
    return 0


def _measure(chromium: Browser, services: int, file: Path) -> None:
    rounds = made_rounds(ROUNDS, 60.0)
    lines = [
        ServiceLines(steady(rounds, f"service{number}", functions=12, seed=number), MEASURE)
        for number in range(services)
    ]
    links = {one.name: f"{one.name}/index.html" for one in rounds}
    began = time.monotonic()
    file.write_text(page("Snapshots", [], lines, rounds, links), encoding="utf-8")
    made = time.monotonic() - began
    pictures, steps, others = [], [], []
    for _repeat in range(REPEATS):
        opened = chromium.open(file)
        pictures.append(float(opened.evaluate(FIRST_PICTURE)))
        steps += [float(opened.evaluate(CHANGE, ["round", "input", str(number)])) for number in (7, 700)]
        others.append(float(opened.evaluate(CHANGE, ["service", "change", str(services - 1)])))
        chromium.forget()
    size = file.stat().st_size / 1e6
    print(
        f"| {services} | {size:.2f} | {made:.1f} | {_told(pictures)} | {_told(steps)} | {_told(others)} |", flush=True
    )


def _told(figures: list[float]) -> str:
    return f"{statistics.median(figures):.0f} ({max(figures):.0f})"
