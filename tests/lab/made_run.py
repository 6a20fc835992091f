# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "made_run" of the lab (private to the collection): a run's folder without a run, made of recorded captures."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

from ansible_collections.pyspy.fleet.plugins.plugin_utils._dumped import store
from ansible_collections.pyspy.fleet.plugins.plugin_utils._fields import printable
from ansible_collections.pyspy.fleet.plugins.plugin_utils._formats._speedscope import Document, ThreadSamples, write
from ansible_collections.pyspy.fleet.plugins.plugin_utils._graphs import render_host, render_target
from ansible_collections.pyspy.fleet.plugins.plugin_utils._profile import Frame
from ansible_collections.pyspy.fleet.plugins.plugin_utils._report import Context, build
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run, open_run, stem
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import (
    Capture,
    Container,
    HostRecord,
    Measure,
    Process,
    Selection,
)

CAPTURES = Path(__file__).parents[1] / "unit" / "plugins" / "plugin_utils" / "captures"
BEGAN = 1795340282.0  # 2026-11-22 09:38:02 UTC


def made_run(folder: Path, hosts: int, workers: int, source: str = "plain") -> Run:
    """The results of so many hosts with so many workers each, all of the same capture; with the report."""
    run = open_run(str(folder), "profile", "web", f"{hosts}-{workers}-{source}")
    data = (CAPTURES / f"{source}.speedscope.json").read_bytes()
    for number in range(1, hosts + 1):
        add_host(run, f"web-{number:02}", ["gunicorn: worker [shop]"] * workers, data)
    build(run, Context(title="Checkout is slow", reason="INC-4711", user="deploy"))
    return run


def add_host(
    run: Run,
    host: str,
    names: list[str],
    data: bytes,
    groups: tuple[str, ...] = (),
    kind: str = "cpu",
    container: Container | None = None,
) -> HostRecord:
    """A host whose workers have these names, each a service of its own; ``data`` is the capture of each."""
    processes = [
        Process(
            4711 + number,
            1,
            "www-data",
            name,
            "worker",
            "3.11",
            97.5,
            "hot: 97.5 % CPU",
            container=container,
            unit=f"web@{number}.service",
        )
        for number, name in enumerate(names)
    ]
    captures = tuple(_capture(process, kind) for process in processes)
    window = (BEGAN, BEGAN + 30)
    record = HostRecord(host, "collected", groups, "ab12", *window, Selection(tuple(processes)), captures)
    for capture in captures:
        run.write_capture(host, capture.file, data)
        render_target(run, record, capture)
    run.write_host(record)
    render_host(run, host)
    return record


def _capture(process: Process, kind: str) -> Capture:
    measure = Measure(kind, 50, False, False)
    file = f"{stem(process)}.speedscope.json"
    return Capture(process, measure, "profiled", 136, 0, BEGAN, BEGAN + 30, 30.0, 100, file=file)


#: What a worker of :func:`made_service` was seen in: samples of 20 ms of stacks, functions of one file each.
USUAL = {"main:views": 50, "main:views query:db": 400, "main:views render:views": 450}
SLOW = {"main:views": 30, "main:views query:db": 240, "main:views render:views": 230, "main:views slow:rates": 400}
LINES = {"main": 10, "query": 30, "render": 20, "slow": 7, "poll": 3}


def made_service(folder: Path, name: str = "api") -> Run:
    """Five hosts with two workers each, of which web-03 does something else for 40 % of its time; with the report."""
    run = open_run(str(folder), "profile", "web", "service")
    for number in range(1, 6):
        data = write(_document(SLOW if number == 3 else USUAL))
        add_host(run, f"web-{number:02}", [name, name], data, ("canary", "web") if number == 3 else ("web",))
    build(run, Context(title="Checkout is slow", reason="INC-4711", user="deploy"))
    return run


def made_mixed(folder: Path) -> Run:
    """Two hosts whose worker is in a container each, and one without, where the GIL alone was looked at."""
    run = open_run(str(folder), "profile", "web", "mixed")
    for host, name, samples in (("web-01", "api", USUAL), ("web-02", "shop", SLOW)):
        container = Container("docker", name * 16, name, "", "", "", "")
        add_host(run, host, ["gunicorn"], write(_document(samples)), container=container)
    add_host(run, "web-03", ["celery"], write(_document(SLOW)), kind="gil")
    build(run, Context(title="Checkout is slow", reason="INC-4711", user="deploy"))
    return run


