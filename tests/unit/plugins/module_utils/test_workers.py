# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "workers": process trees as managers really leave them, as tables."""

from __future__ import annotations

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._workers import (
    MAX_NAME,
    Command,
    Member,
    display_name,
    judge_roles,
    own_program,
    parse_command,
)
from hypothesis import given
from hypothesis import strategies as st

PY = "/usr/bin/python3"
SPAWN = (PY, "-c", "from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=5)", "--multiprocessing-fork")
TRACKER = (PY, "-c", "from multiprocessing.resource_tracker import main;main(4)")
FORKSERVER = (PY, "-c", "from multiprocessing.forkserver import main; main(5, 6, ['__main__'])")
BATCH = (PY, "/srv/batch.py")
GUNICORN = (PY, "/srv/venv/bin/gunicorn", "-w", "2", "shop:app")
UWSGI = ("/usr/bin/uwsgi", "--master", "-p", "2")
CELERY = (PY, "/srv/venv/bin/celery", "-A", "tasks", "worker")


def roles(*members: tuple[int, int, tuple[str, ...]]) -> dict[int, str]:
    """As text: ``gunicorn worker of 10``, ``gunicorn master of 2``."""
    shown = {}
    for pid, role in judge_roles(Member(*member) for member in members).items():
        other = role.master or role.workers
        shown[pid] = f"{role.label} {role.role}" + (f" of {other}" if other else "")
    return shown


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        pytest.param(
            [
                (10, 1, ("gunicorn: master [shop]",)),
                (11, 10, ("gunicorn: worker [shop]",)),
                (12, 10, ("gunicorn: worker [shop]",)),
            ],
            {10: "gunicorn master of 2", 11: "gunicorn worker of 10", 12: "gunicorn worker of 10"},
            id="gunicorn with setproctitle",
        ),
        pytest.param(
            [(10, 1, GUNICORN), (11, 10, GUNICORN), (12, 10, GUNICORN)],
            {10: "gunicorn master of 2", 11: "gunicorn worker of 10", 12: "gunicorn worker of 10"},
            id="gunicorn without",
        ),
        pytest.param([(10, 1, ("gunicorn: master [shop]",))], {10: "gunicorn single"}, id="no workers yet"),
        pytest.param(
            [
                (10, 1, ("gunicorn: master [shop]",)),
                (20, 10, ("gunicorn: dirty-arbiter",)),
                (21, 20, ("gunicorn: dirty-worker [shop]",)),
                (11, 10, ("gunicorn: worker [shop]",)),
            ],
            {
                10: "gunicorn master of 1",
                20: "gunicorn master of 1",
                21: "gunicorn worker of 20",
                11: "gunicorn worker of 10",
            },
            id="gunicorn's dirty workers",
        ),
        pytest.param(
            [(10, 1, UWSGI), (11, 10, UWSGI), (12, 10, UWSGI)],
            {10: "uwsgi master of 2", 11: "uwsgi worker of 10", 12: "uwsgi worker of 10"},
            id="uWSGI",
        ),
        pytest.param(
            [
                (10, 1, ("shop uWSGI master",)),
                (11, 10, ("shop uWSGI worker 1",)),
                (12, 10, ("shop uWSGI http 1",)),
            ],
            {10: "uWSGI master of 1", 11: "uWSGI worker of 10", 12: "uWSGI helper"},
            id="uWSGI with auto-procname",
        ),
        pytest.param(
            [
                (10, 1, ("[celeryd: a@b:MainProcess] -active- (-A tasks worker)",)),
                (11, 10, ("[celeryd: a@b:ForkPoolWorker-1]",)),
            ],
            {10: "Celery master of 1", 11: "Celery worker of 10"},
            id="Celery with setproctitle",
        ),
        pytest.param(
            [(10, 1, CELERY), (11, 10, CELERY)],
            {10: "celery master of 1", 11: "celery worker of 10"},
            id="Celery without",
        ),
        pytest.param(
            [(10, 1, ("[celeryd: a@b:MainProcess] -active- (worker -P threads)",))],
            {10: "Celery single"},
            id="Celery threads",
        ),
        pytest.param(
            [
                (10, 1, ("[celeryd: a@b:MainProcess] -active- (-A tasks worker -B)",)),
                (11, 10, ("[celery beat]",)),
                (12, 10, ("[celeryd: a@b:ForkPoolWorker-2]",)),
            ],
            {10: "Celery master of 1", 11: "Celery beat single", 12: "Celery worker of 10"},
            id="Celery with beat in it",
        ),
        pytest.param([(10, 1, ("[celery beat] -A tasks beat",))], {10: "Celery beat single"}, id="Celery beat"),
        pytest.param(
            [
                (10, 1, ("granian asgi 0.0.0.0:80 shop:app",)),
                (11, 10, ("granian asgi 0.0.0.0:80 shop:app worker-1",)),
                (12, 10, ("granian asgi 0.0.0.0:80 shop:app worker-2",)),
            ],
            {10: "granian master of 2", 11: "granian worker of 10", 12: "granian worker of 10"},
            id="granian",
        ),
        pytest.param(
            [(10, 1, ("shop",)), (11, 10, ("shop worker-1",)), (12, 10, ("shop worker-2",)), (13, 10, ("shop work",))],
            {
                10: "shop master of 2",
                11: "shop worker-1 worker of 10",
                12: "shop worker-2 worker of 10",
                13: "shop work single",
            },
            id="granian with a name of its own",
        ),
        pytest.param(
            [(10, 1, BATCH), (11, 10, ("worker-1",)), (12, 10, ("/usr/bin/python3 worker",))],
            {10: "batch.py single", 11: "worker-1 single", 12: "python3 worker single"},
            id="only a title goes on with worker",
        ),
        pytest.param(
            [
                (10, 1, ("rq:worker:ab12: Forked 11 at 1795373438.05",)),
                (11, 10, ("rq:worker:ab12: Processing jobs.thumbnail from default since 1795373438.06",)),
                (20, 1, ("rq:worker:cd34: Listening on default",)),
            ],
            {10: "rq master of 1", 11: "rq worker of 10", 20: "rq single"},
            id="rq",
        ),
        pytest.param(
            [(10, 1, BATCH), (11, 10, BATCH), (12, 11, BATCH)],
            {10: "batch.py master of 1", 11: "batch.py worker of 10", 12: "batch.py worker of 10"},
            id="a worker with a child is still a worker",
        ),
        pytest.param(
            [(10, 1, BATCH), (11, 10, TRACKER), (12, 10, SPAWN), (13, 10, SPAWN)],
            {
                10: "batch.py master of 2",
                11: "multiprocessing resource tracker helper",
                12: "batch.py worker of 10",
                13: "batch.py worker of 10",
            },
            id="multiprocessing spawn",
        ),
        pytest.param(
            [(10, 1, BATCH), (11, 10, TRACKER), (12, 10, FORKSERVER), (13, 12, FORKSERVER), (14, 12, FORKSERVER)],
            {
                10: "batch.py master of 2",
                11: "multiprocessing resource tracker helper",
                12: "multiprocessing forkserver helper",
                13: "batch.py worker of 10",
                14: "batch.py worker of 10",
            },
            id="multiprocessing forkserver",
        ),
        pytest.param(
            [(10, 1, BATCH), (11, 10, TRACKER)],
            {10: "batch.py single", 11: "multiprocessing resource tracker helper"},
            id="a tracker is no worker",
        ),
        pytest.param([(13, 1, SPAWN)], {13: "multiprocessing worker"}, id="its starter has ended"),
        pytest.param(
            [
                (10, 1, ("gunicorn: master [shop]",)),
                (11, 10, ("gunicorn: worker [shop]",)),
                (12, 11, SPAWN),
            ],
            {10: "gunicorn master of 1", 11: "gunicorn worker of 10", 12: "gunicorn: worker [shop] worker of 10"},
            id="a pool in a worker",
        ),
        pytest.param(
            [(5, 1, (PY, "/usr/bin/supervisord")), (10, 5, BATCH), (11, 5, BATCH)],
            {5: "supervisord single", 10: "batch.py single", 11: "batch.py single"},
            id="supervisord",
        ),
        pytest.param([(10, 11, BATCH), (11, 10, BATCH), (12, 11, BATCH)], None, id="a torn look shows a cycle"),
        pytest.param([(10, 10, BATCH)], {10: "batch.py single"}, id="its own parent"),
        pytest.param([(10, 1, ()), (11, 10, ())], {10: " single", 11: " single"}, id="no command lines"),
    ],
)
def test_roles(members, expected):
    found = roles(*members)
    assert expected is None or found == expected


