# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "collect": what hosts may send, and that a hostile one spoils its own rows and nothing else."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils import _bodies, _collect
from ansible_collections.pyspy.fleet.plugins.plugin_utils._collect import (
    _fetch,
    collect,
    require_result,
    wait_for_window,
)
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._fields import WireError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run, open_run
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Evidence, HostRecord
from hypothesis import given
from hypothesis import strategies as st

CAPTURE = (Path(__file__).parent / "captures" / "plain.speedscope.json").read_bytes()
IDENTITY = "00aa11bb22cc33dd"
HOSTILE = "../../../etc/cron.d/x\x1b[2J\x00\n"


class Host:
    """Answers ``collect`` as the host program does, in chunks of ``chunk`` bytes."""

    def __init__(self, data: bytes, chunk: int = 3 * 1024 * 1024, left: list[str] | None = None) -> None:
        self.data = data
        self.left = left
        self.chunk = chunk
        self.before: list[dict[str, Any]] = []

    def keep(self, run: Run, record: HostRecord) -> None:
        run.write_host(record)

    def ask(self, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        assert operation == "collect"
        if self.before:
            return self.before.pop(0)
        offset = arguments["offset"]
        piece = self.data[offset : offset + self.chunk]
        text = base64.b64encode(piece).decode()
        answer = {"phase": "done", "run": "r", "data": text, "next": offset + len(piece), "total": len(self.data)}
        return answer if self.left is None else {**answer, "left": self.left}


EVIDENCE: dict[str, Any] = {
    "scope": {"before": 1, "original": 1, "during": None, "after": 1, "lowered_at": None, "restored_at": None},
    "targets": [
        {"pid": 12, "state_before": "R", "tracer_before": 0, "state_after": "R", "tracer_after": 0, "note": ""}
    ],
    "notes": [],
}


def head(*captures: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"error": None, "began": 1.0, "ended": 2.0, "evidence": EVIDENCE, "captures": list(captures), **changes}


def capture(**changes: Any) -> dict[str, Any]:
    process = {
        "pid": 12,
        "start": 5,
        "user": "web",
        "name": "app",
        "role": "worker",
        "python": "3.11",
        "cpu": 9.5,
        "reason": "hot",
    }
    whole = {
        "process": {**process, **changes.pop("process", {})},
        "measure": {"kind": "cpu", "rate": 100, "blocking": False, "native": False},
        "outcome": "profiled",
        "samples": 100,
        "errors": 0,
        "began": 1.0,
        "ended": 2.0,
        "seconds": 1.0,
        "size": len(zlib.compress(CAPTURE)),
        "notes": [],
        "reason": "",
        "detail": "",
        "remedy": "",
    }
    return {**whole, **changes}


def result(first: Any, *bodies: bytes) -> bytes:
    return json.dumps(first).encode() + b"\n" + b"".join(bodies)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(str(tmp_path / "runs"), "profile", "web", "key")


def take(run: Run, data: bytes, name: str = "web1", recording: str = IDENTITY) -> HostRecord:
    return collect(Host(data), run, HostRecord(name, "recording", recording=recording))  # type: ignore[arg-type]


def tree(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_a_capture_is_taken(run):
    record = take(run, result(head(capture()), zlib.compress(CAPTURE)))
    assert record.status == "collected" and run.host("web1") == record
    (one,) = record.captures
    assert one.outcome == "profiled" and one.file == "12-app.speedscope.json"
    stored = Path(run.path, "hosts", "web1", one.file)
    assert json.loads(stored.read_bytes())["profiles"]
    assert stored.with_suffix("").with_suffix(".svg").exists()
    assert stored.with_name("host.svg").exists()


def test_earlier_captures_keep_their_files(run):
    first = take(run, result(head(capture()), zlib.compress(CAPTURE)))
    again = take(run, result(head(capture()), zlib.compress(CAPTURE)), recording="ff")
    third = take(run, result(head(capture()), zlib.compress(CAPTURE)), recording="ff")
    names = [record.captures[0].file.removesuffix(".speedscope.json") for record in (first, again, third)]
    assert names == ["12-app", "12-app-ff", "12-app-ff-2"]


def test_a_dump_in_place_of_a_recording_is_refused(run):
    dumped = {"kind": "dump", "rate": 0, "blocking": False, "native": False}
    record = take(run, result(head(capture(measure=dumped)), zlib.compress(CAPTURE)))
    assert record.captures[0].outcome == "failed" and "in place of" in record.captures[0].detail


def small(weight: float, *frames: str) -> bytes:
    """A capture of one sample: of all these functions, and this weight."""
    thread = {"type": "sampled", "name": "Thread 1", "unit": "seconds", "weights": [weight]}
    thread["samples"] = [list(range(len(frames)))]
    return json.dumps({"shared": {"frames": [{"name": name} for name in frames]}, "profiles": [thread]}).encode()


@pytest.mark.parametrize("weight", [0, 1e-9, 1e6])
def test_a_weight_that_no_rate_gives_is_a_failed_capture(run, weight):
    body = zlib.compress(small(weight, "f"))
    [one] = take(run, result(head(capture(size=len(body))), body)).captures
    assert (one.outcome, one.file) == ("failed", "") and "weight" in one.detail


@pytest.mark.parametrize("frames", [(), ("thread (7): main",)])
def test_samples_without_a_stack_are_an_empty_capture(run, frames):
    body = zlib.compress(small(0.01, *frames))
    [one] = take(run, result(head(capture(size=len(body))), body)).captures
    assert (one.outcome, one.samples, one.file) == ("empty", 0, "") and "no sample has a stack" in one.notes[-1]
    assert {path.name for path in tree(Path(run.path, "hosts"))} == {"recording.json"}


def test_a_result_comes_in_chunks(monkeypatch):
    data = result(head(), os.urandom(5000))
    host = Host(data, chunk=100)
    assert _fetch(host.ask, IDENTITY)[1] == data.partition(b"\n")[2]
    with pytest.raises(FleetError):
        _fetch(Host(data, chunk=1).ask, IDENTITY)  # one byte at a time would go on for ever


def test_a_window_that_is_still_open_is_waited_for(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(_collect.time, "sleep", slept.append)
    host = Host(result(head()), left=["keeper (PID 5)"])
    host.before = [{"phase": "recording", "run": "r", "ends_in": 2.5}, {"phase": "recording", "run": "r", "ends_in": 0}]
    assert _fetch(host.ask, IDENTITY) == (head(), b"", ["keeper (PID 5)"])
    assert slept == [2.6, 0.1]


def test_a_window_without_end_is_not(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(_collect.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(_collect.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    with pytest.raises(FleetError, match="does not end") as caught:
        _fetch(lambda _operation, _arguments: {"phase": "recording", "ends_in": 1e15}, IDENTITY)
    assert clock[0] < 3 * 3600 and caught.value.remedy


def test_a_broken_recording_fails_the_host_and_its_evidence_is_kept(run):
    error = {"reason": "ended without a result", "detail": "killed", "remedy": "record again"}
    host = Host(b"")
    host.before = [{"phase": "broken", "run": "r", "result": head(error=error), "left": []}]
    record = collect(host, run, HostRecord("web1", "recording", recording=IDENTITY))  # type: ignore[arg-type]
    assert record.status == "failed" and run.host("web1") == record
    assert record.evidence == Evidence.from_wire({**EVIDENCE, "left": []}) and record.evidence.left == ()
    with pytest.raises(FleetError, match="ended without a result") as caught:
        require_result(record)
    assert caught.value.detail and caught.value.remedy


def test_what_is_left_is_unknown_where_the_host_did_not_say(run):
    record = take(run, result(head()))
    assert record.evidence is not None and record.evidence.left is None
    require_result(record)


DONE = {"phase": "done", "data": "eA==", "next": 1, "total": 1}


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"phase": 5},
        {"phase": "\x1b[2J"},
        {"phase": "recording"},
        {"phase": "recording", "ends_in": -1},
        {"phase": "recording", "ends_in": float("nan")},
        {"phase": "recording", "ends_in": float("inf")},
        {"phase": "recording", "ends_in": "1"},
        {**DONE, "data": None},
        {**DONE, "data": ""},
        {**DONE, "data": 5},
        {**DONE, "data": ["eA=="]},
        {**DONE, "data": "not base64!"},
        {**DONE, "data": "eA=\x00="},
        {**DONE, "data": "é"},
        {**DONE, "total": -1},
        {**DONE, "total": 0},
        {**DONE, "total": 2**62},
        {**DONE, "total": 1.0},
        {**DONE, "total": True},
        {**DONE, "next": 5},
        {**DONE, "total": 5, "next": -4},
        DONE,
    ],
)
def test_an_answer_that_is_none_of_ours_is_one_clear_error(answer):
    with pytest.raises(FleetError) as caught:
        _fetch(lambda _operation, _arguments: dict(answer), IDENTITY)
    assert caught.value.reason and str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["", "..", HOSTILE, "00/..", "00\n", "A" * 8, "0" * 65, "$(id)"])
def test_a_recording_of_a_strange_name_is_not_asked_for(name):
    def ask(_operation: str, _arguments: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError("asked")

    with pytest.raises(WireError):
        _fetch(ask, name)


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"[]\n",
        b"null\n",
        b"{\n",
        b"[" * 200_000 + b"\n",
        b'{"a": ' + b"9" * 5000 + b"}\n",
        b"\xff\xfe\n",
        b" " * (5 * 1024 * 1024) + b"{}\n",
    ],
    ids=range(8),
)
def test_a_head_that_cannot_be_read(data):
    with pytest.raises(WireError):
        _fetch(Host(data).ask, IDENTITY)


def bomb(size: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(b"[" * 65536) for _block in range(size // 65536)) + packer.flush()


def first_weight(weight: bytes) -> bytes:
    return re.sub(rb'"weights":\[[^,]+', b'"weights":[' + weight, CAPTURE, count=1)


@pytest.mark.parametrize(
    ("body", "size"),
    [
        (b"", 0),
        (b"", 10**15),
        (b"not zlib", 8),
        (zlib.compress(CAPTURE)[:-5], None),
        (zlib.compress(CAPTURE), 20),
        (zlib.compress(b""), None),
        (zlib.compress(b"null"), None),
        (zlib.compress(b"[" * 500_000), None),
        (zlib.compress(b"\xff\xfe\x00"), None),
        (zlib.compress(b'{"shared": {"frames": []}, "profiles": [{"type": "sampled", "samples": [[-1]]}]}'), None),
        (zlib.compress(first_weight(b"NaN")), None),
        (zlib.compress(first_weight(b"-1")), None),
        (zlib.compress(first_weight(b"1e999")), None),
    ],
    ids=range(13),
)
def test_a_capture_that_cannot_be_read_fails_alone(run, body, size):
    bad = capture(size=len(body) if size is None else size, process={"pid": 66})
    record = take(run, result(head(capture(), bad), zlib.compress(CAPTURE), body))
    good, failed = record.captures
    assert good.outcome == "profiled" and good.file
    assert failed.outcome == "failed" and not failed.file and failed.detail and failed.remedy
    assert not list(Path(run.path).rglob("66-*"))


def test_bombs_are_cut_off_alone_and_together(run, monkeypatch):
    monkeypatch.setattr(_bodies, "MAX_CAPTURE_BYTES", 1 << 20)
    big = bomb(8 << 20)
    assert len(big) < 20_000
    record = take(run, result(head(capture(size=len(big))), big))
    assert "too large" in record.captures[0].detail
    good = zlib.compress(CAPTURE)
    monkeypatch.setattr(_collect, "MAX_UNPACKED_BYTES", len(CAPTURE) * 3 + 10)
    rows = [capture(process={"pid": number}) for number in range(1, 9)]
    record = take(run, result(head(*rows), *[good] * 8), name="web2")
    assert [one.outcome for one in record.captures] == ["profiled"] * 3 + ["failed"] * 5


def test_a_host_may_not_send_too_much(monkeypatch):
    monkeypatch.setattr(_collect, "MAX_HOST_BYTES", 1000)
    with pytest.raises(FleetError, match="too large to take over") as caught:
        _fetch(Host(b"x" * 1001).ask, IDENTITY)
    assert caught.value.remedy


def hostile_captures() -> list[dict[str, Any]]:
    return [
        capture(process={"name": HOSTILE}),
        capture(process={"name": "", "pid": 0}),
        capture(process={"name": "x" * 100_000}),
        capture(process={"name": "\udc80\u202e"}),
        capture(file="/etc/passwd"),
        capture(file="../../../escaped", notes=[HOSTILE] * 10, reason=HOSTILE, detail=HOSTILE),
        capture(process={"user": HOSTILE, "role": HOSTILE, "reason": HOSTILE, "python": HOSTILE}),
    ]


@pytest.mark.parametrize("row", hostile_captures(), ids=range(7))
@pytest.mark.parametrize("host", ["web1", "../..", HOSTILE])
def test_names_lead_nowhere_and_steer_nothing(run, tmp_path, row, host):
    before = tree(tmp_path)
    record = take(run, result(head(row, evidence={**EVIDENCE, "notes": [HOSTILE]}), zlib.compress(CAPTURE)), name=host)
    assert record.captures[0].outcome == "profiled"
    new = tree(tmp_path) - before
    assert new and all(Path(run.path) in path.parents for path in new)
    assert all(len(path.name) < 200 and path.name.isprintable() for path in new)
    for text in (record.captures[0].process.name, *record.captures[0].notes, *record.evidence.notes):
        assert text.isprintable() and len(text) <= 2000


@pytest.mark.parametrize("label", [["service", "shop"], [[], {}], [None, 1]])
def test_labels_are_not_the_hosts_to_give(run, label):
    record = take(run, result(head(capture(labels=[label])), zlib.compress(CAPTURE)))
    assert record.captures[0].labels == ()


def test_two_of_one_name_do_not_replace_each_other(run):
    first, second = capture(), capture()
    record = take(run, result(head(first, second), *[zlib.compress(CAPTURE)] * 2))
    assert len({one.file for one in record.captures}) == 2
    host = Host(result(head(first), zlib.compress(CAPTURE)))
    again = collect(host, run, replace(record, recording="ff"))  # type: ignore[arg-type]
    assert len({one.file for one in again.captures}) == 3


def test_segments_of_one_target_have_names_that_say_so(run):
    rows = [capture(segment=number) for number in (1, 2, 3, 3, 3)]
    record = take(run, result(head(*rows), *[zlib.compress(CAPTURE)] * 5))
    names = [one.file.removesuffix(".speedscope.json") for one in record.captures]
    assert names[1:4] == [names[0] + end for end in ("-2", "-3", "-3-" + IDENTITY)] and len(set(names)) == 5
    assert all((Path(run.path) / "hosts" / "web1" / (name + ".svg")).exists() for name in names)


@pytest.mark.parametrize(
    "change",
    [
        {"size": -1},
        {"size": 1.5},
        {"size": "1"},
        {"size": 2**63},
        {"samples": -1},
        {"began": float("nan")},
        {"seconds": float("inf")},
        {"outcome": "owned"},
        {"measure": None},
        {"measure": {"kind": "owned", "rate": 1, "blocking": False, "native": False}},
        {"process": {"pid": "12"}},
        {"process": {"pid": -1}},
        {"process": {"cpu": float("nan")}},
        {"notes": "text"},
        {"notes": [1]},
        {"notes": ["x"] * 6000},
        {"labels": "text"},
        {"labels": ["ab"]},
    ],
)
def test_a_row_that_is_none_of_ours_is_refused_whole(run, change):
    with pytest.raises(WireError) as caught:
        take(run, result(head(capture(**change)), zlib.compress(CAPTURE)))
    assert str(caught.value).isprintable()
    assert run.host("web1") is None and not list(Path(run.path).rglob("*.speedscope.json"))


@pytest.mark.parametrize(
    "change",
    [
        {"began": None},
        {"ended": -1},
        {"began": 1e18},
        {"evidence": "text"},
        {"evidence": {}},
        {"captures": {}},
        {"captures": [None]},
        {"captures": [{}] * 6000},
        {"error": "text"},
        {"error": {"reason": 5}},
    ],
)
def test_a_head_of_other_types_is_refused(run, change):
    with pytest.raises(WireError):
        take(run, result(head(**change)))


def test_a_recording_that_failed_says_why(run):
    error = {"reason": "py-spy is gone", "detail": HOSTILE, "remedy": "record again"}
    record = take(run, result(head(error=error)))
    assert record.status == "failed" and record.error is not None and record.error.reason == "py-spy is gone"
    assert record.error.detail.isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(sorted(head())) | st.sampled_from(sorted(capture())), inner, max_size=6)
    ),
    max_leaves=20,
)


