# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "bundle": one deterministic file, the command that takes it in, and hostile answers."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils import _bundle
from ansible_collections.pyspy.fleet.plugins.plugin_utils._bundle import (
    LEFT,
    MARK,
    MAX_ANSWER,
    NO_PYTHON,
    bundle,
    command,
    envelope,
    needs_terminal,
    parse_answer,
)
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from hypothesis import given
from hypothesis import strategies as st

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def line(answer: object) -> str:
    return f"\n{MARK}{json.dumps(answer)}\n"


def test_the_same_sources_give_the_same_bytes():
    script = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from ansible_collections.pyspy.fleet.plugins.plugin_utils._bundle import bundle\n"
        "sys.stdout.buffer.write(bundle())"
    )
    for seed in ("1", "2"):
        surroundings = {"PYTHONHASHSEED": seed}
        other = subprocess.run([sys.executable, "-c", script], env=surroundings, capture_output=True, check=True)
        assert other.stdout == bundle()


def test_what_is_in_it():
    with zipfile.ZipFile(io.BytesIO(bundle())) as archive:
        names = archive.namelist()
        assert "__main__.py" in names and "pyspy_fleet_host/_program.py" in names
        assert "pyspy_fleet_host/_arguments.py" not in names, "argument specs are the controller's"
        folder = Path(_bundle.__file__).parent.parent / "module_utils"
        for name in names:
            if name.endswith(".py") and "/_" in name and "__init__" not in name:
                assert archive.read(name) == (folder / Path(name).name).read_bytes()
        assert all(info.date_time == (1980, 1, 1, 0, 0, 0) for info in archive.infolist())


