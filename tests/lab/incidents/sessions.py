# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service whose cache is larger than its host: it takes all memory but some, ``python3 sessions.py <MiB left>``."""

from __future__ import annotations

import sys
import time

LEFT = int(sys.argv[1])
SIZE = 1 << 20


def serve() -> None:
    cache: dict[int, bytes] = {}
    most = available() - LEFT
    request = 0
    while True:
        remember(cache, request % most)
        request += 1
        time.sleep(0.01)


def remember(cache: dict[int, bytes], session: int) -> None:
    """Written to, so that the memory is really taken."""
    cache[session] = b"x" * SIZE


def available() -> int:
    """MiB that the kernel could give (proc(5))."""
    with open("/proc/meminfo", encoding="ascii") as file:
        rows = dict(line.split(":") for line in file)
    return int(rows["MemAvailable"].split()[0]) >> 10


serve()
