# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of what is taken over from hosts."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._fields import (
    LATEST,
    MAX_ROWS,
    MAX_TEXT,
    Fields,
    WireError,
    printable,
)
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import (
    Capture,
    ErrorText,
    Evidence,
    Harm,
    HostRecord,
    Measure,
    Process,
    Scope,
    Selection,
    Trace,
)
from hypothesis import given
from hypothesis import strategies as st

PROCESS = Process(4711, 99, "www-data", "gunicorn: worker [shop]", "worker", "3.11", 97.5, "hot: 97 % CPU")
CAPTURE = Capture(
    PROCESS,
    Measure("cpu", 100, False, False),
    "profiled",
    2991,
    1,
    1e9,
    1e9 + 30,
    30.0,
    512,
    ("note",),
    file="a.json",
    attach="as user web",
    segment=2,
    harm=Harm(41, 2050, 12.5, 3.0, 2, None, 87.0),
    command_line=("python3", "--token", "(redacted)"),
    labels=(("version", "2.13"),),
)
RECORD = HostRecord(
    host="web-01",
    status="collected",
    groups=("web",),
    recording="ab12",
    began=1e9,
    ended=1e9 + 30,
    selection=Selection((PROCESS,), (PROCESS,), ("no selector",)),
    captures=(CAPTURE,),
    evidence=Evidence(Scope(1, 1, 0, 1, 1e9, 1e9 + 30), (Trace(4711, "S", 0, "R", 0, "a note"),), ("note",), ()),
    warnings=("clock is off",),
    facts=(("kernel", "6.1"),),
    labels=(("version", "2.14"), ("zone", "eu")),
    binary_changed=True,
    error=ErrorText("a", "b", "c"),
)


@pytest.mark.parametrize("record", [RECORD, HostRecord("web-02", "nothing")])
def test_a_record_survives_the_way_through_json(record: HostRecord) -> None:
    assert HostRecord.from_wire(json.loads(json.dumps(record.to_json()))) == record


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("host", None),
        ("status", "fine"),
        ("groups", "web"),
        ("groups", [1]),
        ("began", "now"),
        ("began", -1),
        ("began", float("nan")),
        ("began", float("inf")),
        # Nanoseconds since the epoch have to fit into a file that Go reads.
        ("began", 1e18),
        ("ended", 2**33),
        ("captures.0.began", 1e18),
        ("captures.0.ended", 1e18),
        ("captures.0.measure.rate", 1e18),
        ("captures.0.measure.rate", 1001),
        ("captures.0.measure.rate", 99.5),
        ("captures.0.measure.rate", 0),
        ("binary_changed", 1),
        ("facts", []),
        ("facts", {str(number): "" for number in range(MAX_ROWS + 1)}),
        ("warnings", [""] * (MAX_ROWS + 1)),
        ("error", "broken"),
        ("error.reason", None),
        ("selection", None),
        ("selection.targets", {}),
        ("selection.targets.0.pid", -1),
        ("selection.targets.0.pid", True),
        ("selection.targets.0.pid", 2**63),
        ("selection.targets.0.cpu", "97"),
        ("captures.0.outcome", "fine"),
        ("evidence", []),
        ("evidence.scope", None),
        ("evidence.scope.after", "1"),
        ("evidence.scope.lowered_at", -1),
        ("evidence.scope.restored_at", 1e18),
        ("evidence.targets.0.pid", None),
        ("evidence.targets.0.state_after", 1),
        ("evidence.left", "nothing"),
        ("evidence.left", [1]),
        ("captures.0.measure.kind", "luck"),
        ("captures.0.samples", 1.5),
        ("captures.0.segment", "two"),
        ("captures.0.harm", 1),
        ("captures.0.harm.stopped", -1),
        ("captures.0.harm.threads", "many"),
        ("captures.0.command_line", "python3 app.py"),
        ("captures.0.command_line", [1]),
    ],
)
def test_one_wrong_field_is_refused(path: str, value: object) -> None:
    content: Any = json.loads(json.dumps(RECORD.to_json()))
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    inner = content
    for part in parents:
        inner = inner[part]
    inner[last] = value
    with pytest.raises(WireError):
        HostRecord.from_wire(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(sorted(RECORD.to_json())), inner),
    max_leaves=20,
)


@given(JSON, st.sampled_from(["", *RECORD.to_json()]))
def test_arbitrary_json_raises_nothing_else(value: Any, name: str) -> None:
    try:
        HostRecord.from_wire({**RECORD.to_json(), name: value} if name else value)
    except WireError as error:
        assert str(error).isprintable()


@pytest.mark.parametrize("rate", [1, 76, 1000.0])
def test_any_rate_that_can_be_asked_for_is_taken(rate: float) -> None:
    data = {"kind": "gil", "rate": rate, "blocking": False, "native": False}
    assert Measure.from_wire(data) == Measure("gil", rate, False, False)


def test_a_dump_has_no_rate() -> None:
    data = {"kind": "dump", "rate": 0, "blocking": False, "native": False}
    assert Measure.from_wire(data).rate == 0
    with pytest.raises(WireError):
        Measure.from_wire({**data, "rate": 100})


def test_the_last_moment_that_is_taken_fits_into_pprof() -> None:
    """Its times are nanoseconds in 63 bits, and for one that is not Go refuses the file of the whole fleet."""
    last = math.nextafter(LATEST, 0)
    assert Fields({"at": last}, "test").moment("at") == last and round(last * 1e9) < 2**63
    with pytest.raises(WireError, match="bad field"):
        Fields({"at": LATEST}, "test").moment("at")


def test_a_command_line_is_redacted_as_it_is_read() -> None:
    data: Any = json.loads(json.dumps(RECORD.to_json()))
    words = ["python3", "app.py", "--password", "hunter2", "https://a:hunter2@db/x", "x" * 5000 + " hunter2"]
    data["captures"][0]["command_line"] = words + ["more"] * 1000
    [capture] = HostRecord.from_wire(data).captures
    assert capture.command_line is not None and capture.command_line[3] == "(redacted)"
    assert "hunter2" not in str(capture) and len(capture.command_line) == 200
    data["captures"][0]["command_line"] = None
    assert HostRecord.from_wire(data).captures[0].command_line is None


def test_text_is_cut_and_made_printable() -> None:
    data = {**RECORD.to_json(), "warnings": ["\x1b[2J\n" + "x" * 5000], "facts": {"a\x07": "b\r"}}
    record = HostRecord.from_wire(data)
    assert record.warnings == (("?[2J?" + "x" * 5000)[:MAX_TEXT],)
    assert record.facts == (("a?", "b?"),)


@given(st.text())
def test_printable_text_is_printable_and_as_long(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)
