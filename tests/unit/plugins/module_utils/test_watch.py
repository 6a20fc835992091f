# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "watch": what is done about a recorder that hurts, and what is counted of real processes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._plan import Options, Plan, plan
from ansible_collections.pyspy.fleet.plugins.module_utils._procfs import ProcessDir
from ansible_collections.pyspy.fleet.plugins.module_utils._watch import (
    MAX_SEGMENTS,
    Readings,
    Seen,
    Watch,
    between,
    judge,
)
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition
from hypothesis import given
from hypothesis import strategies as st

OURS = plan(Options.from_wire({}))
BLOCKING = plan(Options.from_wire({"nonblocking": False}))
FINE = Readings(2.0, 0.0, 0.1, 0.99, 0)


@pytest.mark.parametrize("made", [OURS, BLOCKING])
def test_what_does_not_hurt_goes_on(made: Plan) -> None:
    assert judge(made, FINE, 1, 20) is None
    assert judge(made, FINE._replace(stopped=0.05), 1, 20) is None
    assert judge(made, FINE._replace(late=9), 1, 20) is None


def test_one_that_uses_much_cpu_goes_on_with_a_lower_rate() -> None:
    decision = judge(OURS, FINE._replace(recorder=0.8), 1, 20)
    assert decision is not None and decision.end and decision.plan is not None
    assert (decision.plan.kind, decision.plan.rate) == ("cpu", 31)
    assert "py-spy used 80 % of a core" in decision.words and "31 Hz after 100" in decision.plan.reasons[0]


def test_one_that_would_be_too_slow_reads_the_holder_of_the_gil() -> None:
    decision = judge(OURS._replace(rate=15), FINE._replace(recorder=0.6), 1, 20)
    assert decision is not None and decision.plan is not None and decision.plan.kind == "gil"
    assert any("released the GIL is not seen" in reason for reason in decision.plan.reasons)


def test_a_wish_is_sampled_less_often_and_then_honoured_with_a_warning() -> None:
    hurt = FINE._replace(stopped=0.6)
    decision = judge(BLOCKING, hurt, 1, 20)
    assert decision is not None and decision.plan is not None
    assert decision.plan.blocking and decision.plan.rate == 12 and decision.plan.kind == "cpu"
    for segment, left, made in ((MAX_SEGMENTS, 20, BLOCKING), (1, 1, BLOCKING), (1, 20, BLOCKING._replace(rate=1))):
        decision = judge(made, hurt, segment, left)
        assert decision is not None and not decision.end and "it was asked for" in decision.words


def test_a_target_that_stands_still_is_nobodys_wish() -> None:
    decision = judge(BLOCKING, FINE._replace(stopped=1.0), 1, 20)
    assert decision is not None and decision.end and decision.hung and decision.plan is None


def test_who_cannot_be_gentler_is_ended_early() -> None:
    decision = judge(OURS._replace(rate=1), FINE._replace(recorder=0.9), 1, 20)
    assert decision is not None and decision.end and decision.plan is None and "ended early" in decision.words


@given(
    st.builds(Readings, st.floats(2, 9), st.floats(0, 1), st.floats(0, 4), st.floats(0, 9), st.integers(0, 9)),
    st.sampled_from([OURS, BLOCKING]),
    st.integers(1, 1000),
    st.integers(1, MAX_SEGMENTS),
    st.floats(0, 3600),
)
def test_what_follows_is_gentler(readings: Readings, made: Plan, rate: int, segment: int, left: float) -> None:
    made = made._replace(rate=rate)
    decision = judge(made, readings, segment, left)
    if decision is None or decision.plan is None:
        return
    after = decision.plan
    assert segment < MAX_SEGMENTS and decision.end and after.reasons
    assert after.blocking == made.blocking and 1 <= after.rate <= made.rate
    assert after.rate < made.rate or (made.kind, after.kind) == ("cpu", "gil")


def test_readings_are_of_the_time_between() -> None:
    found = between(Seen(10.0, 100, 50, 0, 0, 1), Seen(12.0, 200, 60, 20, 200, 1))
    assert found.stopped == pytest.approx(0.1) and found.late == 0 and found.seconds == 2.0
    assert found.target == pytest.approx(10 * found.recorder)


def test_a_real_process_is_measured() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy, ProcessDir(busy.pid) as process:
        watch = Watch(process, busy.pid, OURS, 50.0)

        def seen() -> bool:
            watch.look()
            watch.read()
            return float(str(watch.to_wire("")["recorder_cpu"])) > 0

        await_condition("CPU time to be counted", seen)
        wire = watch.to_wire("1.1s behind in sampling\n1.2s behind in sampling\n")
        assert wire["late"] == 2 and wire["stopped"] == 0 and wire["cpu_before"] == 50.0
        assert float(str(wire["cpu_during"])) >= float(str(wire["recorder_cpu"])) and wire["threads"] is None
        busy.kill()
        busy.wait()
        watch.look()
        watch.read()
        assert float(str(watch.to_wire("")["recorder_cpu"])) > 0, "what was read before stays"