@pytest.mark.parametrize("spoilt", ["magic", "missing"])
def test_a_python_of_another_version_takes_the_source(tmp_path, spoilt):
    """The compiled files of this Python are made to look like those of another one, or left out."""
    program = tmp_path / "program.pyz"
    with zipfile.ZipFile(io.BytesIO(bundle())) as old, zipfile.ZipFile(program, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("c"):
                data = b"\0\0\r\n" + data[4:]
            if not name.endswith("c") or spoilt == "magic":
                new.writestr(name, data)
    done = subprocess.run([sys.executable, "-I", "-S", program, "list"], capture_output=True, text=True, check=True)
    assert parse_answer(done.stdout, done.stderr, 0, None)["ok"] is True


def test_this_python_takes_the_compiled_files(tmp_path):
    program = tmp_path / "program.pyz"
    with zipfile.ZipFile(io.BytesIO(bundle())) as old, zipfile.ZipFile(program, "w") as new:
        for name in old.namelist():
            data = b"raise SystemExit('the source ran')" if name.endswith("_program.py") else old.read(name)
            new.writestr(name, data)
    done = subprocess.run([sys.executable, "-I", "-S", program, "list"], capture_output=True, text=True, check=True)
    assert parse_answer(done.stdout, done.stderr, 0, None)["ok"] is True


@given(st.dictionaries(st.text(), VALUES, max_size=4), st.binary(max_size=100))
def test_an_envelope_says_its_sizes(arguments, payload):
    data = envelope("list", arguments, payload)
    sizes, _end, rest = data.partition(b"\n")
    program, words, more = map(int, sizes.split())
    assert rest[:program] == bundle() and len(rest) == program + words + more
    assert json.loads(rest[program : program + words])["operation"] == "list"
    assert rest[program + words :] == payload


SHELLS = [shell for shell in ("/bin/dash", "/bin/bash") if Path(shell).exists()]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", ["py 3", "py'thon", 'py"thon', "py$(touch x)thon", "py;thon", "py\n3", "-python"])
def test_an_interpreter_of_any_name_runs_and_nothing_else_does(tmp_path, shell, name):
    odd = tmp_path / name
    odd.symlink_to(sys.executable)
    data = envelope("list", {})
    done = subprocess.run([shell, "-c", command(str(odd))], input=data, capture_output=True, cwd=tmp_path, check=False)
    assert parse_answer(done.stdout.decode(), done.stderr.decode(), done.returncode, str(odd))["ok"] is True
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("interpreter", [None, sys.executable])
def test_the_envelope_may_come_from_a_file(tmp_path, shell, interpreter):
    file = tmp_path / "an envelope's $(file)"
    file.write_bytes(envelope("list", {}))
    done = subprocess.run(
        [shell, "-c", command(interpreter, str(file))], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert parse_answer(done.stdout.decode(), done.stderr.decode(), done.returncode, interpreter)["ok"] is True


NOISE = st.text(max_size=200).filter(lambda text: MARK not in text)


@given(st.dictionaries(st.text(), VALUES, max_size=4), NOISE, NOISE)
def test_an_answer_is_found_in_noise(answer, before, after):
    assert parse_answer(before + line(answer) + after, "", 0, None) == json.loads(json.dumps(answer))


def test_a_terminals_line_ends_do_no_harm():
    assert parse_answer(line({"ok": True}).replace("\n", "\r\n"), "", 0, None) == {"ok": True}


def test_what_is_left_comes_in_a_line_of_its_own():
    answer = line({"ok": True})
    assert parse_answer(answer + LEFT + '["keeper (PID 5)"]\n', "", 0, None) == {"ok": True, "left": ["keeper (PID 5)"]}
    assert parse_answer(answer + LEFT + '["keep', "", 0, None) == {"ok": True}, "the connection broke: nobody knows"
    assert parse_answer(f'before {LEFT}["x"]\n' + answer, "", 0, None) == {"ok": True}


@pytest.mark.parametrize(
    "tail",
    [
        "",
        "{",
        "[1]",
        '"text"',
        "null",
        "NaN",
        '{"a": ' + "9" * 5000 + "}",
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"ok": true',
        "\x1b]0;owned\x07",
    ],
)
def test_an_answer_that_is_none_is_refused(tail):
    with pytest.raises(FleetError, match="answer cannot be read") as caught:
        parse_answer(f"\n{MARK}{tail}\n", "", 0, None)
    assert "\x1b" not in str(caught.value) and caught.value.remedy


def test_too_much_is_refused():
    with pytest.raises(FleetError, match="answered too much"):
        parse_answer("x" * (MAX_ANSWER + 1), "", 0, None)


@pytest.mark.parametrize(
    ("stdout", "stderr", "code", "interpreter", "reason"),
    [
        (NO_PYTHON, "", 127, None, "No Python 3.8 or newer"),
        ("", "sh: 1: /opt/py: not found", 127, "/opt/py", "The interpreter /opt/py does not run"),
        ("", "bash: /opt/py: Permission denied", 126, "/opt/py", "The interpreter /opt/py does not run"),
        ("", "sudo: a password is required", 1, None, "needs a password"),
        ("", "AttributeError: module 'os' has no attribute 'memfd_create'", 1, "/usr/bin/python3", "older than"),
        ("", "SyntaxError: future feature annotations is not defined", 1, "/usr/bin/python3", "older than Python 3.8"),
        ("", "", 137, None, "gave no answer"),
        ("Welcome!", "", 0, None, "gave no answer"),
        ("", "Killed", 137, None, "gave no answer"),
    ],
)
def test_no_answer_says_why(stdout, stderr, code, interpreter, reason):
    with pytest.raises(FleetError) as caught:
        parse_answer(stdout, stderr, code, interpreter)
    assert reason in caught.value.reason and caught.value.detail and caught.value.remedy


@given(st.text(max_size=400), st.text(max_size=400), st.integers(-200, 300))
def test_what_a_host_says_instead_cannot_steer_a_terminal(stdout, stderr, code):
    try:
        parse_answer(stdout, stderr, code, None)
    except FleetError as error:
        assert str(error).isprintable() and len(error.detail) < 1000


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("sudo: sorry, you must have a tty to run sudo", True),
        ("sudo: no tty present and no askpass program specified", True),
        ("sudo: a password is required", False),
        ("", False),
    ],
)
def test_a_sudo_that_wants_a_terminal(words, expected):
    assert needs_terminal(words, "") is needs_terminal("", words) is expected
