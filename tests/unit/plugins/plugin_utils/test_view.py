# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the document that the interactive graph draws. What is drawn of it is tested in browsers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._calls import Calls, Worker, calls
from ansible_collections.pyspy.fleet.plugins.plugin_utils._profile import Frame, Profile, Stack
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._threads import MOST, OTHERS
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._view import document, script
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Measure

WALL = Measure("wall", 50, False, False)
LETTERS = str.maketrans("0123456789", "abcdefghij")
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


def threads_of(picture: Any, worker: int) -> dict[str, int]:
    """Samples of each thread of a worker, by the name that the page has for it."""
    found: dict[str, int] = {}
    for number, thread, _tick, _nodes, samples in picture["series"]:
        if number == worker:
            found[picture["threads"][thread]] = found.get(picture["threads"][thread], 0) + sum(samples)
    return found


def of_threads(*workers: Mapping[str, int]) -> Any:
    """The picture of workers that have so many samples of each of these threads."""
    profiles = [
        Profile((WALL,), tuple(Stack(BUSY, 0.02 * count, count, name) for name, count in threads.items()))
        for threads in workers
    ]
    [picture] = read("wall", calls((Worker("h1", f"w{number}"), one) for number, one in enumerate(profiles)))[
        "pictures"
    ]
    return picture


def test_threads_of_one_kind_are_one_where_there_are_too_many() -> None:
    many = {f"Thread-{number} (serve)": 2 for number in range(100)}
    few = {"MainThread": 5, "Thread-7 (serve)": 3}
    picture = of_threads({"MainThread": 5, **many}, few)
    assert threads_of(picture, 0) == {"MainThread": 5, "Thread-N (serve)": 200}
    # What another worker has changes nothing.
    assert threads_of(picture, 1) == few


def test_only_the_heaviest_of_too_many_threads_can_be_chosen() -> None:
    names = ["".join(chr(ord("a") + int(digit)) for digit in str(number)) for number in range(1000)]
    found = threads_of(of_threads({name: number + 1 for number, name in enumerate(names)}), 0)
    assert len(found) == MOST and sum(found.values()) == sum(range(1001))
    assert found.pop(OTHERS) == sum(range(1000 - MOST + 2))
    assert sorted(found.values()) == list(range(1000 - MOST + 2, 1001))


def test_as_many_threads_as_can_be_chosen_keep_their_names() -> None:
    threads = {f"Thread-{number}": number for number in range(1, MOST + 1)}
    assert threads_of(of_threads(threads), 0) == threads


def test_joined_threads_keep_samples_of_each_length_apart() -> None:
    stacks = [Stack(BUSY, 0.02, 1, f"Thread-{number}") for number in range(100)]
    slower = [Stack(BUSY, 0.1, 1, f"Thread-{number}") for number in range(100)]
    worker = Worker("h1", "w")
    tree = calls([(worker, Profile((WALL,), tuple(stacks))), (worker, Profile((WALL,), tuple(slower)))])
    [picture] = read("wall", tree)["pictures"]
    assert picture["threads"] == ["Thread-N"]
    assert picture["series"] == [[0, 0, 0.02, [2], [100]], [0, 0, 0.1, [2], [100]]]


@pytest.mark.parametrize("name", ["Thread-{} (process_request_thread)", "own {} name"])
def test_a_thread_for_each_request_leaves_a_page_that_opens(name: str) -> None:
    """160 workers with 3,000 threads each; a hostile host sends names that have no number in them."""
    words = [name.format(str(number).translate(LETTERS) if "own" in name else number) for number in range(3000)]
    stacks = tuple(Stack((*BUSY[:1], Frame(f"f{n % 40}", "/app.py", n)), 0.02, 1, word) for n, word in enumerate(words))
    tree = calls((Worker(f"h{number % 20}", f"w{number}"), Profile((WALL,), stacks)) for number in range(160))
    text = document([("wall", "wall time", tree)], {})
    assert len(text) < 2_000_000
    [picture] = json.loads(text)["pictures"]
    assert sum(sum(row[4]) for row in picture["series"]) == 160 * 3000


def test_hostile_names_stay_in_the_document() -> None:
    hostile = "</script><!--<script>\u2028\x1b[31m\u202e&"
    text = document([("wall", "wall time", tree(hostile, (Frame(hostile, hostile, 1),)))], {hostile: [hostile]})
    assert not set(text) & set("<>&\u2028\x1b\u202e")
    [picture] = json.loads(text)["pictures"]
    assert picture["workers"][0][1].startswith("</script>")


def test_the_script_is_one_that_can_stand_in_a_page() -> None:
    assert "</script" not in script() and "<!--" not in script()
    assert not [word for word in ("eval(", "innerHTML", "document.write", "http:", "https:") if word in script()]
