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
    """Each is py-spy's own list of threads, with the time and with what the threads had used of the CPU by then.

    They are compressed as they come: the host may be short of memory.
    """

    def __init__(self) -> None:
        self._packer = zlib.compressobj(6)
        self._packed: List[bytes] = []
        self._size = self._number = self._others = 0

    def __len__(self) -> int:
        return self._number

    def take(self, output: bytes, process: ProcessDir) -> bool:
        """Add one; False where it is no dump. Gone where the target has ended, HostError where there is no room."""
        try:
            threads = json.loads(output)
            named = [_named(row) for row in threads]
            if len({row["thread_id"] for row in threads}) < len(threads):
                return False  # torn: a list of threads that changed while it was read
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            return False
        # From 3.11 on the ids are in Python's memory, as the target itself sees them.
        found = times(process, named, inner=len(process.status().nspids) > 1)
        if process.state in ("Z", "X"):
            raise Gone(process.pid)
        for row, seconds in zip(threads, found.each):
            row.pop("pid", None)
            row["cpu"] = seconds
        try:
            look = json.dumps({"at": time.monotonic(), "cpu": found.process, "threads": threads}).encode()
        except RecursionError:
            return False
        if self._size + len(look) > _MOST:
            raise HostError("more dumps of this target would be too large", "", "ask for fewer")
        self._add((b", " if self._number else b'{"looks": [') + look)
        self._number += 1
        self._others = max(0, found.threads - len(threads))
        return True

    def body(self, more: Dict[str, object]) -> bytes:
        """Compressed JSON of them all, b"" of none; ``others`` are the threads that have no Python stack."""
        if not self._number:
            return b""
        self._add(b"], " + json.dumps(dict(more, others=self._others)).encode()[1:])
        return b"".join(self._packed) + self._packer.flush()

    def _add(self, text: bytes) -> None:
        self._size += len(text)
        self._packed.append(self._packer.compress(text))


def _named(row: Dict[str, object]) -> Named:
    """Who a thread is; TypeError where that cannot be so."""
    identity = row.get("os_thread_id")
    if not isinstance(identity, (int, type(None))) or not isinstance(row["thread_id"], int):
        raise TypeError("not the ids of a thread")
    return Named(identity, str(row.get("thread_name") or ""))
