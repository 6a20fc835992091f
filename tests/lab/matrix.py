# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "matrix" of the lab (private to the collection): laying out ``attach_matrix.py``, and judging its rows."""

from __future__ import annotations

import json
import os
import subprocess
import zlib
from pathlib import Path
from typing import Any

from ansible_collections.pyspy.fleet.plugins.plugin_utils import _bundle, _fetch, _releases

SCRIPT = Path(__file__).with_name("attach_matrix.py")
Row = dict[str, Any]


def files(architecture: str = "x86_64") -> dict[str, bytes]:
    """What has to lie in one directory, readable to all."""
    binary = zlib.decompress(_fetch.compressed(_releases.NEWEST, architecture), wbits=31)
    return {"matrix.py": SCRIPT.read_bytes(), "host.pyz": _bundle.bundle(), "py-spy": binary}


def command(directory: str) -> list[str]:
    """How the matrix is run where :func:`files` were laid."""
    return ["/usr/bin/python3", *(f"{directory}/{name}" for name in ("matrix.py", "host.pyz", "py-spy"))]


def parse(output: str) -> list[Row]:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def here(directory: str) -> list[Row]:
    """The matrix of this machine."""
    for name, data in files(os.uname().machine).items():
        path = Path(directory, name)
        path.write_bytes(data)
        path.chmod(0o755)
    done = subprocess.run(command(directory), stdout=subprocess.PIPE, text=True, check=True, cwd="/")
    return parse(done.stdout)


def wrong(rows: list[Row]) -> list[Row]:
    """Where the kernel did not do what was foretold; "cannot be known" is never wrong."""
    return [row for row in rows if row["predicted"] is not None and row["predicted"] != row["actual"]]
