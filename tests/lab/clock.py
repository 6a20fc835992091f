# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "clock" of the lab (private to the collection): programs for which it is another day.

A small library that the dynamic linker puts before libc (ld.so(8), LD_PRELOAD). It moves the clock on the wall alone;
Debian's faketime moves what sleeping programs wait for, too, and Python's sleep then fails (libfaketime 0.9.10).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

_SOURCE = """
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long ahead(void) {
    const char *text = getenv("LAB_CLOCK_AHEAD");
    return text ? atol(text) : 0;
}

int clock_gettime(clockid_t which, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, which, now);
    if (!failed && which == CLOCK_REALTIME) now->tv_sec += ahead();
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec found;
    (void) zone;
    clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *kept) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (kept) *kept = found.tv_sec;
    return found.tv_sec;
}
"""


def moved(folder: Path, seconds: float) -> dict[str, str]:
    """What a program's environment needs for a clock that is so far ahead; the library comes into ``folder``."""
    library = folder / "clock.so"
    if not library.exists():
        words = ("gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-x", "c", "-o", str(library), "-")
        subprocess.run(words, input=_SOURCE, text=True, check=True)
    return {"LD_PRELOAD": str(library), "LAB_CLOCK_AHEAD": str(round(seconds))}
