# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Do no harm, on this machine: the plan goes by what a target is, and by what it suffers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.tests.lab.host_program import BUSY, STATE, Host, target


@pytest.fixture(scope="module")
def directory() -> Iterator[str]:
    path = tempfile.mkdtemp(dir="/srv", prefix="pyspy-test-")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def host(directory: str) -> Iterator[Host]:
    here = Host(directory)
    assert not STATE.exists() and not here.processes(), "something of ours was here before"
    yield here
    here.ask("cleanup", {"force": True})
    here.wait_until_clean()


def recorded(host: Host, pid: int, **options: Any) -> tuple[dict[str, Any], list[bytes]]:
    started = host.start([pid], **options)
    assert started["ok"], started
    return host.collect(started["recording"]["id"])


def functions(body: bytes) -> set[str]:
    return {frame["name"] for frame in json.loads(zlib.decompress(body))["shared"]["frames"]}


def notes(capture: dict[str, Any]) -> str:
    return "; ".join(capture["notes"])


def test_many_threads_get_a_lower_rate_and_the_reason(host: Host) -> None:
    with target(threads=40, depth=48) as busy:
        head, bodies = recorded(host, busy.pid)
        (capture,) = head["captures"]
        assert capture["outcome"] == "profiled" and "burn" in functions(bodies[0])
        assert capture["measure"]["kind"] == "cpu" and 10 <= capture["measure"]["rate"] < 50
        assert "Hz instead of 100: reading 41 threads with" in notes(capture)


def test_more_threads_still_have_only_the_holder_of_the_gil_read(host: Host) -> None:
    with target(threads=60, depth=98) as busy:
        head, bodies = recorded(host, busy.pid)
        (capture,) = head["captures"]
        assert capture["measure"]["kind"] == "gil" and functions(bodies[0]) >= {"burn"}
        assert "only the thread that holds the GIL is read" in notes(capture)
        assert "released the GIL is not seen" in notes(capture)


@contextmanager
def contained() -> Iterator[int]:
    """A busy process with three sleeping threads in another PID namespace; gives its PID out here."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "busy_target.py")
        script.write_text(BUSY, encoding="utf-8")
        command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, str(script), "3", "5"]
        process = subprocess.Popen([*command, "300"], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            yield int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8"))
        finally:
            process.kill()
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]


@pytest.mark.parametrize("wish", [{}, {"native": True}])
def test_in_a_container_sleepers_are_not_counted_as_busy(host: Host, wish: dict[str, bool]) -> None:
    with contained() as pid:
        head, bodies = recorded(host, pid, **wish)
        (capture,) = head["captures"]
        assert capture["outcome"] == "profiled", capture
        assert capture["measure"]["kind"] == "gil" and not capture["measure"]["blocking"]
        assert "in a container" in notes(capture)
        assert "burn" in functions(bodies[0]) and "deep" not in functions(bodies[0])
