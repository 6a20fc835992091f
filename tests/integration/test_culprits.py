# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real services with one fault each, and ``dump.yml`` on them: what a person reads first must name the culprit."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._waiting import IDLE, MOVING, STUCK
from ansible_collections.pyspy.fleet.tests.lab.faults.database import postgres
from ansible_collections.pyspy.fleet.tests.lab.faults.diagnosis import HERE, Diagnosis, await_threads, diagnose, place
from ansible_collections.pyspy.fleet.tests.lab.faults.programs import line
from ansible_collections.pyspy.fleet.tests.lab.faults.services import Service, service, silent_server
from ansible_collections.pyspy.fleet.tests.lab.host_program import Host
from ansible_collections.pyspy.fleet.tests.lab.managers import redis, running
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

GUNICORN = ("gunicorn", "-b", "unix:socket", "--timeout", "0")


class Where(NamedTuple):
    """A line of one of the programs."""

    program: str
    function: str
    comment: str

    @property
    def frame(self) -> tuple[str, int]:
        return self.function, line(self.program, self.comment)

    def __str__(self) -> str:
        return place(self.function, f"shop/{self.program}", line(self.program, self.comment))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The services' folder: with its name they tell where their files are."""
    (tmp_path / "shop").mkdir()
    return tmp_path / "shop"


def look(host: Host, asked: Service, standing: dict[Where, int]) -> Diagnosis:
    """Dump the service once so many threads stand where they will stay; nobody may have got an answer by then."""
    await_threads(host, list(asked.here.reported()), {where.frame: number for where, number in standing.items()})
    found = diagnose(host.directory, asked.here, asked.here.folder.parent / "results")
    assert asked.answered() == 0
    return found


#: The program, the kind of its lock, how many workers, and threads of each.
POOLS = {
    "a file's lock": ("shelf.py", "file", 5, 1),
    "a lock of processes": ("stock.py", "shared", 5, 1),
    "a lock of processes with threads": ("stock.py", "shared", 4, 2),
    "a lock of threads": ("stock.py", "thread", 1, 6),
}


@pytest.mark.parametrize("pool", POOLS)
def test_a_pool_that_waits_for_a_lock_and_the_one_that_holds_it(pool: str, host: Host, shop: Path) -> None:
    program, kind, workers, threads = POOLS[pool]
    waits, holds = Where(program, "reserve", "the lock is waited for"), Where(program, "recount", "the lock is held")
    others = workers * threads - 1
    options = ["--preload", "-w", str(workers)]
    if threads > 1:
        # No worker takes more requests than it has threads.
        options += ["--threads", str(threads), "--worker-connections", str(threads), "--keep-alive", "0"]
    with silent_server() as port:
        command = (*GUNICORN, *options, f"{program.removesuffix('.py')}:app")
        with service(shop, *command, KIND_OF_LOCK=kind, SILENT_PORT=port) as asked:
            pids = list(asked.here.workers(workers))
            asked.ask("/recount")
            await_threads(host, pids, {holds.frame: 1})
            for _request in range(others):
                asked.ask("/reserve")
            found = look(host, asked, {waits: others, holds: 1})
    assert found.culprits(STUCK) == {str(waits): others, str(holds): 1}
    assert not found.states[MOVING]
    assert found.first == f"{others} of {found.states.total()} threads stuck in {waits}; 1 in {holds}."


PAYS = Where("payments.py", "pay", "the row is waited for")
REFUNDS = Where("payments.py", "refund", "the row is held")


@pytest.fixture(scope="module")
def payments(directory: str, tmp_path_factory: pytest.TempPathFactory) -> Diagnosis:
    """Five workers at one PostgreSQL: four wait for a row that the fifth has changed and not committed."""
    shop = tmp_path_factory.mktemp("payments") / "shop"
    shop.mkdir()
    with ExitStack() as stack:
        database, port = stack.enter_context(postgres()), stack.enter_context(silent_server())
        database.ask("CREATE TABLE account (id int PRIMARY KEY, balance int); INSERT INTO account VALUES (1, 0)")
        command = (*GUNICORN, "-w", "5", "payments:app")
        asked = stack.enter_context(service(shop, *command, DATABASE=database.address, SILENT_PORT=port))
        asked.here.workers(5)
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE "
        asked.ask("/refund")
        await_condition("the refund", lambda: database.ask(sessions + "state = 'idle in transaction'") == "1")
        for _request in range(4):
            asked.ask("/pay")
        await_condition("all payments", lambda: database.ask(sessions + "wait_event_type = 'Lock'") == "4")
        return look(Host(directory), asked, {PAYS: 4, REFUNDS: 1})


def test_connections_that_wait_for_a_row_and_the_one_that_holds_it(payments: Diagnosis) -> None:
    stuck = payments.culprits(STUCK)
    assert stuck.pop(str(REFUNDS)) == 1
    assert set(payments.states) == {STUCK, IDLE} and payments.states[STUCK] == 5
    ((driver, number),) = stuck.items()
    assert number == 4 and "psycopg/connection.py" in driver
    assert payments.first == f"4 of {payments.states.total()} threads stuck in {driver} for {PAYS}; 1 in {REFUNDS}."