@given(JSON, st.binary(max_size=100))
def test_any_result_is_a_record_or_a_fleet_error(tmp_path_factory, first, rest):
    folder = tmp_path_factory.mktemp("any")
    run = open_run(str(folder / "runs"), "profile", "web", "key")
    try:
        take(run, result(first, rest))
    except FleetError as error:
        assert str(error)
    assert {path.name for path in folder.iterdir()} == {"runs"}


@given(st.dictionaries(st.sampled_from(["phase", "ends_in", "data", "next", "total", "run"]), JSON))
def test_any_answer_is_taken_or_refused(answer):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_collect.time, "sleep", lambda _seconds: None)
        with pytest.raises(FleetError):
            _fetch(lambda _operation, _arguments: dict(answer), IDENTITY)


def test_a_window_that_is_over_is_not_waited_for(run, monkeypatch):
    def sleep(_seconds: float) -> None:
        raise AssertionError("slept")

    monkeypatch.setattr(_collect.time, "sleep", sleep)
    wait_for_window(run, time.time() - 1)


def test_waiting_is_announced_once_and_ctrl_c_still_interrupts(run, monkeypatch, capsys, tmp_path):
    def interrupt(_seconds: float) -> None:
        os.kill(os.getpid(), 2)

    terminal = tmp_path / "terminal"
    monkeypatch.setattr(_collect, "_terminal", lambda: os.open(terminal, os.O_WRONLY | os.O_APPEND | os.O_CREAT))
    monkeypatch.setattr(_collect.time, "sleep", interrupt)
    # Who starts these tests in the background has them ignore it, as nohup does.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for _host in range(2):
            with pytest.raises(KeyboardInterrupt):
                wait_for_window(run, time.time() + 30)
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().out.count("The window is open until") == 1
    told = terminal.read_text()
    assert told.count("Interrupted: ") == 1 and run.name in told and "pyspy_cleanup_force" in told
