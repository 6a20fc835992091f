# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "syslog" of the host wing (private to the collection): one line to the host's journal, or to its syslog.

Imports nothing of ours: its text is part of what a dead-man runs (see ``_deadman.py``).
"""

from __future__ import annotations

import os
import socket
import time
from typing import Dict

#: Where journald takes entries with fields, and where any syslog takes lines.
JOURNAL = "/run/systemd/journal/socket"
SYSLOG = "/dev/log"

_IDENTIFIER = "pyspy-fleet"
_AUTHPRIV, _NOTICE = 10, 5
_MAX_TEXT = 1500
#: A logger that does not read must not hold up what puts a host back (seconds).
_PATIENCE = 1.0
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def entry(message: str, fields: Dict[str, str], journal: str = JOURNAL, syslog: str = SYSLOG) -> bool:
    """Log ``message``, with ``fields`` where a journal takes them; False where nothing on this host takes either."""
    return _send(journal, _journal_datagram(message, fields)) or _send(syslog, _syslog_datagram(message))


def one_line(text: str) -> str:
    """``text`` without what could end an entry, begin another one, or steer the terminal of who reads it."""
    return "".join(char if char.isprintable() else "?" for char in text[:_MAX_TEXT])


def _journal_datagram(message: str, fields: Dict[str, str]) -> bytes:
    """systemd's native protocol: lines of KEY=value."""
    head = {"MESSAGE": message, "PRIORITY": str(_NOTICE), "SYSLOG_FACILITY": str(_AUTHPRIV)}
    head.update(SYSLOG_IDENTIFIER=_IDENTIFIER, SYSLOG_PID=str(os.getpid()))
    head.update(("PYSPY_FLEET_" + key.upper(), value) for key, value in fields.items() if value)
    return _bytes("".join("%s=%s\n" % (key, one_line(value)) for key, value in head.items()))


def _syslog_datagram(message: str) -> bytes:
    """RFC 3164, as syslog(3) of the C library sends it; English whatever the locale."""
    now = time.localtime()
    stamp = "%s %2d %s" % (_MONTHS[now.tm_mon - 1], now.tm_mday, time.strftime("%H:%M:%S", now))
    return _bytes("<%d>%s %s[%d]: %s" % (_AUTHPRIV * 8 + _NOTICE, stamp, _IDENTIFIER, os.getpid(), one_line(message)))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _send(path: str, datagram: bytes) -> bool:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_UNIX, kind) as connection:
            connection.settimeout(_PATIENCE)
            try:
                connection.connect(path)
                connection.sendall(datagram if kind == socket.SOCK_DGRAM else datagram + b"\0")
                return True
            except OSError:  # not there, of the other kind, or full
                continue
    return False