FETCHES = Where("rates.py", "fetch_rates", "no answer comes")


@pytest.fixture(scope="module")
def rates(directory: str, tmp_path_factory: pytest.TempPathFactory) -> Diagnosis:
    """A server of seven threads, of which four have asked another server by requests."""
    shop = tmp_path_factory.mktemp("rates") / "shop"
    shop.mkdir()
    command = ("waitress-serve", "--unix-socket=socket", "--threads=6", "rates:app")
    with silent_server() as port, service(shop, *command, SILENT_PORT=port) as asked:
        asked.here.workers(1)
        for _request in range(4):
            asked.ask("/")
        return look(Host(directory), asked, {FETCHES: 4})


def test_threads_that_wait_for_a_server_that_never_answers(rates: Diagnosis) -> None:
    assert rates.states == {STUCK: 4, IDLE: 3}
    ((library, number),) = rates.culprits(STUCK).items()
    assert number == 4 and "`HTTPConnection.getresponse` (urllib3/connection.py:" in library
    assert rates.first == f"4 of 7 threads stuck in {library} for {FETCHES}."


def test_two_threads_in_a_deadlock(host: Host, shop: Path) -> None:
    credits = Where("transfers.py", "credit", "the second lock of a credit")
    debits = Where("transfers.py", "debit", "the second lock of a debit")
    with service(shop, *GUNICORN, "--threads", "4", "transfers:app") as asked:
        asked.here.workers(1)
        asked.ask("/debit")
        asked.ask("/credit")
        found = look(host, asked, {debits: 1, credits: 1})
    assert found.states == {STUCK: 2, IDLE: 1}
    assert found.first == f"1 of 3 threads stuck in {credits}; 1 in {debits}."


def test_a_thread_that_keeps_the_gil(host: Host, shop: Path) -> None:
    hogs = Where("checks.py", "is_address", "the GIL is held")
    with service(shop, *GUNICORN, "--threads", "4", "checks:app") as asked:
        (pid,) = asked.here.workers(1)
        asked.ask("/slow")
        await_threads(host, [pid], {hogs.frame: 1})
        for _request in range(3):
            asked.ask("/")
        found = look(host, asked, {hogs: 1})
    assert found.culprits(MOVING) == {str(hogs): 1}
    # The main thread wants it too: in the middle of something, or on its way into select.
    beside = f"The GIL is kept in {hogs}, 1 thread stuck beside it."
    assert found.first == (beside if found.states[STUCK] else f"1 of 2 threads moving in {hogs}.")
    assert f"GIL held in {hogs}: {HERE} pid {pid} " in found.run.words
    assert [[row["pid"] for row in group["gil"]] for group in found.groups if group["gil"]] == [[pid]]


@pytest.fixture(params=[False, True], ids=["idle", "blocked"])
def blocked(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Does somebody stop the loop?"""
    yield bool(request.param)


def test_greenlets(blocked: bool, host: Host, shop: Path) -> None:
    stands = Where("greenlets.py", "publish", "the loop stands here")
    with (shop / "news.lock").open("w") as lock, service(shop, *GUNICORN, "-k", "gevent", "greenlets:app") as asked:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (pid,) = asked.here.workers(1)
        for _request in range(5):
            asked.ask("/subscribe")
        await_condition("five greenlets", lambda: (shop / f"asked-{pid}").read_text() == "." * 5)
        if blocked:
            asked.ask("/publish")
        found = look(host, asked, {stands: 1} if blocked else {})
    assert found.first == (f"1 of 1 thread stuck in {stands}." if blocked else "1 thread on 1 host: 1 idle.")
    assert "gevent: of all greenlets of a thread only the one that runs is visible" in found.run.words


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_event_loops(loop: str, blocked: bool, host: Host, shop: Path) -> None:
    stands = Where("loops.py", "lookup", "the loop stands here")
    command = ("uvicorn", "--loop", loop, "--uds", "socket", "loops:app")
    with silent_server() as port, service(shop, *command, SILENT_PORT=port) as asked:
        asked.here.workers(1)
        for _request in range(3):
            asked.ask("/events")
        if blocked:
            asked.ask("/lookup")
        found = look(host, asked, {stands: 1} if blocked else {})
    assert found.first == (f"1 of 1 thread stuck in {stands}." if blocked else "1 thread on 1 host: 1 idle.")


#: Services that have nothing to do: the command, and how many workers report.
AT_REST = {
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
}


@pytest.mark.parametrize("manager", AT_REST)
def test_what_has_nothing_to_do_is_idle(manager: str, host: Host, shop: Path) -> None:
    command, workers = AT_REST[manager]
    with redis(shop), running(shop, *command.format(folder=shop).split()) as here:
        here.workers(workers)

        def at_rest() -> bool:
            return set(diagnose(host.directory, here, shop.parent / "results", process_role="any").states) == {IDLE}

        await_condition("all to be idle, the masters too", at_rest, 90)
