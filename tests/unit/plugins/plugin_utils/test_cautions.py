# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of what is said before figures are believed, from tables of captures; and where it is said."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._cautions import Caution, cautions
from ansible_collections.pyspy.fleet.plugins.plugin_utils._report import Context, build
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import open_run
from ansible_collections.pyspy.fleet.plugins.plugin_utils._summary import Picture, Summary, count
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Capture, Harm, HostRecord, Measure, Process
from ansible_collections.pyspy.fleet.tests.lab.hostile_texts import PAYLOADS

GENTLER = "ended early and gone on with more gently: the target was stopped 18 % of the time"
ENDED = "ended early: py-spy used 80 % of a core"
ASKED = "this hurts the target, but it was asked for: the target was stopped 22 % of the time"
WENT = "the target ended in the window"
BEHIND = "py-spy fell behind in sampling: the rate is too high for this target"
CUT_OFF = "3 of 5 dumps: then the deadline was over"


def capture(
    pid: int = 4711, samples: int = 900, errors: int = 0, *notes: str, kind: str = "cpu", blocking: bool = False
) -> Capture:
    process = Process(pid, 1, "www-data", "shop", "worker", "3.11", None, "")
    outcome = "profiled" if samples else "empty"
    return Capture(process, Measure(kind, 50, blocking, False), outcome, samples, errors, 1.0, 2.0, 1.0, 1, notes)


def harmed(pid: int, stopped: float, recorder: float, *notes: str, late: int = 0) -> Capture:
    return replace(capture(pid, 900, 0, *notes), harm=Harm(3, 30, stopped, recorder, late, 90.0, 80.0))


def fleet(**hosts: list[Capture]) -> list[HostRecord]:
    return [HostRecord(name, "collected", captures=tuple(captures)) for name, captures in hosts.items()]


def said(**hosts: list[Capture]) -> list[str]:
    return [caution.text for caution in cautions(fleet(**hosts))]


@pytest.mark.parametrize(
    ("captures", "wanted"),
    [
        ([], []),
        ([capture()], []),
        ([capture(errors=12, samples=888), capture(5, errors=10), capture(6, errors=9)],
         ["2 of 3 targets: errors while sampling "
          "(12 of 900 attempts to read a stack failed at worst: a shop (pid 4711))"]),
        # Of one that was never read there is no share but a whole.
        ([capture(samples=0, errors=3)],
         ["1 of 1 target: errors while sampling (3 of 3 attempts to read a stack failed at worst: a shop (pid 4711))"]),
        ([capture(samples=1, errors=1, kind="dump")],
         ["1 of 1 target: errors while dumping (1 of 2 dumps failed at worst: a shop (pid 4711))"]),
        # What failed has a reason of its own.
        ([replace(capture(errors=9), outcome="failed")], []),
        ([harmed(1, 4.9, 49)], []),
        ([harmed(1, 5.0, 3), harmed(2, 18.4, 3, GENTLER), harmed(3, 0, 0)],
         ["2 of 3 targets were slowed: stopped 18 % of the time at worst, a shop (pid 2); 1 gone on with more gently"]),
        ([harmed(1, 0, 80, ENDED)],
         ["1 of 1 target was slowed: py-spy used 80 % of a core, a shop (pid 1); 1 ended early"]),
        ([harmed(1, 22, 3, ASKED)],
         ["1 of 1 target was slowed: stopped 22 % of the time at worst, a shop (pid 1); 1 hurt, but it was asked for"]),
        ([capture(1, 9, 0, WENT), harmed(2, 0, 0, late=2), capture(3, 9, 0, BEHIND), capture(4)],
         ["results are partial: 1 of 4 targets ended in the window; py-spy fell behind on 2 of 4 targets"]),
        ([capture(1, 3, 0, CUT_OFF, kind="dump"), capture(1)],
         ["results are partial: the deadline came before the last dump of 1 of 1 target"]),
        ([capture(1), capture(2), capture(3, kind="gil"), capture(4, kind="dump")],
         ["mixed measures, which are not added up but have a graph each: "
          "CPU time (not idle) of 2 targets, time holding the GIL of 1 target"]),
        ([capture(1), capture(2, blocking=True), capture(3)],
         ["mixed measures in one graph: 1 of 3 targets stopped for each sample, the others not"]),
        # One that was idle has no measure in any graph.
        ([capture(1), capture(2, samples=0, blocking=True), capture(3, samples=0, kind="gil")], []),
    ],
)  # fmt: skip
def test_what_is_said_of_one_host(captures: list[Capture], wanted: list[str]) -> None:
    assert said(a=captures) == wanted


