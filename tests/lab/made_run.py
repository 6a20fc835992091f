# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "made_run" of the lab (private to the collection): a run's folder without a run, made of recorded captures."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.pyspy.fleet.plugins.plugin_utils._report import Context, build, render_host, render_target
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
    render_host(run, host)
    return record


def _capture(process: Process) -> Capture:
    measure = Measure("cpu", 50, False, False)
    file = f"{stem(process)}.speedscope.json"
    return Capture(process, measure, "profiled", 136, 0, BEGAN, BEGAN + 30, 30.0, 100, file=file)
