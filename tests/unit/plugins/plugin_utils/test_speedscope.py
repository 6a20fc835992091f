# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the speedscope format, on captures that py-spy 0.4.3 wrote (paths made plain afterwards)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._fields import printable
from ansible_collections.pyspy.fleet.plugins.plugin_utils._formats import _pprof, _pprof_reader
from ansible_collections.pyspy.fleet.plugins.plugin_utils._formats._speedscope import (
    Document,
    ThreadSamples,
    parse,
    profile,
    write,
)
from ansible_collections.pyspy.fleet.plugins.plugin_utils._profile import Frame
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Measure
from hypothesis import given
from hypothesis import strategies as st

CAPTURES = Path(__file__).parent / "captures"
MEASURE = Measure("cpu", 50.0, False, False)


def capture(name: str) -> bytes:
    return (CAPTURES / f"{name}.speedscope.json").read_bytes()


@pytest.mark.parametrize(("name", "samples"), [("plain", 136), ("wall", 147), ("sub", 121), ("native", 56)])
def test_real_captures_hold_the_samples_that_py_spy_counted(name: str, samples: int) -> None:
    result = profile(parse(capture(name)), MEASURE)
    assert result.samples == samples
    assert result.seconds == pytest.approx(samples / 50)


def test_threads_become_an_attribute() -> None:
    result = profile(parse(capture("wall")), MEASURE)
    assert {stack.thread for stack in result.stacks} == {"MainThread", "sleeper", 'pool;"1"'}
    assert {stack.process for stack in result.stacks} == {0}


def test_subprocesses_become_an_attribute_and_made_up_frames_vanish() -> None:
    result = profile(parse(capture("sub")), MEASURE)
    assert {stack.process for stack in result.stacks} == {6930, 6936}
    assert not [frame for stack in result.stacks for frame in stack.frames if not frame.file]


def test_what_is_no_pid_can_be_stored_and_read_again() -> None:
    """A host may send any name; a stored profile that cannot be read would be in the way of all later rounds."""
    threads = tuple(
        ThreadSamples(f'Process {pid} Thread 0x1 "main"', ((0,),), (0.02,)) for pid in ("1" * 10, "1" * 11, "\u0663")
    )
    one = profile(Document((Frame("main", "/a.py", 1),), threads), MEASURE)
    assert {stack.process for stack in one.stacks} == {int("1" * 10), 0} and one.samples == 3
    assert _pprof_reader.profile(_pprof.write([_pprof.Part(one, ())]), MEASURE) == one


def test_command_lines_do_not_survive_reading() -> None:
    data = capture("sub")
    assert b"hunter2" in data
    assert b"hunter2" not in write(parse(data))
    assert "hunter2" not in str(profile(parse(data), MEASURE))


def test_written_file_has_what_speedscope_wants() -> None:
    content = json.loads(write(parse(capture("plain")), "fleet"))
    assert content["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    assert content["name"] == "fleet"
    for thread in content["profiles"]:
        assert thread["type"] == "sampled"
        assert thread["endValue"] == pytest.approx(sum(thread["weights"]))


def sound() -> dict[str, Any]:
    thread = {"type": "sampled", "name": "a", "unit": "seconds", "samples": [[0, 1]], "weights": [0.01]}
    frames = [{"name": "f", "file": "a.py", "line": 1}, {"name": "g"}]
    return {"shared": {"frames": frames}, "profiles": [thread]}


def test_a_small_document_is_read() -> None:
    document = parse(json.dumps(sound()).encode())
    assert document.frames == (Frame("f", "a.py", 1), Frame("g", "", 0))
    assert document.threads == (ThreadSamples("a", ((0, 1),), (0.01,)),)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("shared", None),
        ("shared", []),
        ("shared.frames", {}),
        ("shared.frames.0", "f"),
        ("shared.frames.0.name", 1),
        ("shared.frames.0.file", 1),
        ("shared.frames.0.line", -1),
        ("shared.frames.0.line", True),
        ("shared.frames.0.line", 2**40),
        ("profiles", None),
        ("profiles.0", []),
        ("profiles.0.type", "evented"),
        ("profiles.0.unit", "bytes"),
        ("profiles.0.name", None),
        ("profiles.0.samples", [[2]]),
        ("profiles.0.samples", [[-1]]),
        ("profiles.0.samples", [[True]]),
        ("profiles.0.samples", [[0.0]]),
        ("profiles.0.samples", [0]),
        ("profiles.0.samples", [[0] * 10_001]),
        ("profiles.0.samples", []),
        ("profiles.0.weights", [float("nan")]),
        ("profiles.0.weights", [float("inf")]),
        ("profiles.0.weights", [-0.01]),
        # No rate of py-spy's gives these: nothing weighs nothing, and nothing outweighs the rest of the fleet.
        ("profiles.0.weights", [0]),
        ("profiles.0.weights", [1e-12]),
        ("profiles.0.weights", [86400]),
        ("profiles.0.weights", [10**400]),
        ("profiles.0.weights", [True]),
        ("profiles.0.weights", ["1"]),
        ("profiles.0.weights", [0.01, 0.01]),
    ],
)
def test_one_wrong_field_is_refused(path: str, value: object) -> None:
    content: Any = sound()
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    inner = content
    for part in parents:
        inner = inner[part]
    inner[last] = value
    with pytest.raises(FleetError) as caught:
        parse(json.dumps(content).encode())
    assert caught.value.reason and caught.value.detail and caught.value.remedy


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[" * 100_000, b"null", b'{"a":', b"9" * 5000])
def test_what_is_not_such_a_document_is_refused(data: bytes) -> None:
    with pytest.raises(FleetError):
        parse(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(sorted(sound())), inner),
    max_leaves=20,
)


@given(JSON)
def test_arbitrary_json_raises_nothing_else(value: object) -> None:
    try:
        parse(json.dumps(value).encode())
    except FleetError as error:
        assert str(error).isprintable()


@given(JSON, st.sampled_from(["frames", "profiles", "thread", "samples", "weights"]))
def test_arbitrary_json_inside_a_document_raises_nothing_else(value: object, where: str) -> None:
    content = sound()
    if where == "frames":
        content["shared"]["frames"] = value
    elif where == "profiles":
        content["profiles"] = value
    elif where == "thread":
        content["profiles"][0] = value
    else:
        content["profiles"][0][where] = value
    try:
        profile(parse(json.dumps(content).encode()), MEASURE)
    except FleetError as error:
        assert str(error).isprintable()


NAMES = st.text(max_size=30).map(printable)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    frames = draw(st.lists(st.builds(Frame, NAMES, NAMES, st.integers(0, 2**31 - 1)), min_size=1, max_size=5))
    stack = st.lists(st.integers(0, len(frames) - 1), max_size=5).map(tuple)
    threads = []
    for samples in draw(st.lists(st.lists(stack, max_size=5), max_size=3)):
        weights = draw(st.lists(st.floats(0.001, 1), min_size=len(samples), max_size=len(samples)))
        threads.append(ThreadSamples(draw(NAMES), tuple(samples), tuple(weights)))
    return Document(tuple(frames), tuple(threads))


@given(documents())
def test_what_is_written_is_read_again(document: Document) -> None:
    assert parse(write(document)) == document
