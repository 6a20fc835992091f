# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "npm" of the lab (private to the collection): others' programs for Node or a browser, at one version.

Without a lock file, which would name the place that they came from: what is named here has no dependencies, or its
version is enough. Each has a folder of its own, because npm removes what it was not asked for.
"""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = CHECKOUT / "build" / "node"


def package(name: str, version: str) -> Path:
    """The folder of a package; installed first where it is missing."""
    prefix = FOLDER / f"{name.replace('/', '-')}-{version}"
    prefix.mkdir(parents=True, exist_ok=True)
    done = prefix / "installed"
    with (prefix / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            _install(prefix, f"{name}@{version}")
            done.touch()
    return prefix / "node_modules" / name


def _install(prefix: Path, wanted: str) -> None:
    options = ("--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", prefix)
    command = ("npm", "install", *options, wanted)
    tried = subprocess.run(command, cwd=prefix, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert tried.returncode == 0, tried.stdout + tried.stderr
