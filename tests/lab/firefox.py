# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "firefox" of the lab (private to the collection): Debian's Firefox, driven by Marionette, its own remote.

Numbered JSON messages over a local socket, each behind its length: no driver is needed. Its proxy is a closed port,
so that nothing reaches beyond this machine.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.safebrowsing.update.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "marionette.port": 0,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    "network.proxy.type": 1,
}


class Firefox:
    """One Firefox with one window."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._input = connection.makefile("rb")
        self._number = 0
        self._receive()  # It introduces itself.
        self._ask("WebDriver:NewSession", capabilities={})

    def open(self, path: Path | str, *, width: int = 1280, height: int = 800, fragment: str = "") -> None:
        """Show a file. The window is never narrower than 500 pixels."""
        self._ask("WebDriver:SetWindowRect", width=width, height=height)
        # A fragment alone would not load the file again.
        self._ask("WebDriver:Navigate", url="about:blank")
        address = Path(path).resolve().as_uri()
        self._ask("WebDriver:Navigate", url=f"{address}#{fragment}" if fragment else address)

    def evaluate(self, expression: str) -> object:
        return self._value("WebDriver:ExecuteScript", script=f"return {expression}", args=[])

    def screenshot(self, path: Path | str) -> bytes:
        picture = base64.b64decode(str(self._value("WebDriver:TakeScreenshot", full=False)))
        Path(path).write_bytes(picture)
        return picture

    def errors(self, path: Path | str) -> list[str]:
        """What its console says of a file since it was started."""
        self._ask("Marionette:SetContext", value="chrome")
        try:
            lines = self.evaluate("Services.console.getMessageArray().map(String)")
        finally:
            self._ask("Marionette:SetContext", value="content")
        assert isinstance(lines, list)
        return [line for line in lines if Path(path).resolve().as_uri() in line]

    def close(self) -> None:
        self._input.close()

    def _value(self, command: str, **arguments: object) -> object:
        answer = self._ask(command, **arguments)
        assert isinstance(answer, dict)
        return answer["value"]

    def _ask(self, command: str, **arguments: object) -> object:
        self._number += 1
        message = json.dumps([0, self._number, command, arguments]).encode()
        self._connection.sendall(b"%d:%s" % (len(message), message))
        answer = self._receive()
        assert isinstance(answer, list)
        _kind, number, error, result = answer
        assert number == self._number and error is None, error
        return result

    def _receive(self) -> object:
        digits = b""
        while (digit := self._input.read(1)) != b":":
            assert digit, "Firefox has closed the connection"
            digits += digit
        answer: object = json.loads(self._input.read(int(digits)))
        return answer


@contextmanager
def firefox() -> Iterator[Firefox]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        profile = Path(folder)
        lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in PREFERENCES.items())
        (profile / "user.js").write_text("\n".join(lines))
        command = ("firefox-esr", "--headless", "--no-remote", "--profile", folder, "--marionette")
        with (profile / "log").open("w") as log:
            process = subprocess.Popen(
                # The console's messages are not a page's business, so that reading them is asked for by itself.
                (*command, "--remote-allow-system-access", "about:blank"),
                env=dict(os.environ, HOME=folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            yield from _session(process, profile)
        finally:
            process.terminate()
            process.wait()


def _session(process: subprocess.Popen[bytes], profile: Path) -> Iterator[Firefox]:
    port = profile / "MarionetteActivePort"
    await_condition("Firefox", lambda: process.poll() is not None or port.read_text().isdigit())
    assert process.poll() is None, (profile / "log").read_text()
    with socket.create_connection(("127.0.0.1", int(port.read_text())), timeout=60) as connection:
        session = Firefox(connection)
        try:
            yield session
        finally:
            session.close()
