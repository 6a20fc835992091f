# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "patience": what waits for a host that hangs is ended, and the task's own timeout goes on."""

from __future__ import annotations

import os
import signal

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._patience import Patience


def test_a_wait_without_end_is_ended() -> None:
    nobody_writes, _other = os.pipe()
    with pytest.raises(FleetError, match="did not answer within 1 s") as caught, Patience(1).kept():
        os.read(nobody_writes, 1)
    assert caught.value.remedy
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_retry_of_the_connection_does_not_swallow_it() -> None:
    nobody_writes, _other = os.pipe()
    with pytest.raises(FleetError), Patience(1).kept():
        for _attempt in range(2):
            try:
                os.read(nobody_writes, 1)
            except Exception:  # as connection plugins do
                continue


def test_all_that_is_done_shares_the_time() -> None:
    patience = Patience(1)
    nobody_writes, _other = os.pipe()
    for _part in range(2):
        with pytest.raises(FleetError), patience.kept():
            os.read(nobody_writes, 1)


def test_no_limit_and_no_alarm() -> None:
    with Patience(0).kept():
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_the_timer_of_the_task_goes_on() -> None:
    before = signal.signal(signal.SIGALRM, lambda _number, _frame: None)
    signal.setitimer(signal.ITIMER_REAL, 100)
    try:
        with Patience(5).kept():
            assert signal.getitimer(signal.ITIMER_REAL)[0] <= 5
        assert 5 < signal.getitimer(signal.ITIMER_REAL)[0] <= 100
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
