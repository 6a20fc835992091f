# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the rooms "dumps", "waiting" and "stacks": tables, and what holds for all dumps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils import _dumps
from ansible_collections.pyspy.fleet.plugins.plugin_utils._dumps import MAX_LOOKS, Dump, Frame, Look, Thread
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._fields import WireError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._text import columns
from ansible_collections.pyspy.fleet.plugins.plugin_utils._stacks import Branch, Code, groups, normalise, plain, tree
from ansible_collections.pyspy.fleet.plugins.plugin_utils._stacks_text import (
    screen,
    sentences,
    tree_lines,
)
from ansible_collections.pyspy.fleet.plugins.plugin_utils._waiting import (
    IDLE,
    MOVING,
    ONCE,
    STUCK,
    state,
    states,
    waits_idle,
)
from hypothesis import given
from hypothesis import strategies as st

LIBRARY = "/usr/lib/python3.11/"
TOP = [("run", LIBRARY + "threading.py"), ("_bootstrap_inner", LIBRARY + "threading.py")]
WAIT = ("Condition.wait", LIBRARY + "threading.py")
GET = ("Queue.get", LIBRARY + "queue.py")
SYNC = "/srv/venv/lib/python3.11/site-packages/gunicorn/workers/sync.py"


NATIVE = [("__futex_abstimed_wait", "/usr/lib/x86_64-linux-gnu/libc.so.6"), ("take_lock", "/usr/bin/python3.11")]


def frames(*rows: tuple[str, str]) -> tuple[Frame, ...]:
    return tuple(Frame(name, file, "", 7) for name, file in rows)


def thread(*rows: tuple[str, str], identity: int = 1, cpu: float | None = 1.0, gil: bool = False) -> Thread:
    return Thread(identity, "t", 5, False, gil, frames(*rows), cpu)


@pytest.mark.parametrize(
    ("file", "short", "code"),
    [
        ("/usr/lib/python3.11/threading.py", "threading.py", ("threading.py", True)),
        ("/opt/python/3.8.18/lib/python3.8/json/decoder.py", "", ("json/decoder.py", True)),
        ("/usr/lib/python311.zip/os.py", "", ("os.py", True)),
        ("<frozen importlib._bootstrap>", "", ("<frozen importlib._bootstrap>", True)),
        ("/v/lib/python3.12/site-packages/psycopg/connection.py", "", ("psycopg/connection.py", False)),
        ("/usr/lib/python3/dist-packages/django/db.py", "", ("django/db.py", False)),
        ("/v/lib/python3.12/site-packages/shop-1.2-py3.12.egg/shop/a.py", "", ("shop/a.py", False)),
        ("/v/lib/python3.12/site-packages/x/_c.cpython-312-x86_64-linux-gnu.so", "", ("x/_c.so", False)),
        ("/usr/lib/x86_64-linux-gnu/libpq.so.5.15", "", ("x86_64-linux-gnu/libpq.so", True)),
        ("/srv/releases/20261122093800/app.py", "app.py", ("app.py", False)),
        ("/srv/shop/app.py", "app.py", ("shop/app.py", False)),
        ("/srv/shop-1.4.2/app.py", "app.py", ("shop/app.py", False)),
        ("/srv/releases/3/shop/views.py", "shop/views.py", ("shop/views.py", False)),
        ("app.py", "app.py", ("app.py", False)),
        ("", "", ("", False)),
    ],
)
def test_files_are_named_as_on_every_host(file: str, short: str, code: tuple[str, bool]) -> None:
    assert normalise(Frame("f", file, short, 3))[:3] == Code("f", *code)[:3]


def test_addresses_go() -> None:
    assert normalise(Frame("0x7f12ab", "/a/b.so")).name == "0x…"


