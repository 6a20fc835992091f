# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A web service whose workers hang: all reserve under one lock, and who holds it asks a supplier that never answers."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Headers = list[tuple[str, str]]

STOCK = "/tmp/stock"
SUPPLIER = ("127.0.0.1", 9000)


def application(environ: dict[str, str], start_response: Callable[[str, Headers], object]) -> list[bytes]:
    recount() if environ["PATH_INFO"] == "/recount" else reserve()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done\n"]


@contextmanager
def stock() -> Iterator[int]:
    """The stock, for one at a time: processes share the lock by the file."""
    file = os.open(STOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)


def reserve() -> None:
    with stock() as file:
        os.write(file, b"-1\n")


def recount() -> None:
    with stock() as file:
        os.write(file, ask_supplier())


def ask_supplier() -> bytes:
    with socket.create_connection(SUPPLIER) as supplier:
        return supplier.recv(100)
