# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the files for other tools, read by those tools: Go's pprof, and speedscope's own page with its importers."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._formats import _pprof
from ansible_collections.pyspy.fleet.plugins.plugin_utils._profile import Frame, Profile, Stack
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Measure
from ansible_collections.pyspy.fleet.tests.lab.browser import Browser
from ansible_collections.pyspy.fleet.tests.lab.made_run import made_run, made_service
from ansible_collections.pyspy.fleet.tests.lab.npm import package
from playwright.sync_api import expect

SPEEDSCOPE = ("speedscope", "1.25.0")
#: What each function of :func:`made_service` did by itself in the whole fleet: samples of 20 ms.
OWN = {"render": 4060, "query": 3680, "poll": 1000, "slow": 800, "main": 460}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made_service(tmp_path_factory.mktemp("service"))


def pprof(home: Path, *words: str | Path) -> str:
    """What ``go tool pprof`` prints; it keeps things in its home, and has nothing to fetch."""
    environment = {**os.environ, "HOME": str(home), "GOFLAGS": "-mod=mod", "GOPROXY": "off", "TZ": "UTC"}
    command = ("go", "tool", "pprof", *words)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=home)
    assert done.returncode == 0, done.stderr
    return done.stdout


def top(text: str) -> dict[str, list[str]]:
    """The rows of ``-top``: function → flat, flat %, sum %, cum, cum %."""
    rows = [line.split(maxsplit=5) for line in text.partition("cum%\n")[2].splitlines()]
    return {row[5]: row[:5] for row in rows}


def raw(text: str) -> list[tuple[int, int, str]]:
    """The samples of ``-raw``: how many, nanoseconds, labels."""
    found = re.findall(r"^ *(\d+) +(\d+): [\d ]+\n((?: {16}.*\n)*)", text.partition("Locations")[0], re.MULTILINE)
    return [(int(samples), int(nanoseconds), labels.strip()) for samples, nanoseconds, labels in found]


def test_pprof_of_the_fleet(service: Run, tmp_path: Path) -> None:
    file = Path(service.path, "fleet.pprof.gz")
    counted = top(pprof(tmp_path, "-top", "-sample_index=samples", file))
    assert {name: int(row[0]) for name, row in counted.items()} == OWN
    text = pprof(tmp_path, "-top", file)
    assert "Type: cpu\nTime: Nov 22, 2026 at 9:38am (UTC)\nDuration: 30s, Total samples = 200s" in text
    assert top(text)["render"][0] == "81.20s" and top(text)["main"][3] == "180s"
    lines = pprof(tmp_path, "-raw", file)
    assert "Period: 20000000" in lines and "/srv/shop/rates.py:7" in lines


def test_pprof_s_labels(service: Run, tmp_path: Path) -> None:
    file = Path(service.path, "fleet.pprof.gz")
    tags = pprof(tmp_path, "-tags", "-sample_index=samples", file)
    assert re.search(r"group: Total 12000.0\n +10000.0 \(83.33%\): web\n +2000.0 \(16.67%\): canary", tags)
    assert re.search(r"pid: Total 10000.0\n +5000.0 \(50.00%\): 4711", tags)
    assert re.search(r"thread: Total 10000.0\n +9000.0 \(90.00%\): MainThread\n +1000.0 \(10.00%\): poller", tags)
    mine = top(pprof(tmp_path, "-top", "-sample_index=samples", "-tagfocus=host=web-03", file))
    assert {name: int(row[0]) for name, row in mine.items()}["slow"] == 800


def test_pprof_shows_what_differs(service: Run, tmp_path: Path) -> None:
    one, other = (Path(service.path, "hosts", f"web-0{number}", "4711-api.pprof.gz") for number in (1, 3))
    rows = top(pprof(tmp_path, "-top", "-sample_index=samples", "-diff_base", one, other))
    assert {name: int(row[0]) for name, row in rows.items()} == {
        "slow": 400,
        "render": -220,
        "query": -160,
        "main": -20,
    }
    even = top(pprof(tmp_path, "-top", "-normalize", "-sample_index=samples", "-diff_base", one, other))
    assert int(even["slow"][0]) == 400


