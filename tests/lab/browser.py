# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "browser" of the lab (private to the collection): Debian's Chromium, driven by Playwright.

It brings no browser of its own. Pages are files of this machine; every context is offline, has whatever asks for
anything but the opened file refused, and each such attempt, each error of a script and each refusal of a content
security policy is written down.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.pyspy.fleet.tests.lab.npm import package
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Page, Route, expect, sync_playwright

PROGRAM = "/usr/bin/chromium"
AXE = ("axe-core", "4.14.1")
#: Milliseconds that anything in a page may take: a machine that is busy, or draws without a graphics card, is slow.
LIMIT = 20_000
#: A browser that is started by a test speaks to nobody.
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)


class Browser:
    """One Chromium. ``requests`` are addresses that pages tried to reach, ``errors`` what went wrong in them."""

    def __init__(self, chromium: Chromium) -> None:
        self._chromium = chromium
        self._contexts: list[BrowserContext] = []
        self.requests: list[str] = []
        self.errors: list[str] = []

    def open(
        self,
        path: Path | str,
        *,
        width: int = 1280,
        height: int = 800,
        dark: bool = False,
        script: bool = True,
        fragment: str = "",
        whole_folder: bool = False,
    ) -> Page:
        """The page of a file; ``fragment`` is what its address has behind the ``#``.

        With ``whole_folder`` it may load what lies beside it.
        """
        context = self._chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            java_script_enabled=script,
            offline=True,
        )
        context.set_default_timeout(LIMIT)
        self._contexts.append(context)
        address = Path(path).resolve().as_uri()
        context.route("**/*", lambda route: self._decide(route, address, whole_folder))
        page = context.new_page()
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", self._refuse)
        page.goto(f"{address}#{fragment}" if fragment else address)
        return page

    def colours(self, picture: bytes) -> int:
        """How many colours a PNG has."""
        with self._chromium.new_context(offline=True) as context:
            source = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
            return int(context.new_page().evaluate(COLOURS, source))

    def forget(self) -> None:
        """Close all pages, with what was written down of them."""
        while self._contexts:
            self._contexts.pop().close()
        self.requests.clear()
        self.errors.clear()

    def _decide(self, route: Route, address: str, whole_folder: bool) -> None:
        asked = route.request.url.partition("#")[0]
        # Following a link to a file beside it is what a reader wants; loading one is not.
        beside = whole_folder and asked.startswith(address.rpartition("/")[0] + "/")
        if asked == address or beside or route.request.is_navigation_request() and asked.startswith("file:"):
            route.continue_()
        else:
            self.requests.append(asked)
            route.abort()

    def _refuse(self, dialog: Dialog) -> None:
        self.errors.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)


COLOURS = """
async source => {
  const image = new Image();
  image.src = source;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  return new Set(new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer)).size;
}
"""


@contextmanager
def browser() -> Iterator[Browser]:
    # Its own limit is 5 s, whatever that of a page is.
    expect.set_options(timeout=LIMIT)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=PROGRAM, args=QUIET)
        try:
            yield Browser(chromium)
        finally:
            chromium.close()


def violations(page: Page) -> list[str]:
    """What axe-core, a checker of accessibility, finds in a page: the rule, how grave, and where."""
    # Evaluated, not inserted: the page's content security policy forbids scripts.
    page.evaluate((package(*AXE) / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run()).violations")
    return [
        f"{row['id']} ({row['impact']}): {row['help']}: {', '.join(str(node['target']) for node in row['nodes'])}"
        for row in found
    ]
