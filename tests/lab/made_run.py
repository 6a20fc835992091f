# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "made_run" of the lab (private to the collection): a run's folder without a run, made of recorded captures."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.pyspy.fleet.plugins.plugin_utils._formats._speedscope import Document, ThreadSamples, write
from ansible_collections.pyspy.fleet.plugins.plugin_utils._profile import Frame
from ansible_collections.pyspy.fleet.plugins.plugin_utils._report import Context, build, render_target
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run, open_run, stem
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Capture, HostRecord, Measure, Process, Selection

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


def add_host(run: Run, host: str, names: list[str], data: bytes) -> HostRecord:
    """A host whose workers have these names; ``data`` is the capture of each."""
    processes = [
        Process(4711 + number, 1, "www-data", name, "worker", "3.11", 97.5, "hot: 97.5 % CPU")
        for number, name in enumerate(names)
    ]
    captures = tuple(_capture(process) for process in processes)
    window = (BEGAN, BEGAN + 30)
    record = HostRecord(host, "collected", (), "ab12", *window, Selection(tuple(processes)), captures)
    for capture in captures:
        run.write_capture(host, capture.file, data)
        render_target(run, record, capture)
    run.write_host(record)
    return record


def _capture(process: Process) -> Capture:
    measure = Measure("cpu", 50, False, False)
    file = f"{stem(process)}.speedscope.json"
    return Capture(process, measure, "profiled", 136, 0, BEGAN, BEGAN + 30, 30.0, 100, file=file)


#: What a worker of :func:`made_service` was seen in: samples of 20 ms of stacks, functions of one file each.
USUAL = {"main:views": 50, "main:views query:db": 400, "main:views render:views": 450}
SLOW = {"main:views": 30, "main:views query:db": 240, "main:views render:views": 230, "main:views slow:rates": 400}
LINES = {"main": 10, "query": 30, "render": 20, "slow": 7, "poll": 3}


def made_service(folder: Path) -> Run:
    """Five hosts with two workers each, of which web-03 does something else for 40 % of its time; with the report."""
    run = open_run(str(folder), "profile", "web", "service")
    for number in range(1, 6):
        data = write(_document(SLOW if number == 3 else USUAL))
        add_host(run, f"web-{number:02}", ["api", "api"], data)
    build(run, Context(title="Checkout is slow", reason="INC-4711", user="deploy"))
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
