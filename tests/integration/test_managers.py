# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is master, worker and neither below the real managers of Python processes.

The workers themselves say who they are and who started them; then the host program is asked.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from ansible_collections.pyspy.fleet.tests.lab.host_program import parent_of
from ansible_collections.pyspy.fleet.tests.lab.managers import Running, environment, redis, running
from ansible_collections.pyspy.fleet.tests.lab.selecting import Found, ask
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition


class Manager(NamedTuple):
    """A command, what its master and workers are called, how many there are, and whether titles are set."""

    command: str
    master: str
    worker: str
    workers: int = 2
    untitled: bool = False
    #: Python processes below that are neither, by their reasons.
    others: tuple[str, ...] = ()


TRACKER = "multiprocessing resource tracker: never worth a profile"
FORKSERVER = "multiprocessing forkserver: never worth a profile"
UWSGI = "uwsgi --master -p 2 --need-app --lazy-apps --module shop:app"

MANAGERS = {
    "gunicorn": Manager("gunicorn -w 2 -b unix:socket shop:app", "gunicorn", "gunicorn"),
    "gunicorn without setproctitle": Manager(
        "gunicorn -w 2 -b unix:socket shop:app", "gunicorn", "gunicorn", untitled=True
    ),
    "gunicorn with threads": Manager("gunicorn -w 2 --threads 4 -b unix:socket shop:app", "gunicorn", "gunicorn"),
    "uWSGI": Manager(UWSGI + " --http-socket 127.0.0.1:0", "uwsgi", "uwsgi"),
    "uWSGI with auto-procname": Manager(
        UWSGI + " --http 127.0.0.1:0 --auto-procname", "uWSGI", "uWSGI", others=("uWSGI http 1: never worth a profile",)
    ),
    "Celery": Manager("celery -A tasks worker -c 2", "Celery", "Celery"),
    "Celery without setproctitle": Manager("celery -A tasks worker -c 2", "celery", "celery", untitled=True),
    "uvicorn": Manager("uvicorn --workers 2 --uds socket asgi:app", "uvicorn", "uvicorn", others=(TRACKER,)),
    "hypercorn": Manager(
        "hypercorn --workers 2 --bind unix:socket asgi:app", "hypercorn", "hypercorn", others=(TRACKER,)
    ),
    "granian": Manager("granian --workers 2 --uds socket --interface asgi asgi:app", "granian", "granian"),
    "granian without setproctitle": Manager(
        "granian --workers 2 --uds socket --interface asgi asgi:app", "granian", "granian", untitled=True
    ),
    "granian with a name": Manager(
        "granian --workers 2 --uds socket --interface asgi --process-name myshop asgi:app", "myshop", "myshop worker-"
    ),
    "dramatiq": Manager("dramatiq -p 2 -t 1 actors", "dramatiq", "dramatiq"),
    "multiprocessing fork": Manager("python pool.py fork", "pool.py", "pool.py"),
    "multiprocessing spawn": Manager("python pool.py spawn", "pool.py", "pool.py", others=(TRACKER,)),
    "multiprocessing forkserver": Manager(
        "python pool.py forkserver", "pool.py", "pool.py", others=(TRACKER, FORKSERVER)
    ),
}


@pytest.fixture(params=MANAGERS)
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Manager, Running]]:
    chosen = MANAGERS[request.param]
    with running(tmp_path, *chosen.command.split(), untitled=chosen.untitled) as here:
        yield chosen, here


def title_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().strip("\0")


def is_below(pid: int, top: int) -> bool:
    """Other tests may run on this machine meanwhile, with helpers of their own."""
    try:
        while pid not in (0, top):
            pid = parent_of(pid)
    except OSError:
        return False  # it has ended
    return pid == top


def when_titles_are_set(here: Running, workers: set[int], others: list[str]) -> Found:
    """What is chosen below the shell, once it is these workers: some report before they have their title."""
    found = [ask(children_of=here.shell)]

    def right() -> bool:
        below = {pid: why for pid, why in found[-1].skipped.items() if is_below(pid, here.shell)}
        rest = [why for why in below.values() if " master of " not in why]
        if (set(found[-1].targets), sorted(rest)) == (workers, others):
            return True
        found.append(ask(children_of=here.shell))
        return False

    await_condition(f"{workers} and {others}, not {found[-1]}", right, 15)
    return found[-1]


