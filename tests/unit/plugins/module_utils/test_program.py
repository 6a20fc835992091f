# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "program": whatever comes in, one line with an answer goes out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils import _program, _recording, _state
from ansible_collections.pyspy.fleet.plugins.module_utils._errors import HostError
from ansible_collections.pyspy.fleet.plugins.plugin_utils import _bundle

#: Without operations that touch this machine.
HARMLESS = ("list", "collect", "start")


@pytest.fixture(scope="module")
def program() -> Iterator[str]:
    with tempfile.NamedTemporaryFile(suffix=".pyz") as file:
        file.write(_bundle.bundle())
        file.flush()
        yield file.name


def feed(data: bytes, command: str | None = None) -> subprocess.CompletedProcess[bytes]:
    """Hand ``data`` to the loader as a connection does."""
    command = command or _bundle.command(sys.executable)
    return subprocess.run(["/bin/sh", "-c", command], input=data, capture_output=True, check=False, timeout=60)


def ask(words: bytes, payload: bytes = b"", command: str | None = None) -> dict[str, Any]:
    zipped = _bundle.bundle()
    done = feed(b"%d %d %d\n" % (len(zipped), len(words), len(payload)) + zipped + words + payload, command)
    assert b"Traceback" not in done.stderr and done.returncode == 0, done.stderr
    return dict(_bundle.parse_answer(done.stdout.decode(), done.stderr.decode(), done.returncode, None))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"{}", "Unknown operation"),
        (b'{"operation": "rm -rf /"}', "Unknown operation"),
        (b'{"operation": ["list"]}', "Unknown operation"),
        (b'{"operation": "collect"}', "hex digits"),
        (b'{"operation": "collect", "recording": "../../etc"}', "hex digits"),
        (b'{"operation": "collect", "recording": "00aa"}', "no recording"),
        (b'{"operation": "start", "selectors": []}', "selectors"),
        (b'{"operation": "start", "options": 5}', "options"),
        (b'{"operation": "start", "options": {"duration": 1e999}}', "duration"),
        (b'{"operation": "start", "keep": 5}', "keep"),
        (b'{"operation": "start", "binary": {"version": "0.4.3", "sha256": {}}}', "architecture"),
    ],
)
def test_bad_arguments_are_one_answer(words, reason):
    answer = ask(words)
    assert answer["ok"] is False
    assert reason in answer["error"]["reason"], answer


@pytest.mark.parametrize("operation", HARMLESS)
def test_a_surprise_names_the_place_and_is_no_traceback(operation):
    answer = ask(json.dumps({"operation": operation, "recording": "00aa", "size": "x", "patience": []}).encode())
    if not answer["ok"]:
        assert set(answer["error"]) == {"reason", "detail", "remedy"}


def test_a_result_that_goes_between_two_looks_at_it(monkeypatch, tmp_path):
    """Another collect, a clean-up or the keep deadline was faster."""
    monkeypatch.setattr(_state, "base_path", lambda: str(tmp_path))
    tmp_path.chmod(0o700)
    monkeypatch.setattr(_recording, "wait_for_result", lambda _folder, _patience: "done")
    with pytest.raises(HostError, match="has no recording"):
        _program._collect({"recording": _state.Folder.create().identity}, bytes)


def test_nested_arguments():
    answer = ask(b'{"operation": "list", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    assert answer["ok"] is False and answer["error"]["reason"]


def test_a_huge_argument_is_just_long():
    assert ask(json.dumps({"operation": "list", "x": "x" * 5_000_000}).encode())["ok"] is True


def test_a_connection_that_breaks_while_the_program_comes():
    """Cut at any place: no answer, or one that says so; never anything that looks like success."""
    whole = _bundle.envelope("list", {})
    for length in (0, 1, 10, 1000, len(whole) // 2, len(whole) - 20, len(whole) - 1):
        done = feed(whole[:length])
        if b"@pyspy-fleet@" in done.stdout:
            answer = _bundle.parse_answer(done.stdout.decode(), done.stderr.decode(), done.returncode, None)
            assert answer["ok"] is False


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "3</dev/null 4</dev/null"])
@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_odd_descriptors(shell, redirection):
    command = f"{shell} -c {_quoted(_bundle.command(sys.executable) + ' ' + redirection)}"
    assert ask(b'{"operation": "list"}', command=command)["ok"] is True


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def test_a_bare_environment():
    command = "env -i " + _bundle.command(sys.executable)
    assert ask(b'{"operation": "list"}', command=command)["ok"] is True
    command = "env -i LC_ALL=C LANG=C HOME=/nonexistent PYTHONPATH=/nonexistent " + _bundle.command(sys.executable)
    assert ask(b'{"operation": "list"}', command=command)["ok"] is True


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ([], 1, "usage:"),
        (["a", "b", "c"], 1, "usage:"),
        (["list", "{"], 1, "not JSON"),
        (["list", "[]"], 1, "not a JSON object"),
        (["keep", "../.."], 1, "hex digits"),
        (["expire", "$(id)"], 1, "hex digits"),
        (["keep", "00aa"], 0, ""),
        (["expire", "00aa"], 0, ""),
    ],
)
def test_by_hand(program, words, code, text):
    done = subprocess.run(
        [sys.executable, "-I", "-S", program, *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == code and text in done.stderr and "Traceback" not in done.stderr


def test_nothing_is_written_beside_the_program(program):
    subprocess.run([sys.executable, "-I", "-S", program, "list"], capture_output=True, check=True, timeout=60)
    assert [path.name for path in Path(program).parent.glob(os.path.basename(program) + "*")] == [Path(program).name]
