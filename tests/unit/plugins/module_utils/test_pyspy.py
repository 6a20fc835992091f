# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "pyspy": its command line and its words as py-spy 0.4.3 has them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._plan import Options, plan
from ansible_collections.pyspy.fleet.plugins.module_utils._pyspy import (
    SYMPTOMS,
    Counts,
    counts,
    diagnose,
    parse_dump,
    record_arguments,
    remarks,
    without_command_lines,
)
from hypothesis import given
from hypothesis import strategies as st

CAPTURES = Path(__file__).parents[1] / "plugin_utils" / "captures"
GONE = "Error: Failed to get process executable name. Check that the process is running.\n"
NATIVE = "Error: Collecting stack traces from native extensions (`--native`) is not supported on your platform.\n"

#: What py-spy printed, and words of what that means.
WORDS = [
    (GONE + "Reason: No such file or directory (os error 2)\n", "ended before it could be attached to"),
    (GONE + "Reason: Permission denied (os error 13)\n", "refused by the kernel"),
    ("Permission Denied: Try running again with elevated permissions by going 'sudo env'\n", "refused"),
    ("Error: Permission denied (os error 13)\n", "refused by the kernel"),
    (
        "Error: Permission denied (os error 13)\n"
        "It looks like you are running in a docker container. Please make sure to start your container with\n",
        "inside this container",
    ),
    ("Error: No python processes found in process 12 or any of its subprocesses\n", "below the target"),
    ("Error: Failed to suspend process\nReason: EPERM: Operation not permitted\n", "another tracer"),
    ("Error: Failed to suspend process\nReason: something else\n", "could not be stopped"),
    ("Error: unexpected waitpid result for 12 : Stopped(Pid(12), SIGSTOP)\n", "is stopped"),
    ("Error: Failed to find python version from target process\n", "no Python interpreter was recognised"),
    ("Error: Unsupported version of Python: 3.99.0\n", "newer than this py-spy"),
    ("Error: Failed to find a python interpreter in the .data section\n", "cannot be read"),
    (NATIVE, "on this architecture"),
    ("Error: Invalid argument (os error 22)\n", "another word size"),
    ("Error: No such file or directory (os error 2)\n", "ended before it could be attached to"),
    ("starting py-spy failed: [Errno 13] Permission denied: '/proc/self/fd/7'\n", "as the user that it was to run as"),
    ("entering namespaces failed: [Errno 2] mounting /proc: No such file or directory\n", "could not be entered"),
    ("Error: File too large (os error 27)\n", "grew too large"),
]


@pytest.mark.parametrize(("words", "meaning"), WORDS)
def test_each_symptom_has_a_meaning_its_own_words_and_a_remedy(words, meaning):
    error = diagnose("exit code 1", "py-spy> Sampling process 100 times a second. Press Control-C to exit.\n", words)
    assert meaning in error.reason
    assert words.splitlines()[0] in error.detail and "Press Control-C" not in error.detail
    assert error.remedy


def test_every_row_of_the_table_can_be_reached():
    """A row below a more general one would never be found."""
    reached = {diagnose("exit code 1", "", words).reason for words, _meaning in WORDS}
    reached.add(diagnose("exit code 1", "", GONE).reason)
    assert reached == {symptom.reason for symptom in SYMPTOMS}


def test_an_unknown_end_is_told_as_it_was():
    assert diagnose("signal 9", "", "").detail == "py-spy ended with signal 9 and said nothing"
    error = diagnose("exit code 101", "", "thread 'main' panicked at src/main.rs:1\n")
    assert "exit code 101" in error.reason and "panicked" in error.detail and error.remedy


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_words_give_an_error_of_bounded_length(stdout, stderr):
    error = diagnose("exit code 1", stdout, stderr)
    assert error.reason and error.detail and len(error.detail) <= 500


