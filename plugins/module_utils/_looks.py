# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "looks" of the host wing (private to the collection): what py-spy saw of one target, look by look."""

from __future__ import annotations

import json
import time
import zlib
from typing import Dict, List

from ._errors import HostError
from ._procfs import Gone, ProcessDir
from ._thread_times import Named, times

#: Most bytes of all looks at one target, as JSON.
_MOST = 64 * 1024 * 1024


class Looks:
    """Each is py-spy's own list of threads, with the time and with what the threads had used of the CPU by then."""

    def __init__(self) -> None:
        self._looks: List[bytes] = []
        self._size = 0
        self._others = 0

    def __len__(self) -> int:
        return len(self._looks)

    def take(self, output: bytes, process: ProcessDir) -> bool:
        """Add one; False where it is no dump. Gone where the target has ended, HostError where there is no room."""
        try:
            threads = json.loads(output)
            if len({row["thread_id"] for row in threads}) < len(threads):
                return False  # torn: a list of threads that changed while it was read
            named = [Named(row.get("os_thread_id"), str(row.get("thread_name") or "")) for row in threads]
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            return False
        # From 3.11 on the ids are in Python's memory, as the target itself sees them.
        found = times(process, named, inner=len(process.status().nspids) > 1)
        if process.state in ("Z", "X"):
            raise Gone(process.pid)
        for row, seconds in zip(threads, found.each):
            row.pop("pid", None)
            row["cpu"] = seconds
        look = json.dumps({"at": time.monotonic(), "cpu": found.process, "threads": threads}).encode()
        if self._size + len(look) > _MOST:
            raise HostError("more dumps of this target would be too large", "", "ask for fewer")
        self._looks.append(look)
        self._size += len(look)
        self._others = max(0, found.threads - len(threads))
        return True

    def body(self, more: Dict[str, object]) -> bytes:
        """Compressed JSON of them all, b"" of none; ``others`` are the threads that have no Python stack."""
        if not self._looks:
            return b""
        rest = json.dumps(dict(more, others=self._others)).encode()
        return zlib.compress(b'{"looks": [%s], %s' % (b", ".join(self._looks), rest[1:]), 6)