@pytest.mark.parametrize(
    ("rows", "idle"),
    [
        ([], True),
        ([("select", LIBRARY + "selectors.py"), ("_run_once", LIBRARY + "asyncio/base_events.py")], True),
        ([("select", LIBRARY + "selectors.py"), ("fetch", "/srv/app.py")], False),
        ([WAIT, GET, ("work", "/srv/app.py"), *TOP], True),
        ([WAIT, GET, ("run", "/srv/app.py"), TOP[1]], True),
        ([WAIT, GET, ("result_of", "/srv/app.py"), ("work", "/srv/app.py"), *TOP], False),
        ([WAIT, GET, ("handle", "/srv/app.py"), ("run", "/srv/app.py"), TOP[1]], False),
        ([WAIT, GET], False),
        ([WAIT, ("Event.wait", LIBRARY + "threading.py"), ("flush", "/srv/app.py"), *TOP], False),
        ([("_worker", LIBRARY + "concurrent/futures/thread.py"), *TOP], True),
        ([("SyncWorker.wait", SYNC), ("SyncWorker.run", SYNC)], True),
        ([("handle", SYNC), ("wait", SYNC)], False),
        ([("_shutdown", LIBRARY + "threading.py")], True),
        ([("accept", LIBRARY + "socket.py"), ("main", "/srv/app.py")], True),
        ([("recv_into", LIBRARY + "socket.py"), ("main", "/srv/app.py")], False),
        # With native frames below.
        ([*NATIVE, ("SyncWorker.wait", SYNC), ("SyncWorker.run", SYNC)], True),
        ([*NATIVE, ("handle", SYNC), ("wait", SYNC)], False),
        ([*NATIVE], False),
    ],
)
def test_where_idle_threads_wait_depends_on_who_called(rows: list[tuple[str, str]], idle: bool) -> None:
    assert waits_idle(thread(*rows)) is idle


AT_LOCK, AT_WORK, AT_QUEUE = ("handle", "/a.py"), ("work", "/a.py"), (WAIT, GET, ("work", "/a.py"), *TOP)


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([thread(AT_LOCK)], ONCE),
        ([thread(*AT_QUEUE)], IDLE),
        ([thread(AT_LOCK), thread(AT_LOCK)], STUCK),
        ([thread(AT_LOCK), thread(AT_LOCK, cpu=1.02)], STUCK),
        ([thread(AT_LOCK), thread(AT_LOCK, cpu=1.5)], MOVING),
        ([thread(AT_LOCK), thread(AT_WORK)], MOVING),
        ([thread(AT_LOCK), thread(AT_WORK), thread(AT_LOCK)], MOVING),
        ([thread(AT_LOCK), None], MOVING),
        ([thread(*AT_QUEUE), thread(*AT_QUEUE)], IDLE),
        ([thread(*AT_QUEUE), thread(*AT_QUEUE, cpu=2.0)], MOVING),
        ([thread(*AT_QUEUE), thread(AT_WORK)], MOVING),
        ([thread(AT_LOCK, cpu=None), thread(AT_LOCK, cpu=None)], STUCK),
        ([thread(AT_LOCK, cpu=None, gil=True), thread(AT_LOCK, cpu=None)], MOVING),
        ([thread(AT_LOCK, gil=True), thread(AT_LOCK, gil=True)], STUCK),
    ],
)
def test_the_rule_of_stuck_moving_and_idle(looks: list[Thread | None], expected: str) -> None:
    assert state(looks, 2.0) == expected


UNKNOWN = thread(AT_LOCK, cpu=None, gil=True)


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [((1.0, 1.0), STUCK), ((1.0, 1.02), STUCK), ((1.0, 1.5), MOVING), ((None, 1.0), MOVING), ((None, None), MOVING)],
)
def test_a_process_at_rest_has_no_thread_that_moves(cpu: tuple[float | None, ...], expected: str) -> None:
    looks = tuple(Look(at, (UNKNOWN,), seconds) for at, seconds in zip((5.0, 7.0), cpu, strict=True))
    [(_thread, found, _gil)] = states(Dump("web1", 1, "app", looks))
    assert found == expected


def test_threads_that_got_the_id_of_one_that_ended_are_not_one_that_is_stuck() -> None:
    """As glibc gives it to the next thread of a server that has one for each request."""
    looks = tuple(
        Look(float(number), (Thread(1, "t", 100 + number, False, False, frames(AT_LOCK), 0.01),)) for number in range(3)
    )
    assert [found for _thread, found, _gil in states(Dump("web1", 1, "app", looks))] == [MOVING] * 3


