# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "faults" of the lab (private to the collection): a PostgreSQL of our own that nobody else can reach."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

#: Debian's package makes this user; a server that is root's refuses to start.
USER = "postgres"


class Postgres:
    """A running server: ``address`` for clients of this machine, who need no password."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs = programs
        self.address = f"host={folder} user={USER} dbname=postgres"

    def ask(self, statement: str) -> str:
        """What a statement gives, as text."""
        command = (self.programs / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement, self.address)
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def _programs() -> Path:
    """The server's own programs: Debian keeps them off the PATH, a folder for each version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    assert found, "install postgresql"
    return found[-1].parent


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A new server on a socket in a folder of its own; it listens on no port, and is gone at the end."""
    programs = _programs()
    # Not in a test's own folder: above that only root may pass.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    shutil.chown(folder, USER, USER)
    folder.chmod(0o755)
    data = folder / "data"
    as_user = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "env", "-i", "LC_ALL=C.UTF-8")
    make = (*as_user, programs / "initdb", "-D", data, "-A", "trust", "--no-sync", "-E", "UTF8")
    start = (*as_user, programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off")
    try:
        subprocess.run(make, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=folder)
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(start, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
        try:
            yield _when_ready(Postgres(programs, folder), server, folder / "log")
        finally:
            # "Immediate shutdown": connections that wait for a lock are cut, and nothing is written.
            os.kill(server.pid, signal.SIGQUIT)
            server.wait(60)
    finally:
        shutil.rmtree(folder)


def _when_ready(database: Postgres, server: subprocess.Popen[bytes], log: Path) -> Postgres:
    def answers() -> bool:
        assert server.poll() is None, log.read_text()
        command = (database.programs / "pg_isready", "-q", "-d", database.address)
        return subprocess.run(command, check=False).returncode == 0

    await_condition("PostgreSQL", answers)
    return database