def test_a_tree_without_end_is_judged_in_no_time():
    """One child below the other; their chains of ancestors, each walked to its end, would take minutes."""
    found = judge_roles(Member(pid, pid - 1, BATCH) for pid in range(10, 10010))
    assert found[10].role == "master" and {found[pid].role for pid in range(11, 10010)} == {"worker"}


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["/usr/bin/python3", "/srv/app/worker.py", "--token=s3cret"], "worker.py"),
        (["/srv/venv/bin/python", "/srv/venv/bin/gunicorn", "-w", "4", "app:app"], "gunicorn"),
        (["python3", "-m", "http.server", "8000"], "python3 -m http.server"),
        (["python3.11", "-Im", "pkg.tool", "s3cret"], "python3.11 -m pkg.tool"),
        (["python3", "-mpkg", "s3cret"], "python3 -m pkg"),
        (["python3", "-u", "-W", "ignore", "-Xdev", "-O", "a/b.py", "s3cret"], "b.py"),
        (["python3", "-bb", "-Wignore", "/srv/x.py"], "x.py"),
        (["python3", "--check-hash-based-pycs", "never", "x.py"], "x.py"),
        (["python3", "-c", "import s3cret"], "python3 -c"),
        (["python3", "-Ic", "import s3cret"], "python3 -c"),
        (["python3", "-cimport s3cret"], "python3 -c"),
        (["python3", "-c"], "python3 -c"),
        (["python3", "-"], "python3"),
        (["python3", "-I", "-S", "-", "s3cret"], "python3"),
        (["/usr/bin/python3"], "python3"),
        (["python3", "/srv/shop/__main__.py", "s3cret"], "shop/__main__.py"),
        (["python3", "/srv/shop/"], "shop"),
        (["/usr/bin/uwsgi", "--ini", "s3cret"], "uwsgi"),
        (["uwsgi", "-c", "s3cret"], "uwsgi"),
        (["/opt/my app/bin/server"], "my app/bin/server"),
        (["gunicorn: worker [shop]"], "gunicorn: worker [shop]"),
        (["gunicorn: master [shop:make('s3cret')]"], "gunicorn: master [shop:make"),
        (["gunicorn: master [shop:make(key='s3cret')]"], "gunicorn: master"),
        (["[celeryd: a@b:MainProcess] -active- (-A t --broker=s3cret)"], "[celeryd: a@b:MainProcess]"),
        (["myapp: connect amqp://user:s3cret@host"], "myapp: connect"),
        (["myapp --password s3cret"], "myapp"),
        (["/usr/bin/python3 /srv/app.py --key s3cret"], "python3 app.py"),
        (["/usr/bin/python3 /srv/app.py KEY=s3cret"], "python3 app.py"),
        (["KEY=s3cret"], "(title not shown)"),
        (
            ["worker one two three four five six seven eight nine ten eleven s3cret"],
            "worker one two three four five six seven eight nine ten",
        ),
        (["python3", "/srv/\x1b[31mred\n.py"], "?[31mred?.py"),
        ([], "python3"),
    ],
)
def test_names_hold_no_arguments(argv, name):
    assert display_name(argv, "python3") == name
    assert "s3cret" not in name


