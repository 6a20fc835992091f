# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "waiting" of the controller wing (private to the collection): is a thread stuck, moving or idle? Pure.

The rule, in this order:

* **moving**: its CPU time rose between the first dump and the last, or it came or went meanwhile.
* **idle**: it waits, in all dumps, where idle threads wait (:data:`PLACES`), or has no Python frame at all.
* **moving**, too: its stack differs between two dumps, lines included.
* **stuck**: neither its stack nor its CPU time moved over all dumps, and it waits somewhere else.
* **seen once**: with a single dump only "idle" can be told.

Where the host gave no CPU time of a thread, that of the whole process decides where it did not move. Where it did, or
is not known either, a thread that holds the GIL in any dump counts as moving, and others go by their stack.
So a thread that always stands in the same line by chance (a short loop in C code) can read as stuck there.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import dropwhile
from typing import NamedTuple

from ._dumps import Dump, Thread
from ._render._colours import is_native

STUCK, MOVING, IDLE, ONCE = "stuck", "moving", "idle", "seen once"
#: In the order of interest.
STATES = (STUCK, MOVING, ONCE, IDLE)

#: CPU time counts in ticks of 10 ms on nearly all kernels (proc(5), USER_HZ): one may fall into any interval.
TICK = 0.01
#: A waiting thread that wakes up to look (a timeout) uses less than this share of a core.
SHARE = 0.01


class Place(NamedTuple):
    """One place where idle threads wait: the innermost frame, and who called it at most ``reach`` frames above.

    Names are a function without its class: that is in py-spy's name from Python 3.11 on only. Files are endings.
    A lock wait and a worker's wait for its next job end in the same frames; only the caller tells them apart.
    """

    wait: tuple[str, str]
    caller: tuple[str, str] = ("", "")
    reach: int = 0


