# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real services with one fault each, dumped by the host program: what a person reads first must name the culprit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._stacks import Group
from ansible_collections.pyspy.fleet.plugins.plugin_utils._stacks_text import gil_lines, sentences, terminal
from ansible_collections.pyspy.fleet.plugins.plugin_utils._waiting import IDLE, MOVING, STUCK
from ansible_collections.pyspy.fleet.tests.lab.faults.database import postgres
from ansible_collections.pyspy.fleet.tests.lab.faults.diagnosis import diagnose
from ansible_collections.pyspy.fleet.tests.lab.faults.programs import line
from ansible_collections.pyspy.fleet.tests.lab.faults.services import Service, service, silent_server
from ansible_collections.pyspy.fleet.tests.lab.host_program import Host
from ansible_collections.pyspy.fleet.tests.lab.managers import Running, redis, running
from ansible_collections.pyspy.fleet.tests.lab.selecting import ask
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

GUNICORN = "gunicorn -b unix:socket --timeout 0".split()

WAITED, HELD = "the lock is waited for", "the lock is held"


def at(program: str, function: str, comment: str) -> str:
    """Where threads stand, as ``name:line``."""
    return f"{function}:{line(program, comment)}"


def named(folder: Path, program: str, function: str, comment: str) -> str:
    """The same as it is told to a person."""
    return f"`{function}` ({folder.name}/{program}:{line(program, comment)})"


def found(rows: list[Group], state: str) -> dict[str, int]:
    """How many threads of this state are in which function."""
    counts: dict[str, int] = {}
    for row in rows:
        if row.states.get(state) and row.culprit is not None:
            name = row.stack[row.culprit].name
            counts[name] = counts.get(name, 0) + row.states[state]
    return counts


def fill(shop: Service, path: str, host: Host, pids: list[int], place: str, threads: int) -> None:
    """Ask until so many threads stand there: a worker may take several requests while another has none."""


#: What guards the stock of how many workers with how many threads.
POOLS = {
    "a file's lock over workers": ("shelf", "file", 5, 1),
    "a lock shared by workers": ("stock", "shared", 5, 1),
    "a lock shared by workers with threads": ("stock", "shared", 4, 2),
    "a lock of threads": ("stock", "thread", 1, 6),
}


@pytest.mark.parametrize("pool", POOLS)
def test_a_pool_that_waits_for_a_lock_and_the_one_that_holds_it(pool: str, host: Host, tmp_path: Path) -> None:
    program, kind, workers, threads = POOLS[pool]
    options = ["--preload", "-w", str(workers), *(["--threads", str(threads)] if threads > 1 else [])]
    file, all_threads = f"{program}.py", workers * threads
    with ExitStack() as stack:
        port = stack.enter_context(silent_server())
        command = [*GUNICORN, *options, f"{program}:app"]
        shop = stack.enter_context(service(tmp_path, *command, KIND_OF_LOCK=kind, SILENT_PORT=port))
        pids = list(shop.here.workers(workers))
        shop.ask("/recount")
        diagnose(host, pids, {at(file, "recount", HELD): 1}, looks=1)
        # A worker with threads may take several requests while another has none.
        for _request in range(4 * all_threads if threads > 1 and workers > 1 else all_threads):
            shop.ask("/reserve")
        rows = diagnose(host, pids, {at(file, "reserve", WAITED): all_threads - 1})
        assert shop.answered() == 0
    assert found(rows, STUCK) == {"reserve": all_threads - 1, "recount": 1}
    assert not found(rows, MOVING)
    first = sentences(rows)[0]
    total = sum(row.threads for row in rows)
    assert f"{all_threads - 1} of {total} threads stuck in {named(tmp_path, file, 'reserve', WAITED)}" in first
    assert f"; 1 in {named(tmp_path, file, 'recount', HELD)}" in first