def test_segments_are_one_target() -> None:
    parts = [capture(1, 90, 10), replace(capture(1, 95, 5), segment=2), capture(2)]
    assert said(a=parts)[0].startswith("1 of 2 targets: errors while sampling (15 of 200 ")


def test_the_same_process_id_on_two_hosts_is_two_targets() -> None:
    found = cautions(fleet(a=[capture(errors=10)], b=[capture(errors=20)]))
    assert found == (
        Caution(
            "2 of 2 targets: errors while sampling "
            "(20 of 920 attempts to read a stack failed at worst: b shop (pid 4711))",
            ("b", "a"),
        ),
    )


def test_however_many_there_are_it_is_short() -> None:
    name = "x" * 2000
    row = harmed(1, 50, 90, GENTLER, WENT, BEHIND)
    row = replace(row, errors=50, process=replace(row.process, name=name))
    rows = [row, replace(capture(2), measure=Measure("gil", 50, True, False))]
    dumps = [capture(3, 3, 2, CUT_OFF, kind="dump")]
    found = cautions(fleet(**{f"host{number}{name}": [*rows, *dumps] for number in range(500)}))
    assert len(found) == 5
    assert all(len(caution.text) < 400 and len(caution.hosts) <= 3 for caution in found)


def test_the_order_is_the_same_whoever_came_first() -> None:
    hosts = {name: [capture(errors=70)] for name in ("c", "a", "d", "b")}
    assert cautions(fleet(**hosts))[0].hosts == ("a", "b", "c")


def test_a_round_of_two_measures_has_a_summary() -> None:
    """A round has no files that could be named."""
    records = fleet(a=[capture(1), capture(2, kind="gil")])
    pictures = tuple(Picture(kind, kind, 1, 1.0, 1, 1, ()) for kind in ("cpu", "gil"))
    summary = replace(count(Summary("snapshot", "", "", ""), records, ()), pictures=pictures)
    assert "mixed measures" in " ".join(summary.screen(80))


def test_it_is_told_at_the_top_with_the_way_to_its_rows(tmp_path: Path) -> None:
    run = open_run(str(tmp_path), "profile", "web", "key")
    for record in fleet(**{"web-01": [capture()], "web-02": [capture(errors=90)]}):
        run.write_host(record)
    summary = build(run, Context())
    text = "1 of 2 targets: errors while sampling (90 of 990 attempts to read a stack failed at worst: web-02 shop"
    page = Path(run.path, "index.html").read_text()
    top = page[: page.index("</dl>")]
    line = next(line for line in top.splitlines() if text in line)
    address = re.findall('<a href="#([^"]+)">web-02</a>', line)
    assert len(address) == 1
    assert page[page.index(f'<article id="{address[0]}">') :].startswith(
        f'<article id="{address[0]}">\n<header><h3>web-02</h3>'
    )
    assert f"- **Warning**: {text}" in Path(run.path, "summary.md").read_text()
    assert Summary.from_json(summary.to_json()) == summary


@pytest.mark.parametrize("text", PAYLOADS, ids=range(len(PAYLOADS)))
def test_hostile_names_stay_text(text: str, tmp_path: Path) -> None:
    run = open_run(str(tmp_path), "profile", "web", "key")
    row = capture(1, 9, 9, GENTLER)
    row = replace(row, process=replace(row.process, name=text))
    run.write_host(HostRecord(text.replace("\ud800", "")[:200], "collected", captures=(row,)))
    build(run, Context())
    page = Path(run.path, "index.html").read_text()
    head = page[page.index("<dl>") : page.index("</dl>")]
    assert "errors while sampling" in head
    assert set(re.findall("<(/?[a-z]+)", head)) == {"dl", "dt", "/dt", "dd", "/dd", "a", "/a"}
    lines = Path(run.path, "summary.md").read_text().splitlines()
    assert not [line for line in lines if "while sampling" in line and re.search(r"(?<!\\)[<`\[]", line)]
