# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Entries in the journal and in syslog, against real sockets."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.pyspy.fleet.plugins.module_utils import _syslog
from hypothesis import given
from hypothesis import strategies as st


@contextmanager
def listening(path: Path, kind: socket.SocketKind = socket.SOCK_DGRAM) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, kind) as listener:
        listener.bind(str(path))
        listener.settimeout(10)
        if kind == socket.SOCK_STREAM:
            listener.listen()
        yield listener


def entry(message: str, fields: dict[str, str], folder: Path) -> bool:
    return _syslog.entry(message, fields, str(folder / "journal"), str(folder / "log"))


def test_the_journal_gets_fields(tmp_path: Path) -> None:
    with listening(tmp_path / "journal") as journal:
        assert entry("a\nMESSAGE=b", {"reason": "INC-1\nPRIORITY=0", "by": ""}, tmp_path)
        lines = journal.recv(65536).decode().split("\n")
    assert lines.pop() == ""
    fields = dict(line.split("=", 1) for line in lines)
    assert len(fields) == len(lines)
    assert fields["MESSAGE"] == "a?MESSAGE=b" and fields["PYSPY_FLEET_REASON"] == "INC-1?PRIORITY=0"
    assert fields["PRIORITY"] == "5" and "PYSPY_FLEET_BY" not in fields


def test_syslog_gets_one_line(tmp_path: Path) -> None:
    with listening(tmp_path / "log") as log:
        assert entry("a\x1b[2J\nb", {"reason": "INC-1"}, tmp_path)
        line = log.recv(65536).decode()
    assert re.fullmatch(r"<85>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d pyspy-fleet\[\d+\]: a\?\[2J\?b", line)


def test_syslog_may_be_a_stream(tmp_path: Path) -> None:
    with listening(tmp_path / "log", socket.SOCK_STREAM) as log:
        assert entry("a", {}, tmp_path)
        with log.accept()[0] as connection:
            assert connection.recv(65536).endswith(b": a\0")


def test_no_socket_is_reported(tmp_path: Path) -> None:
    assert not entry("a", {}, tmp_path)


def test_a_logger_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    with listening(tmp_path / "log"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as flood:
            flood.setblocking(False)
            flood.connect(str(tmp_path / "log"))
            try:
                while True:
                    flood.send(b"x")
            except BlockingIOError:
                pass
        assert not entry("a", {}, tmp_path)


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    line = _syslog.one_line(text)
    assert line.isprintable() and len(line.splitlines()) <= 1 and len(line) <= len(text)