@pytest.mark.parametrize("source", ["plain", "sub", "native", "wall"])
def test_sums_are_those_of_the_captures(source: str, tmp_path: Path) -> None:
    run = made_run(tmp_path / "runs", 2, 2, source)
    samples, seconds = 0, 0.0
    for capture in Path(run.path).glob("hosts/*/*.speedscope.json"):
        for thread in json.loads(capture.read_text())["profiles"]:
            samples += sum(map(bool, thread["samples"]))
            seconds += sum(
                weight for sample, weight in zip(thread["samples"], thread["weights"], strict=True) if sample
            )
    rows = raw(pprof(tmp_path, "-raw", Path(run.path, "fleet.pprof.gz")))
    assert sum(row[0] for row in rows) == samples > 0
    # Each stack's time is rounded to a nanosecond.
    assert abs(sum(row[1] for row in rows) - seconds * 1e9) <= len(rows)
    fleet = json.loads(Path(run.path, "fleet.speedscope.json").read_text())
    assert sum(sum(thread["weights"]) for thread in fleet["profiles"]) == pytest.approx(seconds)


def test_pprof_takes_any_name_and_number(tmp_path: Path) -> None:
    names = ["a b", "Ünï;cødé", 'q"\n\t', "", "x" * 100_000, "λ" * 200]
    stacks = [Stack((Frame("main", "", 0), Frame(name, name, 2**31 - 1)), 1e9, 2**40, name, 7) for name in names]
    file = tmp_path / "odd.pprof.gz"
    measure = Measure("gil", 100, False, False)
    labels = (("host", "h"), ("container", ""), ("pid", "1"))
    file.write_bytes(_pprof.write([_pprof.Part(Profile((measure,), tuple(stacks)), labels)]))
    text = pprof(tmp_path, "-raw", file)
    rows = raw(text)
    assert [row[:2] for row in rows] == [(2**40, 10**18)] * len(names)
    # A child's own PID, no label without a value, and none that a storage would refuse for its length.
    assert all("pid:[7]" in row[2] and "container" not in row[2] and len(row[2]) < 2000 for row in rows)
    assert "samples/count gil/nanoseconds[dflt]" in text


@pytest.mark.parametrize("name", ["fleet.pprof.gz", "fleet.folded"])
def test_speedscope_reads_them(one_chromium: Browser, service: Run, name: str) -> None:
    rows = speedscope(one_chromium, Path(service.path, name), name)
    assert {function.partition(" (")[0]: share for function, share in rows.items()} == {
        "render": "41%",
        "query": "37%",
        "poll": "10%",
        "slow": "8.0%",
        "main": "4.6%",
    }


def test_speedscope_lets_choose_the_worker(one_chromium: Browser, service: Run) -> None:
    rows = speedscope(one_chromium, Path(service.path, "fleet.speedscope.json"), "web-01 api (pid 4711) (1/10)")
    assert rows == {"render": "45%", "query": "40%", "poll": "10%", "main": "5.0%"}


def speedscope(chromium: Browser, file: Path, title: str) -> dict[str, str]:
    """What its table of functions shows of a file: own shares."""
    chromium.forget()
    page = chromium.open(package(*SPEEDSCOPE) / "dist" / "release" / "index.html", whole_folder=True)
    page.locator("input[type=file]").set_input_files(file.resolve())
    expect(page.locator("body")).to_contain_text(title)
    page.get_by_text("Sandwich").click()
    page.get_by_text("Symbol Name").wait_for()
    # Total, own, function; each figure with its share in brackets.
    found = re.findall(r"\(([\d.]+%)\)\s+\S+ \(([\d.]+%)\)\s+(.+)", page.inner_text("body"))
    # Its drawing makes Chromium's console complain of the emulated graphics card.
    assert [error for error in chromium.errors if "GL Driver" not in error] == [] == chromium.requests
    chromium.forget()
    return {name: own for _total, own, name in found}