def test_who_held_the_gil_is_shown_where_it_held_it() -> None:
    looks = (Look(0.0, (thread(AT_WORK, gil=True),)), Look(1.0, (thread(*AT_QUEUE, cpu=1.4),)))
    [(shown, found, gil)] = states(Dump("web1", 1, "app", looks))
    assert ([frame.name for frame in shown.frames], found, gil) == (["work"], MOVING, 1)


def test_of_native_frames_the_culprit_is_who_called_them() -> None:
    looks = tuple(Look(float(number), (thread(*NATIVE, ("flush", "/srv/app.py")),)) for number in range(2))
    [group] = groups([Dump("web1", 1, "app", looks)])
    assert group.culprit is not None and group.stack[group.culprit].name == "flush"


NAMES = st.sampled_from(["f", "g", "h", "wait\x1b[2J", "日本" * 30, "`*_<b>"])
FRAMES = st.builds(Frame, NAMES, st.sampled_from(["/a/b.py", LIBRARY + "queue.py", ""]), st.just(""), st.integers(0, 3))
THREADS = st.builds(
    Thread,
    st.integers(0, 9),
    NAMES,
    st.none() | st.integers(0, 9),
    st.booleans(),
    st.booleans(),
    st.lists(FRAMES, max_size=5).map(tuple),
    st.none() | st.floats(0, 9),
)
LOOKS = st.builds(Look, st.floats(0, 9), st.lists(THREADS, unique_by=lambda one: one.id, max_size=4).map(tuple))
DUMPS = st.lists(
    st.builds(Dump, st.sampled_from(["web-1", "web-2", "x" * 90]), st.integers(1, 4), NAMES,
              st.lists(LOOKS, min_size=1, max_size=3).map(tuple)),
    max_size=5,
)  # fmt: skip


@given(DUMPS, st.randoms(), st.sampled_from(["largest", "rarest"]))
def test_grouping_is_independent_of_order(dumps: list[Dump], random: Any, order: str) -> None:
    mixed = list(dumps)
    random.shuffle(mixed)
    assert groups(mixed, order) == groups(dumps, order)
    assert tree(groups(mixed), order) == tree(groups(dumps), order)


@given(DUMPS)
def test_counts_add_up_and_the_largest_is_first(dumps: list[Dump]) -> None:
    rows = groups(dumps)
    expected = sum(len({(one.id, one.os_id or 0) for look in dump.looks for one in look.threads}) for dump in dumps)
    assert sum(row.threads for row in rows) == expected
    assert [row.threads for row in rows] == sorted((row.threads for row in rows), reverse=True)
    rarest = [(row.rank, row.threads) for row in groups(dumps, "rarest")]
    assert rarest == sorted(rarest)
    for row in rows:
        assert sum(row.states.values()) == row.threads >= row.processes >= len(row.hosts) >= 1
        assert all(sum(row.lines(index).values()) == row.threads for index in range(len(row.stack)))
        assert json.loads(json.dumps(plain(row)))["threads"] == row.threads


def ends(branch: Branch, above: tuple[Code, ...] = ()) -> Iterator[tuple[tuple[Code, ...], Branch]]:
    path = above + branch.stack
    if branch.group:
        yield path, branch
    for child in branch.children:
        yield from ends(child, path)


@given(DUMPS)
def test_the_tree_s_ends_are_the_groups(dumps: list[Dump]) -> None:
    rows = groups(dumps)
    root = tree(rows)
    found = list(ends(root))
    assert sorted(branch.group.stack for _path, branch in found if branch.group) == sorted(row.stack for row in rows)
    assert all(branch.group and path == branch.group.stack[::-1] for path, branch in found)
    assert all(branch.group or len(branch.children) != 1 for _path, branch in found)
    assert root.threads == sum(row.threads for row in rows)


@given(DUMPS, st.sampled_from([40, 80, 120]))
def test_text_fits_and_is_printable(dumps: list[Dump], width: int) -> None:
    rows = groups(dumps)
    for line in [*screen(rows).lines(width), *tree_lines(tree(rows), width)]:
        assert columns(line) <= width and line.isprintable()
    assert screen(rows).markdown().replace("\n", "").isprintable()


