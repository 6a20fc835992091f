# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Evidence: "restored" is said of what was read back as before, and of nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._evidence import doubts, exposed, exposure_text, lines
from ansible_collections.pyspy.fleet.plugins.plugin_utils._summary import Summary, count
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Evidence, HostRecord, Scope, Trace

RUNNING = Trace(1, "R", 0, "S", 0)
GOOD = Evidence(Scope(1, 1, 0, 1, 100.0, 106.5), (RUNNING,), (), ())


def record(evidence: Evidence | None, host: str = "web1", status: str = "collected") -> HostRecord:
    return HostRecord(host, status, recording="ab", evidence=evidence)


@pytest.mark.parametrize(
    "evidence",
    [
        GOOD,
        Evidence(Scope(), (), (), ()),  # no Yama
        Evidence(Scope(0, 1, 0, 1), (), (), ()),  # somebody else had it lowered when we came
        replace(GOOD, targets=(Trace(1, "T", 0, "T", 0),)),  # stopped before us
        replace(GOOD, targets=(Trace(1, "S", 77, "S", 77),)),  # a debugger's
        replace(GOOD, targets=(Trace(1, "R", 0, "", 0, "ended in the window"),)),
    ],
    ids=["lowered and raised", "no Yama", "two runs", "stopped before", "traced before", "ended"],
)
def test_what_is_as_before_is_restored(evidence: Evidence) -> None:
    assert doubts(record(evidence)) == []


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (None, "nothing was read back"),
        (replace(GOOD, left=None), "was not read back"),
        (replace(GOOD, left=("keeper (PID 5)",)), "left behind: keeper (PID 5)"),
        (replace(GOOD, scope=Scope(1, 1, 0, 0, 100.0, None)), "ptrace_scope is 0 and was 1"),
        (replace(GOOD, scope=Scope(1, 1, 0, None, 100.0, None)), "ptrace_scope is unknown and was 1"),
        (
            replace(GOOD, scope=Scope(1, 1, 2, 2), notes=("somebody else set it to 2; left alone",)),
            "ptrace_scope is 2 and was 1; somebody else set it to 2",
        ),
        (replace(GOOD, targets=(RUNNING, Trace(2, "S", 0, "t", 9))), "PID 2 is stopped (state t)"),
        (replace(GOOD, targets=(Trace(2, "S", 0, "S", 9),)), "PID 2 is traced by process 9"),
        (replace(GOOD, targets=(Trace(2, "", 0, "T", 0),)), "PID 2 is stopped"),
    ],
)
def test_anything_else_is_said(evidence: Evidence | None, words: str) -> None:
    assert any(words in doubt for doubt in doubts(record(evidence)))


def test_what_was_opened_is_said_with_its_length() -> None:
    other = replace(GOOD, scope=Scope(1, 1, 0, 1, 50.0, 51.0))
    untouched = replace(GOOD, scope=Scope(1, 1, None, 1))
    assert [exposed(record(one)) for one in (GOOD, other, untouched, None)] == [6.5, 1.0, None, None]
    text = exposure_text([record(GOOD), record(other), record(untouched)])
    assert "lowered on 2 hosts for 6.5 s at most" in text and "attach" in text
    assert exposure_text([record(untouched), record(None)]) == ""


def test_the_lines_for_people() -> None:
    assert lines(None) == []
    found = lines(replace(GOOD, left=("a", "b"), notes=("n",)))
    assert found[0].startswith("ptrace_scope: 1 before, 0 in the window, 1 after (") and "read back" in found[0]
    assert found[1:] == ["PID 1: state R before, S after, tracer none", "ptrace_scope: n", "left behind: a, b"]
    assert lines(replace(GOOD, scope=Scope(2, 2, None, 2)))[0].endswith("not touched by this recording")
    assert lines(Evidence(left=())) == ["ptrace_scope: no Yama in this kernel", "left behind: no process and no file"]


def test_the_summary_counts_the_restored_and_names_the_others() -> None:
    bad = replace(GOOD, left=("keeper (PID 5)",))
    records = [record(GOOD), record(bad, "web2"), record(None, "web3", "recording"), HostRecord("web4", "nothing")]
    summary = count(Summary("profile", "", "", "runs/x"), records, [one.host for one in records])
    assert (summary.started, summary.restored) == (3, 1)
    text = "\n".join(summary.lines(200))
    assert "Restored  1 of 3 hosts" in text and "web2: left behind: keeper (PID 5)" in text
    assert "Exposed" in text and "web3: nothing was read back" not in text
    assert Summary.from_json(summary.to_json()) == summary


def test_where_nothing_was_started_nothing_is_restored() -> None:
    summary = count(Summary("profile", "", "", "runs/x"), [HostRecord("web4", "nothing")], ["web4"])
    assert "Restored" not in "\n".join(summary.lines())