def made_hostile(folder: Path, text: str) -> Run:
    """One host whose name is this text, as is everything in its one capture; with the report."""
    run = open_run(str(folder), "profile", "web", "hostile")
    frames = tuple(Frame(text, text, line) for line in (1, 2))
    threads = (ThreadSamples(f'Thread 1 "{text}"', ((0, 1), (0,)), (0.02, 0.02)),)
    host = printable(text)[:200]  # of the inventory, which the controller trusts: no longer, and no control characters
    add_host(run, host, [text], write(Document(frames, threads)), (text,))
    add_host(run, "web-02", [text], write(Document(frames, threads)))
    build(run, Context(title=text, reason=text, user=text, parameters={"pattern": text}))
    return run


def _document(samples: dict[str, int]) -> Document:
    frames: dict[Frame, int] = {}
    rows = {"MainThread": samples, "poller": {"poll:poller": 100}}
    threads = []
    for number, (name, stacks) in enumerate(rows.items()):
        taken: list[tuple[int, ...]] = []
        for path, count in stacks.items():
            stack = [_frame(word) for word in path.split()]
            taken += [tuple(frames.setdefault(frame, len(frames)) for frame in stack)] * count
        threads.append(ThreadSamples(f'Thread {number} "{name}"', tuple(taken), (0.02,) * len(taken)))
    return Document(tuple(frames), tuple(threads))


def _frame(word: str) -> Frame:
    name, _colon, module = word.partition(":")
    return Frame(name, f"/srv/shop/{module}.py", LINES[name])


def made_dump(folder: Path) -> Run:
    """Three hosts whose workers wait for work, but for one of each that is stuck; with the report."""
    run = open_run(str(folder), "dump", "web", "stuck")
    idle = ("wait:gunicorn/workers/sync.py", "run:gunicorn/workers/sync.py", "main:shop/app.py")
    stuck = ("recv:shop/http.py", "ask:shop/stock.py", "main:shop/app.py")
    for number in range(1, 4):
        _dumped(run, f"web-{number:02}", [idle, idle, stuck])
    build(run, Context("dump", "Requests hang", "INC-4712", "deploy"))
    return run


def made_hostile_dump(folder: Path, texts: list[str]) -> Run:
    """A host for each text, in which everything is called so; with the report."""
    run = open_run(str(folder), "dump", "web", "hostile")
    for text in texts:
        _dumped(run, printable(text)[:200], [(f"{text}:/srv/{text}",)], text)
    build(run, Context("dump", texts[0], texts[1], texts[2]))
    return run


def _dumped(run: Run, host: str, stacks: list[tuple[str, ...]], name: str = "api") -> None:
    """A process for each stack (innermost first), whose one thread did not move between two dumps."""
    captures, bodies = [], []
    for number, stack in enumerate(stacks):
        words = [word.split(":", 1) for word in stack]
        frames = [{"name": called, "filename": f"/srv/{file}", "line": number + 1} for called, file in words]
        thread = {"thread_id": 1, "thread_name": name, "active": False, "owns_gil": False, "frames": frames, "cpu": 1.0}
        looks = [{"at": at, "cpu": 1.0, "threads": [thread]} for at in (5.0, 6.0)]
        bodies.append(zlib.compress(json.dumps({"looks": looks, "others": 0}).encode()))
        process = Process(4711 + number, 1, "www-data", name, "worker", "3.11", None, "matches")
        measure = Measure("dump", 0, False, False)
        captures.append(Capture(process, measure, "profiled", 2, 0, BEGAN, BEGAN + 1, 1.0, len(bodies[-1])))
    targets = tuple(capture.process for capture in captures)
    record = HostRecord(host, "collected", (), "", BEGAN, BEGAN + 1, Selection(targets), tuple(captures))
    record, _dumps = store(run, record, base64.b64encode(b"".join(bodies)).decode())
    run.write_host(record)
