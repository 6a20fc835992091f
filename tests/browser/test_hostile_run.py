# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of a run whose hosts, processes, threads and functions have hostile names: every file, in a real browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._fields import printable
from ansible_collections.pyspy.fleet.plugins.plugin_utils._report import Context, build
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run, open_run
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import ErrorText, HostRecord
from ansible_collections.pyspy.fleet.tests.lab.browser import Browser
from ansible_collections.pyspy.fleet.tests.lab.firefox import Firefox
from ansible_collections.pyspy.fleet.tests.lab.hostile_texts import PAYLOADS
from ansible_collections.pyspy.fleet.tests.lab.made_run import add_host, made_hostile_dump


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = open_run(str(tmp_path_factory.mktemp("hostile")), "profile", PAYLOADS[0], "hostile")
    for text in PAYLOADS:
        # Of a host's name only what an inventory can hold: no control characters.
        add_host(run, printable(text[:2000]), [text[:2000]], capture())
    run.write_host(HostRecord("lost", "failed", error=ErrorText(PAYLOADS[1], PAYLOADS[2], PAYLOADS[5])))
    build(run, Context(title=PAYLOADS[1], reason=PAYLOADS[5], user=PAYLOADS[6], hosts=(PAYLOADS[0], "absent")))
    return run


def capture() -> bytes:
    """One thread for each text, in which functions and files are called so as well."""
    frames = [{"name": text, "file": f"/srv/{text}", "line": 1} for text in PAYLOADS]
    threads = [
        {
            "type": "sampled",
            "name": f'Thread 0x1 "{text}"',
            "unit": "seconds",
            "startValue": 0,
            "endValue": 1,
            "samples": [[number, (number + 1) % len(PAYLOADS)]],
            "weights": [1.0],
        }
        for number, text in enumerate(PAYLOADS)
    ]
    return json.dumps({"shared": {"frames": frames}, "profiles": threads}).encode()


def test_nothing_runs_and_nothing_is_asked_for(chromium: Browser, hostile: Run) -> None:
    folder = Path(hostile.path)
    files = [folder / "index.html", folder / "fleet.svg", *folder.glob("hosts/*/*.svg")]
    assert len(files) == 2 + 2 * len(PAYLOADS)
    for file in files:
        page = chromium.open(file)
        assert page.evaluate("'ran' in window") is False, file
        # Its script is at the very end: where it has run, all before was well-formed.
        assert page.locator("input").count() == 2 or file.suffix == ".html", file
        page.context.close()


def test_nothing_runs_in_firefox(one_firefox: Firefox, hostile: Run) -> None:
    for name in ("index.html", "fleet.svg"):
        file = Path(hostile.path, name)
        one_firefox.open(file)
        assert one_firefox.evaluate("'ran' in window") is False
        assert one_firefox.errors(file) == []


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_runs_in_the_page_of_a_dump(chromium: Browser, tmp_path: Path, width: int) -> None:
    page = chromium.open(Path(made_hostile_dump(tmp_path, PAYLOADS).path, "index.html"), width=width)
    # Each stack is there, as text: a group, and a branch of the tree.
    assert page.locator(".tree .leaf, .tree summary").count() > len(PAYLOADS)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert "window.ran = 1</script>" in page.locator(".tree").inner_text()
    assert page.evaluate("'ran' in window") is False
    assert page.locator("img, iframe, script").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
