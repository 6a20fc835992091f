# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import threading

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._procfs import ProcessDir
from ansible_collections.pyspy.fleet.plugins.module_utils._thread_times import Named, attribute, times

PID = 100


def same(*threads: int) -> dict[int, int]:
    return {thread: thread for thread in threads}


@pytest.mark.parametrize(
    ("named", "known", "threads", "expected"),
    [
        pytest.param([Named(100, "MainThread"), Named(101, "a")], same(100, 101), 2, [100, 101], id="ids"),
        pytest.param([Named(101, "a")], same(100, 101), 2, [101], id="the main thread runs no Python"),
        pytest.param([Named(1, "MainThread"), Named(7, "a")], {1: 100, 7: 107}, 2, [100, 107], id="in a container"),
        pytest.param([Named(55, "MainThread")], same(100, 101, 102), 3, [100], id="forked behind Python's back"),
        pytest.param([Named(55, "MainThread"), Named(101, "a")], same(100, 101), 2, [100, 101], id="forked, threads"),
        pytest.param([Named(55, "a"), Named(56, "b")], same(100), 1, [None, None], id="threads of somebody else"),
        pytest.param([Named(None, "MainThread")], same(100), 1, [100], id="no ids, one thread"),
        pytest.param([Named(None, "")], same(100), 1, [100], id="no ids, no name, one thread"),
        pytest.param([Named(None, "")], same(100, 101), 2, [None], id="no ids, no name, threads of C"),
        pytest.param([Named(None, "MainThread"), Named(None, "a")], same(100, 101), 2, [100, None], id="by its name"),
        pytest.param([Named(None, "MainThread"), Named(None, "MainThread")], same(100, 101), 2, [None] * 2, id="both"),
        pytest.param([Named(99, "a"), Named(100, "MainThread")], same(100, 101), 2, [None, 100], id="one has ended"),
        pytest.param([], same(100), 1, [], id="none"),
    ],
)
def test_which_thread_is_which(
    named: list[Named], known: dict[int, int], threads: int, expected: list[int | None]
) -> None:
    assert attribute(named, known, PID, threads) == expected


def test_of_this_process() -> None:
    release = threading.Event()
    other = threading.Thread(target=release.wait)
    other.start()
    try:
        with ProcessDir(os.getpid()) as process:
            asked = [
                Named(threading.get_native_id(), "MainThread"),
                Named(other.native_id, "other"),
                Named(1 << 22, ""),
            ]
            found = times(process, asked, inner=False)
    finally:
        release.set()
        other.join()
    main, waiting, nobody = found.each
    assert main is not None and waiting is not None and nobody is None
    assert found.process >= main * 0.5 > 0 and waiting < main and found.threads >= 2