#: All were watched with py-spy 0.4.3: Python's own in CPython 3.8 to 3.13, the services in CPython 3.11.
PLACES = (
    # Event loops and servers between two events.
    Place(("select", "/selectors.py"), ("_run_once", "/asyncio/base_events.py"), 1),
    Place(("select", "/selectors.py"), ("serve_forever", "/socketserver.py"), 1),
    Place(("run", "/asyncio/runners.py")),  # a loop in C (uvloop) has no frame of its own
    Place(("accept", "/socket.py")),
    # Workers that wait for the next job.
    Place(("_worker", "/concurrent/futures/thread.py")),
    Place(("get", "/multiprocessing/queues.py"), ("worker", "/multiprocessing/pool.py"), 1),
    Place(("__enter__", "/multiprocessing/synchronize.py"), ("worker", "/multiprocessing/pool.py"), 2),
    Place(("_recv", "/multiprocessing/connection.py"), ("worker", "/multiprocessing/pool.py"), 4),
    Place(("__enter__", "/multiprocessing/synchronize.py"), ("_process_worker", "/concurrent/futures/process.py"), 2),
    Place(("_recv", "/multiprocessing/connection.py"), ("_process_worker", "/concurrent/futures/process.py"), 4),
    Place(("select", "/selectors.py"), ("wait_result_broken_or_wakeup", "/concurrent/futures/process.py"), 2),
    Place(("select", "/selectors.py"), ("_queue_management_worker", "/concurrent/futures/process.py"), 2),  # 3.8
    Place(("wait", "/threading.py"), ("_feed", "/multiprocessing/queues.py"), 1),
    # The threads with which a multiprocessing.Pool runs itself.
    Place(("_handle_tasks", "/multiprocessing/pool.py")),
    Place(("_recv", "/multiprocessing/connection.py"), ("_handle_results", "/multiprocessing/pool.py"), 3),
    Place(("select", "/selectors.py"), ("_wait_for_updates", "/multiprocessing/pool.py"), 2),
    Place(("wait", "/threading.py"), ("_monitor", "/logging/handlers.py"), 3),
    # queue.get straight from the thread's own function is a worker between jobs; from deeper down, it wants a result.
    Place(("wait", "/threading.py"), ("get", "/queue.py"), 1),
    # The main thread, while the others work.
    Place(("_shutdown", "/threading.py")),
    Place(("_wait_for_tstate_lock", "/threading.py"), ("_shutdown", "/threading.py"), 1),
    # Servers between two requests, and their masters: gunicorn 20.1, 23.0 and 27.0,
    Place(("wait", "/gunicorn/workers/sync.py")),
    Place(("select", "/selectors.py"), ("run", "/gunicorn/workers/gthread.py"), 2),
    Place(("wait_for_signals", "/gunicorn/arbiter.py")),  # 27.0
    Place(("sleep", "/gunicorn/arbiter.py")),
    # gevent 26.9, whose loop is C code,
    Place(("run", "/gevent/hub.py")),
    # waitress 3.0,
    Place(("wait", "/threading.py"), ("handler_thread", "/waitress/task.py"), 1),
    Place(("poll", "/waitress/wasyncore.py")),
    # uvicorn 0.54 and hypercorn 0.18 with several workers,
    Place(("_recv", "/multiprocessing/connection.py"), ("pong", "/uvicorn/supervisors/multiprocess.py"), 3),
    Place(("wait", "/threading.py"), ("run", "/uvicorn/supervisors/multiprocess.py"), 2),
    Place(("select", "/selectors.py"), ("run", "/hypercorn/run.py"), 2),
    # granian 2.8, which serves in code of Rust.
    Place(("_spawn_asgi_lifespan_worker", "/granian/server/mp.py")),
    Place(("poll", "/multiprocessing/popen_fork.py"), ("_watcher", "/granian/server/common.py"), 3),
    Place(("wait", "/threading.py"), ("_serve_loop", "/granian/server/common.py"), 2),
    # Workers of queues between two jobs, and their masters: Celery 5.7 (billiard 4.3, kombu 5.7), with a broker in
    # files, which is asked again and again, and with Redis,
    Place(("_recv", "/billiard/connection.py"), ("workloop", "/billiard/pool.py"), 6),
    Place(("__enter__", "/billiard/synchronize.py"), ("workloop", "/billiard/pool.py"), 4),
    Place(("wait", "/threading.py"), ("body", "/billiard/pool.py"), 2),
    Place(("_poll", "/billiard/connection.py"), ("_process_result", "/billiard/pool.py"), 5),
    Place(("body", "/billiard/pool.py")),
    Place(("run", "/celery/utils/timer2.py")),
    Place(("start", "/celery/beat.py")),
    Place(("drain_events", "/kombu/transport/virtual/base.py")),
    Place(("poll", "/kombu/utils/eventio.py")),
    # dramatiq 2.2,
    Place(("worker_process", "/dramatiq/cli.py")),
    Place(("run", "/dramatiq/middleware/time_limit.py")),
    Place(("select", "/selectors.py"), ("watch_logs", "/dramatiq/cli.py"), 2),
    Place(("select", "/selectors.py"), ("main", "/dramatiq/cli.py"), 4),
    # rq 3.0 (redis 8.1),
    Place(("_read_from_socket", "/redis/_parsers/socket.py"), ("dequeue_any", "/rq/queue.py"), 13),
    Place(("_read_from_socket", "/redis/_parsers/socket.py"), ("run", "/redis/client.py"), 10),
    # and supervisord 4.3.
    Place(("_poll_fds", "/supervisor/poller.py")),
    # The threads with which a pool of connections runs itself: psycopg_pool 3.3.
    Place(("wait", "/threading.py"), ("worker", "/psycopg_pool/pool.py"), 3),
    Place(("wait", "/threading.py"), ("run", "/psycopg_pool/sched.py"), 2),
)

#: Frames below a thread's own function: ``Thread.run`` may be the user's own, ``_bootstrap_inner`` never is.
_THREAD_TOP = ("_bootstrap_inner", "/threading.py")