def test_connections_that_wait_for_a_row(host: Host, tmp_path: Path) -> None:
    with ExitStack() as stack:
        database, port = stack.enter_context(postgres()), stack.enter_context(silent_server())
        database.ask("CREATE TABLE account (id int PRIMARY KEY, balance int); INSERT INTO account VALUES (1, 0)")
        environ = {"DATABASE": f"'{database.address}'", "SILENT_PORT": port}
        command = [*GUNICORN, "-w", "5", "payments:app"]
        shop = stack.enter_context(service(tmp_path, *command, DATABASE=database.address, SILENT_PORT=port))
        pids = list(shop.here.workers(5))
        shop.ask("/refund")
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE "
        await_condition("the refund", lambda: database.ask(waiting + "state = 'idle in transaction'") == "1")
        for _request in range(4):
            shop.ask("/pay")
        await_condition("the others", lambda: database.ask(waiting + "wait_event_type = 'Lock'") == "4")
        rows = diagnose(host, pids, {at("payments.py", "pay", "the row is waited for"): 4})
        assert shop.answered() == 0
    print("\n".join(terminal(rows, 120)))
    first = sentences(rows)[0]
    assert named(tmp_path, "payments.py", "pay", "the row is waited for") in first
    assert f"1 in {named(tmp_path, 'payments.py', 'refund', 'the row is held')}" in first


def test_threads_that_wait_for_a_server_that_never_answers(host: Host, tmp_path: Path) -> None:
    with ExitStack() as stack:
        port = stack.enter_context(silent_server())
        command = "waitress-serve --unix-socket=socket --threads=6 rates:app".split()
        shop = stack.enter_context(service(tmp_path, *command, SILENT_PORT=port))
        pids = list(shop.here.workers(1))
        for _request in range(4):
            shop.ask("/")
        rows = diagnose(host, pids, {"readinto": 0, at("rates.py", "fetch_rates", "no answer comes"): 4})
        assert shop.answered() == 0
    print("\n".join(terminal(rows, 120)))
    first = sentences(rows)[0]
    assert f"4 of 7 threads stuck in {named(tmp_path, 'rates.py', 'fetch_rates', 'no answer comes')}" in first
    assert sum(found(rows, IDLE).values()) == 3


def test_two_threads_in_a_deadlock(host: Host, tmp_path: Path) -> None:
    places = [("debit", "the second lock of a debit"), ("credit", "the second lock of a credit")]
    with service(tmp_path, *GUNICORN, "--threads", "4", "transfers:app") as shop:
        pids = list(shop.here.workers(1))
        shop.ask("/debit")
        shop.ask("/credit")
        rows = diagnose(host, pids, {at("transfers.py", *place): 1 for place in places})
        assert shop.answered() == 0
    assert found(rows, STUCK) == {"debit": 1, "credit": 1} and not found(rows, MOVING)
    first = sentences(rows)[0]
    assert all(f"1{of} in {named(tmp_path, 'transfers.py', *place)}" in first for of, place in zip(("", " of 3 threads stuck"), places[::1], strict=True)), first


def test_a_thread_that_keeps_the_gil(host: Host, tmp_path: Path) -> None:
    with service(tmp_path, *GUNICORN, "--threads", "4", "checks:app") as shop:
        pids = list(shop.here.workers(1))
        shop.ask("/slow")
        rows = diagnose(host, pids, {at("checks.py", "is_address", "the GIL is held"): 1})
        for _request in range(3):
            shop.ask("/")
        rows = diagnose(host, pids, {})
        assert shop.answered() == 0
    print("\n".join(terminal(rows, 120)))
    where = named(tmp_path, "checks.py", "is_address", "the GIL is held")
    assert gil_lines(rows) == [f"held in {where}: web-07 pid {pids[0]}"]
    assert found(rows, MOVING) == {"is_address": 1}
    assert where in sentences(rows)[0]


