# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the document that the interactive graph draws. What is drawn of it is tested in browsers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.pyspy.fleet.plugins.plugin_utils._calls import Calls, Worker, calls
from ansible_collections.pyspy.fleet.plugins.plugin_utils._profile import Frame, Profile, Stack
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._view import document, script
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Measure

WALL = Measure("wall", 50, False, False)
BUSY = (Frame("main", "/app.py", 1), Frame("work", "/usr/lib/python3.11/site-packages/shop/fast.so", 0))
WAITS = (Frame("main", "/app.py", 2), Frame("wait", "/x/gunicorn/workers/sync.py", 34))


def tree(name: str = "w", frames: tuple[Frame, ...] = BUSY) -> Calls:
    profile = Profile((WALL,), (Stack(frames, 0.1, 5, "MainThread"), Stack(WAITS, 0.04, 2, "MainThread")))
    return calls([(Worker("h1", name, "api", "web.service"), profile)])


def read(kind: str, of: Calls, groups: Mapping[str, list[str]] | None = None) -> Any:
    return json.loads(document([(kind, "wall time", of)], groups or {}))


def test_the_document_in_columns() -> None:
    content = read("wall", tree(), {"h1": ["web", "eu"], "h2": ["web"]})
    assert content["groups"] == {"web": ["h1", "h2"], "eu": ["h1"]}
    [picture] = content["pictures"]
    assert [row[0] for row in picture["functions"]] == ["main", "wait", "work"]
    assert (picture["depths"], picture["places"]) == ([0, 1, 2, 2], [-1, 0, 1, 2])
    assert picture["series"] == [[0, 0, 0.02, [2, 1], [2, 5]]]
    assert picture["workers"] == [["h1", "w", "api", "web.service"]]


def test_native_code_and_idle_threads_are_marked() -> None:
    [picture] = read("wall", tree())["pictures"]
    assert [bool(native) for _name, _file, _package, native in picture["functions"]] == [False, False, True]
    assert picture["idle"] == [2]
    # What is sampled as not idle is not idle, wherever it stands.
    assert read("cpu", tree())["pictures"][0]["idle"] == []


def test_hostile_names_stay_in_the_document() -> None:
    hostile = "</script><!--<script>\u2028\x1b[31m\u202e&"
    text = document([("wall", "wall time", tree(hostile, (Frame(hostile, hostile, 1),)))], {hostile: [hostile]})
    assert not set(text) & set("<>&\u2028\x1b\u202e")
    [picture] = json.loads(text)["pictures"]
    assert picture["workers"][0][1].startswith("</script>")


def test_the_script_is_one_that_can_stand_in_a_page() -> None:
    assert "</script" not in script() and "<!--" not in script()
    assert not [word for word in ("eval(", "innerHTML", "document.write", "http:", "https:") if word in script()]
