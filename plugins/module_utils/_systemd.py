# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "systemd" of the host wing (private to the collection): transient units, where systemd runs and we are root."""

from __future__ import annotations

import json
import os
from typing import List, Tuple

from ._errors import HostError

_SYSTEMD_RUN = ("/usr/bin/systemd-run", "/bin/systemd-run")
_SYSTEMCTL = ("/usr/bin/systemctl", "/bin/systemctl")
_PATIENCE = 20


def runs_here() -> bool:
    """Whether we can have units of our own: root, and a systemd that is PID 1."""
    return os.geteuid() == 0 and os.path.isdir("/run/systemd/system") and bool(_first(_SYSTEMD_RUN))


def start(arguments: List[str]) -> None:
    """``systemd-run`` with these arguments; HostError with its own words where it fails."""
    import subprocess

    command = [_first(_SYSTEMD_RUN), "--quiet", "--collect"] + arguments
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=False)
    if done.returncode:
        raise HostError(
            "systemd did not start a transient unit",
            done.stderr.decode("utf-8", "replace").strip(),
            "look at `systemctl status` on the host",
        )


def stop(units: List[str]) -> None:
    """End them; those that are not there are no trouble."""
    import subprocess

    command = [_first(_SYSTEMCTL), "stop"] + units
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=False)


def quoted(words: List[str]) -> str:
    """A command for a property such as ExecStopPost: its quotes and escapes are those of C (systemd.syntax(7))."""
    return " ".join(json.dumps(word) for word in words)


def _first(paths: Tuple[str, ...]) -> str:
    return next((path for path in paths if os.access(path, os.X_OK)), "")