@pytest.mark.parametrize(
    ("wish", "present", "absent"),
    [
        ({}, ["--nonblocking"], ["--native", "--gil", "--idle", "--subprocesses", "--function"]),
        ({"native": True}, ["--native"], ["--nonblocking"]),
        ({"gil": True}, ["--gil", "--nonblocking"], ["--idle"]),
        ({"idle": True}, ["--idle", "--nonblocking"], ["--gil"]),
        ({"subprocesses": True, "function": True}, ["--subprocesses", "--function"], []),
        ({"nonblocking": False}, [], ["--nonblocking"]),
    ],
)
def test_arguments(wish, present, absent):
    arguments = record_arguments(plan(Options.from_wire({"rate": 50, **wish})), 12, "/proc/self/fd/7", 30)
    assert arguments[:7] == ["record", "--pid", "12", "--format", "speedscope", "--output", "/proc/self/fd/7"]
    assert arguments[arguments.index("--rate") + 1] == "50"
    assert arguments[arguments.index("--duration") + 1] == "35", "py-spy's own end is a net behind the window's"
    assert "--full-filenames" in arguments
    assert set(present) <= set(arguments) and not set(absent) & set(arguments)


@pytest.mark.parametrize(
    ("stdout", "expected"),
    [
        ("py-spy> Wrote speedscope file to 'x'. Samples: 94 Errors: 0\n", Counts(94, 0)),
        ("py-spy> Samples: 1 Errors: 2\nSamples: 18 Errors: 92", Counts(18, 92)),
        ("py-spy> Sampling process 100 times a second.", None),
        ("", None),
        ("Samples: x Errors: 1", None),
    ],
)
def test_counts(stdout, expected):
    assert counts(stdout) == expected


def test_remarks():
    assert remarks("", Counts(10, 0)) == []
    ended = "py-spy> Stopped sampling because process exited\n"
    assert remarks(ended, Counts(10, 0)) == ["the target ended in the window"]
    assert "fell behind" in remarks("1.10s behind in sampling, results may be inaccurate.", Counts(10, 0))[0]
    assert remarks("", Counts(18, 92)) == ["92 of 110 attempts to read a stack failed"]


def test_command_lines_are_cut_from_a_real_capture():
    before = (CAPTURES / "sub.speedscope.json").read_bytes()
    assert b"hunter2" in before
    after = json.loads(without_command_lines(before))
    names = [frame["name"] for frame in after["shared"]["frames"]]
    assert "process 6930" in names and not any("/srv" in name or "hunter2" in name for name in names)
    expected = json.loads(before)
    for frame in expected["shared"]["frames"]:
        if frame["name"].startswith("process "):
            frame["name"] = frame["name"].partition(":")[0]
    assert after == expected


@given(st.text(), st.text(), st.integers(1, 2**22))
def test_no_command_line_survives_and_nothing_else_changes(command, name, pid):
    """As serde writes it: whatever the command line holds, quotation marks and line ends included."""
    frames = [{"name": f'process {pid}:"{command}"'}, {"name": name if not name.startswith("process") else ""}]
    profile = {"name": f'Process {pid} Thread 1 "{command}"'}
    for separators in ((",", ":"), (", ", ": ")):
        document = json.dumps({"profiles": [profile], "shared": {"frames": frames}}, separators=separators)
        after = json.loads(without_command_lines(document.encode()))
        assert after["shared"]["frames"] == [{"name": f"process {pid}"}, frames[1]]
        assert after["profiles"] == [profile]


def test_a_dump_gives_threads_with_their_depth():
    rows = [{"os_thread_id": 7, "frames": [{"name": "f"}, {"name": "g"}]}, {"os_thread_id": None, "frames": []}]
    assert parse_dump(json.dumps(rows).encode()) == ((7, 2), (None, 0))


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'[{"frames": 3}]', b'[{"frames": [', b"\xff"])
def test_what_is_no_dump_is_refused(data):
    with pytest.raises(ValueError):
        parse_dump(data)
