# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of what is told of all targets together before a picture is believed."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._cautions import cautions
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Capture, Harm, HostRecord, Measure, Process

HARM = Harm(None, None, 0.0, 0.0, 0, None, None)
PLAN = "{} Hz instead of 100: reading 41 threads with {} frames takes too long"


def capture(pid: int, notes: tuple[str, ...] = (), errors: int = 0, stopped: float = 0.0, **changes: object) -> Capture:
    process = Process(pid, 1, "web", "api", "worker", "3.11", 90.0, "hot")
    made = Capture(process, Measure("cpu", 100, False, False), "profiled", 900, errors, 0.0, 10.0, 10.0, 1)
    harm = dataclasses.replace(HARM, stopped=stopped)
    return dataclasses.replace(made, notes=notes, harm=harm, **changes)  # type: ignore[arg-type]


def record(host: str, *captures: Capture) -> HostRecord:
    return dataclasses.replace(HostRecord(host, "collected", ()), captures=captures)


@pytest.mark.parametrize(
    ("captures", "lines"),
    [
        ((capture(1), capture(2, errors=9)), []),
        (
            (capture(1, errors=100), capture(2, errors=30), capture(3)),
            ["2 of 3 targets: samples that could not be read; at worst 100 of 1000, web-01 api (pid 1)"],
        ),
        ((capture(1, stopped=5.0),), []),
        (
            (capture(1, stopped=6.0), capture(2, stopped=18.4)),
            ["2 of 2 targets: slowed, stopped for sampling; at worst 18 %, web-01 api (pid 2)"],
        ),
        (
            (capture(1, notes=(PLAN.format(76, 650),)), capture(2, notes=(PLAN.format(23, 2100),)), capture(3)),
            ["2 of 3 targets: " + PLAN.format(76, 650)],
        ),
        ((capture(1, errors=500, outcome="failed", reason="py-spy hung"),), []),
        ((capture(1, errors=3, measure=Measure("dump", 0, False, False)),), []),
        # Segments of one target are one target.
        (
            (capture(1, stopped=20.0), capture(1, segment=2)),
            ["1 of 1 target: slowed, stopped for sampling; at worst 20 %, web-01 api (pid 1)"],
        ),
    ],
)
def test_what_is_told(captures: tuple[Capture, ...], lines: list[str]) -> None:
    assert cautions([record("web-01", *captures)]) == lines


def test_the_commonest_remarks_come_first_and_not_all_of_them() -> None:
    notes = [f"remark {letter}" for letter in "abcdefgh"]
    lines = cautions([record("web-01", capture(1, tuple(notes)), capture(2, (notes[7],)))])
    assert lines[0] == "2 of 2 targets: remark h" and len(lines) == 7
    assert lines[6] == "2 other remarks: in the rows of the targets below"