def waits_idle(thread: Thread) -> bool:
    """Does it wait where idle threads wait? That is told by its Python frames, below which there may be native ones."""
    if not thread.frames:
        return True
    stack = list(dropwhile(lambda frame: is_native(frame[1]), ((frame.name, frame.file) for frame in thread.frames)))
    return bool(stack) and is_idle_place(stack)


def is_idle_place(stack: Sequence[tuple[str, str]]) -> bool:
    """Do idle threads wait there? Names and files of at least one frame, innermost first."""
    frames = [(name.rpartition(".")[2], "/" + file.lstrip("/")) for name, file in stack]
    return any(_at(frames, place) for place in PLACES)


def _at(frames: Sequence[tuple[str, str]], place: Place) -> bool:
    if not _is(frames[0], place.wait):
        return False
    if not place.reach:
        return True
    if place.caller == ("get", "/queue.py"):
        return len(frames) > 1 and _is(frames[1], place.caller) and _in_own_function(frames[2:])
    return any(_is(frame, place.caller) for frame in frames[1 : place.reach + 1])


def _in_own_function(frames: Sequence[tuple[str, str]]) -> bool:
    """Is the first of these the function that the thread was started for: ``run``, or what threading's run calls?"""
    if not frames:
        return False
    if len(frames) > 1 and _is(frames[1], _THREAD_TOP):
        return True
    return len(frames) > 2 and _is(frames[1], ("run", "/threading.py")) and _is(frames[2], _THREAD_TOP)


def _is(frame: tuple[str, str], wanted: tuple[str, str]) -> bool:
    return frame[0] == wanted[0] and frame[1].endswith(wanted[1])


def state(looks: Sequence[Thread | None], seconds: float, at_rest: bool = False) -> str:
    """One of :data:`STATES`, by the thread's record in each dump (None: not there), ``seconds`` from first to last.

    ``at_rest``: the whole process used no CPU time between the first dump and the last.
    """
    seen = [thread for thread in looks if thread is not None]
    idle = all(waits_idle(thread) for thread in seen)
    if len(looks) < 2:
        return IDLE if idle else ONCE
    if len(seen) < len(looks) or _used_cpu(seen, seconds, at_rest):
        return MOVING
    if idle:
        return IDLE
    stacks = {tuple((frame.name, frame.file, frame.line) for frame in thread.frames) for thread in seen}
    return MOVING if len(stacks) > 1 else STUCK


def _used_cpu(seen: Sequence[Thread], seconds: float, at_rest: bool) -> bool:
    first, last = seen[0].cpu, seen[-1].cpu
    if first is None or last is None:
        return not at_rest and any(thread.gil for thread in seen)
    return _rose(first, last, seconds)


def _rose(first: float, last: float, seconds: float) -> bool:
    return last - first > TICK + SHARE * seconds


def _at_rest(dump: Dump) -> bool:
    first, last = dump.looks[0].cpu, dump.looks[-1].cpu
    return first is not None and last is not None and not _rose(first, last, dump.seconds)


def states(dump: Dump) -> list[tuple[Thread, str, int]]:
    """Each thread of a target as last seen, its state, and in how many of the dumps it held the GIL.

    One that held it is shown as it last did: where it was afterwards is not where the GIL was held. One that is about
    to end has no frame any more: then what it did before is what there is to see.
    """
    # pthread's id of a thread that has ended is the next one's; the kernel's is not given again so soon.
    looks = [{(thread.id, thread.os_id or 0): thread for thread in look.threads} for look in dump.looks]
    rows = []
    for identity in sorted({identity for look in looks for identity in look}):
        history = [look.get(identity) for look in looks]
        seen = [thread for thread in history if thread is not None]
        framed = [thread for thread in reversed(seen) if thread.frames]
        last = next((thread for thread in framed if thread.gil), framed[0] if framed else seen[-1])
        rows.append((last, state(history, dump.seconds, _at_rest(dump)), sum(thread.gil for thread in seen)))
    return rows