@pytest.mark.parametrize("stands", [False, True], ids=["idle", "blocked"])
def test_greenlets(stands: bool, host: Host, tmp_path: Path) -> None:
    import fcntl

    with (tmp_path / "news.lock").open("w") as lock, service(tmp_path, *GUNICORN, "-k", "gevent", "greenlets:app") as shop:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (pid,) = shop.here.workers(1)
        for _request in range(5):
            shop.ask("/subscribe")
        await_condition("five greenlets", lambda: (tmp_path / f"asked-{pid}").read_text() == "." * 5)
        if stands:
            shop.ask("/publish")
        place = {at("greenlets.py", "publish", "the loop stands here"): 1} if stands else {"Hub.run": 1}
        rows = diagnose(host, [pid], place)
        assert shop.answered() == 0
    print("\n".join(terminal(rows, 120)))
    if stands:
        assert f"stuck in {named(tmp_path, 'greenlets.py', 'publish', 'the loop stands here')}" in sentences(rows)[0]
    else:
        assert found(rows, IDLE) == {"Hub.run": 1} and sentences(rows)[0].endswith(": 1 idle.")


@pytest.mark.parametrize("stands", [False, True], ids=["idle", "blocked"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_event_loops(loop: str, stands: bool, host: Host, tmp_path: Path) -> None:
    with ExitStack() as stack:
        port = stack.enter_context(silent_server())
        command = f"uvicorn --loop {loop} --uds socket loops:app".split()
        shop = stack.enter_context(service(tmp_path, *command, SILENT_PORT=port))
        pids = list(shop.here.workers(1))
        for _request in range(3):
            shop.ask("/events")
        if stands:
            shop.ask("/lookup")
        rows = diagnose(host, pids, {at("loops.py", "lookup", "the loop stands here"): 1} if stands else {})
        assert shop.answered() == 0
    print("\n".join(terminal(rows, 120)))
    if stands:
        assert f"stuck in {named(tmp_path, 'loops.py', 'lookup', 'the loop stands here')}" in sentences(rows)[0]
    else:
        assert [row.states for row in rows] == [{IDLE: 1}]


#: Services with nothing to do: the command, and how many workers report.
IDLERS = {
    "gunicorn": ("gunicorn -w 2 -b unix:socket shop:app", 2),
    "gunicorn with threads": ("gunicorn --threads 4 -b unix:socket shop:app", 1),
    "uWSGI": ("uwsgi --master -p 2 --need-app --lazy-apps --module shop:app --http-socket 127.0.0.1:0", 2),
    "waitress": ("waitress-serve --unix-socket=socket --threads=3 shop:app", 1),
    "uvicorn": ("uvicorn --workers 2 --uds socket asgi:app", 2),
    "hypercorn": ("hypercorn --workers 2 --bind unix:socket asgi:app", 2),
    "granian": ("granian --workers 2 --uds socket --interface asgi asgi:app", 2),
    "Celery": ("celery -A tasks worker -c 2", 2),
    "Celery with threads": ("celery -A tasks worker -P threads -c 2", 1),
    "Celery's beat": ("celery -A tasks beat", 1),
    "Celery with Redis": ("celery -A tasks -b redis+socket://{folder}/redis worker -c 2", 2),
    "rq": ("rq worker -u unix://{folder}/redis", 0),
    "dramatiq": ("dramatiq -p 2 -t 2 actors", 2),
    "supervisord": ("supervisord -n -c supervisord.conf", 3),
}


@pytest.mark.parametrize("manager", IDLERS)
def test_what_has_nothing_to_do_is_idle(manager: str, host: Host, tmp_path: Path) -> None:
    command, workers = IDLERS[manager]
    with redis(tmp_path), running(tmp_path, *command.format(folder=tmp_path).split()) as here:
        here.workers(workers)
        last: list[list[Group]] = []

        def at_rest() -> bool:
            pids = sorted(pid for pid in ask(children_of=here.shell, process_role="any").targets if pid != 0)
            last.append(diagnose(host, pids, {}))
            return bool(pids) and not {state for row in last[-1] for state in row.states} - {IDLE}

        await_condition("all to be idle", at_rest, 30)
