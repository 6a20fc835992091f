# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "passes": what a run knows of a host after several passes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._fields import MAX_ROWS
from ansible_collections.pyspy.fleet.plugins.plugin_utils._passes import evidence, joined
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import (
    Capture,
    ErrorText,
    Evidence,
    HostRecord,
    Measure,
    Process,
    Scope,
    Selection,
    Trace,
)


def process(pid: int, reason: str = "hot") -> Process:
    return Process(pid, pid, "web", "app", "worker", "3.11", 1.0, reason)


def capture(pid: int, kind: str = "dump") -> Capture:
    return Capture(process(pid), Measure(kind, 0, False, False), "profiled", 3, 0, 1.0, 2.0, 1.0, 9, file=f"{pid}.json")


def record(pid: int, kind: str = "dump", status: str = "collected", **more: object) -> HostRecord:
    selection = Selection((process(pid),), (process(pid + 1, "not named"),), (f"note {pid}",), 2)
    whole = HostRecord("web1", status, ("web",), "", float(pid), pid + 1.0, selection, (capture(pid, kind),))
    return replace(whole, **more)  # type: ignore[arg-type]


ERROR = ErrorText("The host cannot be reached", "Connection timed out", "see that ssh works")
NOTHING = HostRecord("web1", "nothing")
LOST = HostRecord("web1", "unreachable", error=ERROR)


def test_a_first_pass_goes_by_itself() -> None:
    assert joined(None, record(1)) == record(1)


def test_nothing_of_an_earlier_pass_is_lost() -> None:
    earlier = record(
        1,
        warnings=("one",),
        facts=(("a", "1"), ("b", "2")),
        labels=(("version", "1"), ("zone", "eu")),
        binary_changed=True,
    )
    both = joined(earlier, record(2, "cpu", warnings=("one", "two"), facts=(("b", "3"),), labels=(("version", "2"),)))
    assert both.captures == (capture(1), capture(2, "cpu"))
    assert both.warnings == ("one", "two") and dict(both.facts) == {"a": "1", "b": "3"} and both.binary_changed
    assert dict(both.labels) == {"version": "2", "zone": "eu"}
    assert (both.began, both.ended, both.status) == (1.0, 3.0, "collected")
    # 2 was skipped at first and chosen then: it is a target.
    assert both.selection.targets == (process(1), process(2))
    assert both.selection.skipped == (process(3, "not named"),) and both.selection.considered == 3
    assert both.selection.notes == ("note 1", "note 2")


@pytest.mark.parametrize(
    ("earlier", "later", "status"),
    [
        (record(1), NOTHING, "collected"),
        (NOTHING, NOTHING, "nothing"),
        (record(1), HostRecord("web1", "opted_out"), "collected"),
        (record(1), LOST, "unreachable"),
        (LOST, record(1), "collected"),
        (LOST, NOTHING, "nothing"),
        (NOTHING, record(1), "collected"),
        (record(1), record(2, status="recording", recording="ab"), "recording"),
        (record(1, status="recording", recording="ab"), record(2), "recording"),
        (record(1, status="recording", recording="ab"), record(2, recording="ab"), "collected"),
        (record(1, status="recording", recording="ab"), LOST, "unreachable"),
    ],
)
def test_the_status_of_both(earlier: HostRecord, later: HostRecord, status: str) -> None:
    both = joined(earlier, later)
    assert both.status == status and both.captures == earlier.captures + later.captures
    assert both.recording == (later.recording or earlier.recording)
    assert HostRecord.from_wire(both.to_json()) == both


def test_an_earlier_failure_is_not_forgotten() -> None:
    both = joined(LOST, record(1))
    assert both.error is None and "an earlier pass failed: The host cannot be reached: Conn" in both.warnings[0]


def test_it_was_put_back_where_all_passes_put_it_back() -> None:
    first = Evidence(Scope(1, 1, 0, 1, 10.0, 20.0), (Trace(1, "S", 0, "S", 0),), ("a",), ("keeper",))
    second = Evidence(Scope(1, 1, None, 2), (Trace(2, "S", 0, "T", 0),), ("a", "b"), ())
    both = evidence(first, second)
    assert both == Evidence(Scope(1, 1, 0, 2, 10.0, 20.0), first.targets + second.targets, ("a", "b"), ("keeper",))
    assert evidence(first, None) == evidence(None, first) == first and evidence(None, None) is None
    unseen = evidence(replace(first, left=None), second)
    assert unseen is not None and unseen.left is None


def test_lists_stay_readable() -> None:
    many = Selection(skipped=tuple(process(pid) for pid in range(MAX_ROWS)))
    others = Selection(skipped=tuple(process(pid) for pid in range(MAX_ROWS, 2 * MAX_ROWS)))
    both = joined(replace(NOTHING, selection=many), replace(NOTHING, selection=others))
    assert HostRecord.from_wire(both.to_json()) == both