def test_a_stack_of_thousands_of_frames_is_no_trouble() -> None:
    deep = [Dump("h", n, "p", (Look(0, (thread(*[("f", "/a.py")] * n),)),)) for n in range(1, 4000, 40)]
    assert tree(groups(deep)).threads == 100 and len(tree_lines(tree(groups(deep)))) == 100


def fleet() -> list[Dump]:
    """400 workers: 396 wait to connect, 3 on web-07 are elsewhere, and one is idle."""
    dumps = []
    psycopg = "/venv/lib/python3.11/site-packages/psycopg/connection.py"
    for number in range(400):
        host = f"web-{number // 40:02}"
        where = ("wait", psycopg), ("connect", psycopg), ("handle", "/srv/shop/app.py")
        if host == "web-07" and number % 40 < 3:
            where = (WAIT, ("flush", "/srv/shop/store.py"), ("handle", "/srv/shop/app.py"))
        if number == 0:
            where = (("SyncWorker.wait", SYNC),)
        dumps.append(Dump(host, 1000 + number, "shop", tuple(Look(at, (thread(*where),)) for at in (0.0, 1.0))))
    return dumps


def test_the_sentence_at_the_top() -> None:
    rows = groups(fleet())
    assert sentences(rows) == [
        "396 of 400 threads stuck in `wait` (psycopg/connection.py:7) for `handle` (shop/app.py:7); "
        "3 on web-07 in `flush` (shop/store.py:7).",
        "400 threads on 10 hosts: 399 stuck, 1 idle.",
    ]
    assert [row.threads for row in groups(fleet(), "rarest")] == [3, 396, 1]
    # The first screen of a terminal.
    assert len(screen(rows).lines()) <= 24


PACKAGES = "/venv/lib/python3.11/site-packages/"


@pytest.mark.parametrize(
    ("rows", "culprit", "asker"),
    [
        pytest.param([("pay", "/srv/shop/app.py")], 0, None, id="ours"),
        pytest.param([WAIT, ("pay", "/srv/shop/app.py")], 1, None, id="Python's own"),
        pytest.param([("get", PACKAGES + "requests/api.py"), ("pay", "/srv/shop/app.py")], 0, 1, id="a package's"),
        pytest.param(
            [("f", PACKAGES + "a/b.py"), WAIT, ("<module>", "/venv/bin/shop"), ("pay", "/srv/a.py")], 0, 3, id="not bin"
        ),
        pytest.param([("f", PACKAGES + "a/b.py"), ("<module>", "/venv/bin/shop")], 0, None, id="nobody of ours"),
        pytest.param([], None, None, id="no frame"),
    ],
)
def test_for_whom_a_package_waits(rows: list[tuple[str, str]], culprit: int | None, asker: int | None) -> None:
    (group,) = groups([Dump("h", 1, "p", (Look(0, (thread(*rows),)), Look(1, (thread(*rows),))))])
    assert (group.culprit, group.asker) == (culprit, asker)
    found = plain(group)["asker"]
    assert found is None if asker is None else isinstance(found, dict) and found["depth"] == asker


def hogged(pid: int, held: tuple[bool, bool], stuck: int) -> Dump:
    """A thread that works, and others that are stuck."""
    looks = []
    for at, holds in enumerate(held):
        busy = thread(("spin", "/srv/a.py"), cpu=1.0 + at, gil=holds)
        others = [thread(("wait", "/srv/b.py"), identity=2 + number) for number in range(stuck)]
        looks.append(Look(at, (busy, *others)))
    return Dump("h", pid, "p", tuple(looks))


def test_who_keeps_the_gil_comes_first_where_it_explains_most() -> None:
    kept, waits = "The GIL is kept in `spin` (srv/a.py:7), 3 threads stuck beside it.", "stuck in `wait`"
    first, second, _counts = sentences(groups([hogged(1, (True, True), 3)]))
    assert first == kept and waits in second
    first, second, _counts = sentences(groups([hogged(1, (True, True), 3), hogged(2, (False, False), 4)]))
    assert second == kept and waits in first
    assert not any("kept" in text for text in sentences(groups([hogged(1, (True, False), 3)])))
    assert not any("kept" in text for text in sentences(groups([hogged(1, (True, True), 0)])))