def test_workers_are_chosen_masters_and_helpers_are_not(manager: tuple[Manager, Running]) -> None:
    expected, here = manager
    workers = here.workers(expected.workers)
    # A forkserver stands between a worker and its master.
    master = {parent if parent_of(parent) == here.shell else parent_of(parent) for parent in workers.values()}.pop()
    assert parent_of(master) == here.shell

    below = when_titles_are_set(here, set(workers), sorted(expected.others))
    assert all(reason.startswith(expected.worker) and " worker, " in reason for reason in below.targets.values())
    assert below.skipped[master] == f"{expected.master} master of {expected.workers} workers"

    named = ask(pids=[master])
    assert set(named.targets) == set(workers)
    assert all(reason.endswith(f"; its master {master} was named") for reason in named.targets.values())
    assert named.skipped[master].endswith("; its workers are meant instead")

    assert set(ask(children_of=here.shell, process_role="any").targets) == {*workers, master}


@pytest.mark.parametrize("command", ["celery -A tasks worker -P threads -c 2", "celery -A tasks beat"])
def test_what_of_celery_does_its_work_itself(command: str, tmp_path: Path) -> None:
    with running(tmp_path, *command.split()) as here:
        (only,) = here.workers(1)
        found = ask(children_of=here.shell)
        assert list(found.targets) == [only] and found.targets[only].startswith("single process, ")


def test_beat_inside_a_worker_of_celery_is_no_worker(tmp_path: Path) -> None:
    with running(tmp_path, *"celery -A tasks worker -B -c 2".split()) as here:
        workers = here.workers(2)
        (master,) = set(workers.values())
        await_condition("beat", lambda: "[celery beat]" in map(title_of, ask(children_of=master).targets))
        assert set(ask(pids=[master]).targets) == set(workers)
        others = {pid: reason for pid, reason in ask(children_of=master).targets.items() if pid not in workers}
        assert [title_of(pid) for pid in others] == ["[celery beat]"]
        assert all(reason.startswith("single process, ") for reason in others.values())


@pytest.mark.parametrize("untitled", [False, True], ids=["titles", "no titles"])
def test_the_process_of_a_job_is_the_worker_of_rq(untitled: bool, tmp_path: Path) -> None:
    with ExitStack() as stack:
        address = stack.enter_context(redis(tmp_path))
        here = stack.enter_context(running(tmp_path, "rq", "worker", "-u", address, untitled=untitled))
        waiting = ask(children_of=here.shell)
        subprocess.run((environment() / "rq", "enqueue", "-u", address, "jobs.job"), check=True, cwd=tmp_path)
        ((job, worker),) = here.workers(1).items()
        assert not set(waiting.targets) - {worker}, "without a job it stands alone"
        named = ask(pids=[worker])
        assert list(named.targets) == [job] and named.targets[job].startswith("rq worker, ")
        assert named.skipped[worker] == "rq master of 1 worker; its workers are meant instead"


def test_a_worker_that_has_children_is_still_a_worker(tmp_path: Path) -> None:
    with running(tmp_path, *"gunicorn -w 1 -b unix:socket pooled:app".split()) as here:
        tree = here.workers(2)
        (worker,) = (pid for pid, parent in tree.items() if parent in tree.values() and parent not in tree)
        (child,) = set(tree) - {worker}
        found = ask(children_of=here.shell)
        assert tree[child] == worker and set(found.targets) == {worker, child}
        assert found.targets[worker].startswith("gunicorn worker, ")
        assert found.skipped[tree[worker]] == "gunicorn master of 1 worker"
        assert TRACKER in found.skipped.values()


def test_supervisord_and_a_shell_below_it(tmp_path: Path) -> None:
    with running(tmp_path, "supervisord", "-n", "-c", "supervisord.conf") as here:
        tree = here.workers(3)
        found = ask(children_of=here.shell, exclude="supervisord")
        assert set(found.targets) == set(tree)
        shells = [parent for parent in tree.values() if Path(f"/proc/{parent}/comm").read_text() == "sh\n"]
        assert len(shells) == 1 and shells[0] not in found.skipped, "a shell is not even considered"
        (master,) = {parent for parent in tree.values() if parent not in shells}
        assert found.skipped[master] == "gunicorn master of 2 workers"


@pytest.mark.parametrize("wrapper", ["tini -s --", "dumb-init", "sudo -E env PATH=$PATH"])
def test_wrappers_are_never_chosen(wrapper: str, tmp_path: Path) -> None:
    command = wrapper.replace("$PATH", f"{environment()}:/usr/bin:/bin")
    with running(tmp_path, *command.split(), *"gunicorn -w 2 -b unix:socket shop:app".split()) as here:
        workers = here.workers(2)
        (master,) = set(workers.values())
        top = parent_of(master)
        name = Path(f"/proc/{top}/comm").read_text().strip()
        assert name in wrapper and ask(pids=[top]).error == f"Process {top} ({name}) is not Python"
        assert set(ask(children_of=top).targets) == set(ask(children_of=here.shell).targets) == set(workers)
        assert set(ask(children_of=here.shell, process_role="any").targets) == {*workers, master}