WORD = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=30)


@given(st.lists(WORD, max_size=6), WORD)
def test_any_name_is_bounded_and_printable(argv, comm):
    name = display_name(argv, comm)
    assert len(name) <= MAX_NAME and name.isprintable()


@given(
    st.sampled_from(["python3", "/usr/bin/python3.11", "/srv/venv/bin/python", "uwsgi"]),
    st.lists(st.sampled_from(["-u", "-I", "-OO", "-Wignore", "-X dev"]), max_size=3),
    st.sampled_from([["/srv/app.py"], ["-m", "app"], ["-c"], ["-"]]),
    st.lists(
        st.sampled_from(["--token=s3cret", "s3cret", "-p", "s3cret=1", "amqp://s3cret@b"]), min_size=1, max_size=4
    ),
)
def test_no_argument_ever_gets_into_a_name(program, options, what, arguments):
    argv = [program, *" ".join(options).split(), *what, *arguments]
    assert "s3cret" not in display_name(argv, "python3")


def test_a_title_without_end_is_read_in_no_time():
    assert len(display_name(["a" * 131072], "x")) <= MAX_NAME
    assert parse_command(["python3", *["-b"] * 100000, "x.py"]) == Command("python3")


@pytest.mark.parametrize(
    ("argv", "whose"),
    [
        ([PY, "/usr/bin/ansible-playbook", "site.yml"], "Ansible itself"),
        ([PY, "/usr/bin/ansible", "all"], "Ansible itself"),
        ([PY, "/root/.ansible/tmp/x/AnsiballZ_setup.py"], "Ansible itself"),
        ([PY, "/x/ansible_connection_cli_stub.py", "1"], "Ansible itself"),
        ([PY, "-I", "-S", "/run/pyspy-fleet/0a1b2c/program.pyz", "keep", "0a1b2c"], "pyspy.fleet itself"),
        ([PY, "-I", "-S", "-c", "import sys; …"], "pyspy.fleet itself"),
        ([PY, "-I", "-S", "-"], "pyspy.fleet itself"),
        ([PY, "-I", "-S", "/tmp/pyspy-fleet-host.pyz", "info"], "pyspy.fleet itself"),
        ([PY, "/srv/pyspy-fleet/app.py"], ""),
        ([PY, "-I", "-S", "/srv/app.py"], ""),
        ([PY, "-I", "-S", "-m", "app"], ""),
        ([PY, "/srv/ansible_tower/app.py"], ""),
        ([PY, "-m", "http.server", "ansible-playbook"], ""),
        (["gunicorn: worker [ansible]"], ""),
        ([], ""),
    ],
)
def test_what_is_never_a_target(argv, whose):
    assert own_program(argv) == whose
