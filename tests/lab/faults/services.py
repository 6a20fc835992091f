# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "faults" of the lab (private to the collection): starting them, and asking them what they cannot answer."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ansible_collections.pyspy.fleet.tests.lab.managers import Running, running
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

from .programs import FILES

#: Where the services listen, in their folder.
SOCKET = "socket"


class Service:
    """A service of the lab: :meth:`ask` leaves a request open until the end."""

    def __init__(self, here: Running, closing: ExitStack) -> None:
        self.here = here
        self._closing = closing
        self._requests: list[socket.socket] = []

    def ask(self, path: str) -> None:
        """Send one request, and do not wait for the answer."""
        # A short name: a socket's path is cut at 108 characters (unix(7)).
        folder = os.open(self.here.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            request = self._closing.enter_context(socket.socket(socket.AF_UNIX))
            await_condition("a connection", lambda: request.connect_ex(f"/proc/self/fd/{folder}/{SOCKET}") == 0)
        finally:
            os.close(folder)
        request.sendall(f"GET {path} HTTP/1.0\r\nHost: shop\r\n\r\n".encode())
        request.setblocking(False)
        self._requests.append(request)

    def answered(self) -> int:
        """How many of the requests have got any answer, be it that the connection was closed."""
        return sum(_can_be_read(request) for request in self._requests)


def _can_be_read(request: socket.socket) -> bool:
    try:
        request.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    return True


@contextmanager
def service(folder: Path, *command: str, **environ: object) -> Iterator[Service]:
    """Run one of the programs in ``folder``, by a manager from the lab's own environment."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
    words = [f"{key}={value}" for key, value in environ.items()]
    with ExitStack() as closing, running(folder, "env", *words, *command) as here:
        yield Service(here, closing)


@contextmanager
def silent_server() -> Iterator[int]:
    """The port of a server that takes every connection and never says a word."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            try:
                while True:
                    taken.append(server.accept()[0])
            except OSError:
                pass  # it was shut down

        taker = threading.Thread(target=take)
        taker.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)
            taker.join()
            for connection in taken:
                connection.close()
