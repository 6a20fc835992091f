# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service that forgets nothing: it keeps each answer until little memory is left, and then works on."""

from __future__ import annotations

import sys
import time

LEAVE = int(sys.argv[1]) << 20
CHUNK = 1 << 20


def serve() -> None:
    cache: dict[int, bytes] = {}
    while True:
        answer(cache, len(cache))
        time.sleep(0.01)


def answer(cache: dict[int, bytes], request: int) -> None:
    if available() > LEAVE:
        remember(cache, request)


def remember(cache: dict[int, bytes], request: int) -> None:
    """Written to, so that the memory is really taken."""
    cache[request] = b"x" * CHUNK


def available() -> int:
    with open("/proc/meminfo", encoding="ascii") as file:
        rows = dict(line.split(":") for line in file)
    return int(rows["MemAvailable"].split()[0]) << 10


serve()