def test_a_thread_that_is_about_to_end_is_where_it_was_before() -> None:
    looks = (Look(0, (thread(("load", "/srv/a.py"), cpu=1.0),)), Look(1, (thread(cpu=2.0),)))
    (group,) = groups([Dump("h", 1, "p", looks)])
    assert [code.name for code in group.stack] == ["load"] and group.states == {MOVING: 1}


def test_the_tree_names_those_that_differ() -> None:
    assert tree_lines(tree(groups(fleet()))) == [
        "400/400/10 on web-00, web-01 (+8 more)  all",
        "  399/399/10  handle (app.py)",
        "    396/396/10  connect (connection.py) → wait (connection.py)",
        "    3/3/1 on web-07  flush (store.py) → Condition.wait (threading.py)",
        "  1/1/1 on web-00  SyncWorker.wait (sync.py)",
    ]


RAW: dict[str, Any] = {
    "host": "web-01",
    "pid": 12,
    "name": "shop",
    "looks": [
        {
            "at": 1.5,
            "threads": [
                {
                    "pid": 12,
                    "thread_id": 140052944369344,
                    "thread_name": None,
                    "os_thread_id": 13,
                    "active": True,
                    "owns_gil": False,
                    "frames": [
                        {
                            "name": "f",
                            "filename": "/a.py",
                            "module": None,
                            "short_filename": "a.py",
                            "line": -1,
                            "locals": [{"name": "token", "addr": 1, "arg": True, "repr": "'hunter2'"}],
                        }
                    ],
                }
            ],
        }
    ],
}


def test_a_dump_is_read_and_its_locals_are_redacted() -> None:
    dump = Dump.from_wire(RAW)
    (frame,) = dump.looks[0].threads[0].frames
    assert frame.line == 0 and dump.looks[0].threads[0].os_id == 13
    assert "hunter2" not in repr(dump) and frame.locals[0].name == "token"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("host", None),
        ("pid", "12"),
        ("looks", []),
        ("looks", [RAW["looks"][0]] * (MAX_LOOKS + 1)),
        ("looks.0.threads", {}),
        ("looks.0.threads", RAW["looks"][0]["threads"] * 2),
        ("looks.0.at", "now"),
        ("looks.0.threads.0.thread_id", None),
        ("looks.0.threads.0.active", 1),
        ("looks.0.threads.0.cpu", float("nan")),
        ("looks.0.threads.0.frames", None),
        ("looks.0.threads.0.frames.0.line", True),
        ("looks.0.threads.0.frames.0.line", "7"),
        ("looks.0.threads.0.frames.0.locals", {}),
        ("looks.0.threads.0.frames.0.locals.0.repr", 7),
    ],
)
def test_one_wrong_field_is_refused(path: str, value: object) -> None:
    content: Any = json.loads(json.dumps(RAW))
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    inner = content
    for part in parents:
        inner = inner[part]
    inner[last] = value
    with pytest.raises(WireError):
        Dump.from_wire(content)


KEYS = st.sampled_from("host pid name looks threads at frames thread_id line locals filename".split())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    max_leaves=20,
)


@given(JSON, st.sampled_from(["", "looks", "threads", "frames"]))
def test_any_json_is_read_or_refused(value: Any, where: str) -> None:
    whole: Any = json.loads(json.dumps(RAW))
    if where == "frames":
        whole["looks"][0]["threads"][0]["frames"] = value
    elif where:
        whole = {**whole, "looks": None, where: value}
    try:
        groups([Dump.from_wire(whole if where else value)])
    except WireError as error:
        assert str(error).isprintable()


def test_an_unknown_order_is_refused_with_a_remedy() -> None:
    with pytest.raises(FleetError) as caught:
        groups([], "loudest")
    assert "largest" in caught.value.remedy


@pytest.mark.parametrize(("limit", "what"), [("MAX_FRAMES", "frames"), ("MAX_LOCALS", "locals")])
def test_too_much_is_refused_before_anything_is_redacted(
    limit: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    redacted: list[str] = []
    monkeypatch.setattr(_dumps, limit, 0)
    monkeypatch.setattr(_dumps, "redact_local", lambda name, _text: redacted.append(name))
    with pytest.raises(WireError, match=f"more {what}") as caught:
        Dump.from_wire(RAW)
    assert not redacted and caught.value.remedy
