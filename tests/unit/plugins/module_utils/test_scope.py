# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules of the lease: each transition as a row; then all of them in any order.

The second part drives the real lease and its real dead-men's looks against a directory that stands for
/proc/sys/kernel/yama (this machine's kernel may have no Yama) and a clock that is set by hand.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from types import SimpleNamespace

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils import _deadman, _lease, _lowering, _scope, _state, _yama
from ansible_collections.pyspy.fleet.plugins.module_utils._errors import HostError
from ansible_collections.pyspy.fleet.plugins.module_utils._scope import (
    Bounds,
    Decision,
    Holder,
    Mine,
    State,
    fall,
    leave,
    take,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

NOW = 100.0


def holder(name: str, scope: int = 0, deadline: float = NOW + 10, pid: int = 0) -> Holder:
    return Holder(name, scope, deadline, "armed-" + name, pid, 7, 0, 0, "somebody", "")


def lease(original: int, left: int, *holders: Holder) -> State:
    return State("epoch", original, left, holders)


def alive(pid: int, _start: int) -> bool:
    return pid == 1


A, B, A1, B1 = holder("a"), holder("b"), holder("a", scope=1), holder("b", scope=1)
LATE, DEAD, LIVING = holder("late", deadline=NOW), holder("dead", pid=2), holder("living", pid=1)


@pytest.mark.parametrize(
    ("state", "current", "new", "expected"),
    [
        pytest.param(None, 1, A, (lease(1, 0, A), 0, False), id="lowered"),
        pytest.param(None, 2, A1, (lease(2, 1, A1), 1, False), id="only-as-far-as-wanted"),
        pytest.param(None, 0, A, (None, None, False), id="low-enough"),
        pytest.param(None, 0, A1, (None, None, False), id="never-raised"),
        pytest.param(lease(1, 0, A), 0, B, (lease(1, 0, A, B), None, False), id="second-holder"),
        pytest.param(lease(2, 1, A1), 1, B, (lease(2, 0, A1, B), 0, False), id="second-wants-lower"),
        pytest.param(lease(2, 0, A), 0, B1, (lease(2, 0, A, B1), None, False), id="second-wants-less"),
        pytest.param(lease(1, 0, A, B), 0, A, (lease(1, 0, B, A), None, False), id="prolonged"),
        pytest.param(lease(1, 0, A), 2, B, (lease(2, 0, A, B), 0, True), id="somebody-raised-it"),
        pytest.param(lease(2, 1, A1), 0, B, (lease(0, 0, A1, B), None, True), id="somebody-lowered-it"),
        pytest.param(lease(1, 0, LATE), 0, B, (lease(1, 0, B), None, False), id="after-one-that-is-over"),
        pytest.param(lease(1, 0, LATE), 1, B, (lease(1, 0, B), 0, False), id="after-one-that-was-put-back"),
        pytest.param(lease(2, 0, DEAD), 0, B1, (lease(2, 1, B1), 1, False), id="dead-ones-do-not-count"),
    ],
)
def test_take(state: State | None, current: int, new: Holder, expected: tuple[State | None, int | None, bool]) -> None:
    assert take(state, current, new, "epoch", NOW, alive) == Decision(*expected)


@pytest.mark.parametrize(
    ("state", "current", "name", "expected"),
    [
        pytest.param(lease(1, 0, A), 0, "a", (None, 1, False), id="the-last"),
        pytest.param(lease(1, 0, A, B), 0, "a", (lease(1, 0, B), None, False), id="not-the-last"),
        pytest.param(lease(1, 0, A), 0, "armed-a", (None, 1, False), id="by-its-dead-man"),
        pytest.param(lease(2, 0, A, B1), 0, "a", (lease(2, 1, B1), 1, False), id="the-other-needs-less"),
        pytest.param(lease(1, 0, A), 0, "c", (lease(1, 0, A), None, False), id="a-stranger"),
        pytest.param(lease(1, 0, A), 2, "a", (None, None, True), id="somebody-raised-it"),
        pytest.param(lease(2, 1, A1), 0, "a", (None, None, True), id="somebody-lowered-it"),
        pytest.param(lease(1, 0, A), 3, "a", (None, None, True), id="somebody-sealed-it"),
        pytest.param(lease(1, 0, A, B), 2, "a", (lease(1, 0, B), None, True), id="somebody-raised-it-others-hold"),
        pytest.param(lease(1, 0, A), 1, "a", (None, None, False), id="back-already"),
        pytest.param(lease(1, 0, A, LATE, DEAD), 0, "a", (None, 1, False), id="what-is-over-does-not-count"),
        pytest.param(lease(1, 0, A, LIVING), 0, "a", (lease(1, 0, LIVING), None, False), id="a-living-process-counts"),
    ],
)
def test_leave(state: State, current: int, name: str, expected: tuple[State | None, int | None, bool]) -> None:
    assert leave(state, current, name, NOW, alive) == Decision(*expected)


@pytest.mark.parametrize(
    ("state", "current", "mine", "expected"),
    [
        pytest.param(None, 0, Mine("epoch", 1, 0, "armed-a"), (None, 1, False), id="lost"),
        pytest.param(None, 1, Mine("epoch", 1, 0, "armed-a"), (None, None, False), id="lost-but-back-already"),
        pytest.param(None, 2, Mine("epoch", 1, 0, "armed-a"), (None, None, True), id="lost-and-somebody-raised-it"),
        pytest.param(None, 0, Mine("epoch", 2, 1, "armed-a"), (None, None, True), id="lost-and-somebody-lowered-it"),
        pytest.param(None, 0, Mine("epoch", 0, 0, "armed-a"), (None, None, False), id="lost-with-nothing-lowered"),
        pytest.param(lease(1, 0, A), 0, Mine("epoch", 1, 0, "armed-a"), (None, 1, False), id="over"),
        pytest.param(lease(1, 0, B), 0, Mine("epoch", 1, 0, "armed-a"), (lease(1, 0, B), None, False), id="given-back"),
        pytest.param(lease(1, 0, B), 0, Mine("old", 2, 1, "armed-a"), (lease(2, 0, B), None, False), id="retaken"),
    ],
)
def test_fall(state: State | None, current: int, mine: Mine, expected: tuple[State | None, int | None, bool]) -> None:
    assert fall(state, current, mine, NOW, alive) == Decision(*expected)


def test_the_file_says_all_and_is_of_one_boot() -> None:
    state = lease(2, 1, A1, LIVING)
    assert _scope.decode(_scope.encode(state, "boot"), "boot") == state
    assert _scope.decode(_scope.encode(state, "boot"), "another") is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        b'{"boot": "boot", "epoch": "e", "original": 3, "left": 0, "holders": []}',
        b'{"boot": "boot", "epoch": "e", "original": 1, "left": "0", "holders": []}',
        b'{"boot": "boot", "epoch": "e", "original": 1, "left": 0, "holders": [{"name": "a"}]}',
        b'{"boot": "boot", "epoch": "e", "original": 1, "left": 0, "holders": 7}',
    ],
)
def test_a_damaged_file_is_a_lost_one(data: bytes) -> None:
    assert _scope.decode(data, "boot") is None


NAMES = ("a", "b")


class Leases(RuleBasedStateMachine):
    """Holders come, prolong, go, expire and die; others set the value; the file is lost. The dead-men look in between.

    ``own`` is what the host is to have in the end. ``unclear`` is set where nobody could tell:
    somebody else set just the value that we had left, or set one before the file was lost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.mkdtemp()
        self.site = _yama.Site(self.place + "/ptrace_scope", self.place + "/state")
        self.now = 1000.0
        self.dead: set[int] = set()
        self.guards: dict[str, tuple[Mine, Bounds]] = {}
        self.armed = self.before = 0
        self.holders: dict[str, tuple[int, float, int]] = {}
        self.unclear = self.disturbed = self.lost = False
        clock = SimpleNamespace(
            monotonic=lambda: self.now, time=time.time, strftime=time.strftime, gmtime=time.gmtime, sleep=time.sleep
        )
        self.patch = pytest.MonkeyPatch()
        for room in (_lease, _lowering, _deadman):
            self.patch.setattr(room, "time", clock)
        for room in (_lease, _deadman):
            self.patch.setattr(room, "alive", lambda pid, _start: pid not in self.dead)
        self.patch.setattr(_lease, "_start_of", lambda pid: 7)
        self.patch.setattr(_lease, "arm", self._arm)
        self.patch.setattr(_lease, "disarm", lambda arming, *_guard: self.guards.pop(arming, None))
        self.patch.setattr(_lowering, "contained", lambda: False)
        self.patch.setattr(_state, "base_path", lambda: self.site.directory)

    def teardown(self) -> None:
        self.patch.undo()
        shutil.rmtree(self.place)

    def _arm(self, site: _yama.Site, mine: Mine, bounds: Bounds) -> tuple[int, int]:
        assert site == self.site and self._value() == self.before, "armed before anything is lowered"
        self.guards[mine.arming] = (mine, bounds)
        self.armed += 1
        return 0, 0

    def _set(self, value: int) -> None:
        with open(self.site.sysctl, "w", encoding="ascii") as handle:
            handle.write(f"{value}\n")

    def _value(self) -> int:
        value = self.site.read()
        assert value is not None
        return value

    def _live(self) -> dict[str, tuple[int, float, int]]:
        return {name: one for name, one in self.holders.items() if one[1] > self.now and one[2] not in self.dead}

    def _wanted(self) -> int:
        return min([self.own] + [scope for scope, _deadline, _pid in self._live().values()])

    def _quiet(self) -> None:
        """With nobody left all is as if we had never been here, and what was unclear is past."""
        if not self.guards:
            self.own, self.unclear, self.disturbed, self.lost = self._value(), False, False, False
            self.holders.clear()

    @initialize(value=st.sampled_from((1, 2)))
    def before_us(self, value: int) -> None:
        self.own, self.set_by_others = value, {value}
        self._set(value)

    @rule(
        name=st.sampled_from(NAMES),
        scope=st.sampled_from((0, 1)),
        seconds=st.sampled_from((3, 10, 30)),
        pid=st.sampled_from((0, 0, 0, 11, 12)),
    )
    def take(self, name: str, scope: int, seconds: int, pid: int) -> None:
        if pid in self.dead:
            return
        before, self.before = self.armed, self._value()
        taken = _lease.hold(_lease.Wish(name, scope, seconds), pid=pid, site=self.site)
        assert taken.scope is not None and taken.scope <= scope
        assert taken.scope == self._value()
        if self.armed > before:
            self.holders[name] = (scope, self.now + seconds, pid)
            self.disturbed = False

    @precondition(lambda self: self.guards)
    @rule(name=st.sampled_from(NAMES))
    def give_back(self, name: str) -> None:
        _lease.give_back(name, site=self.site)
        self.holders.pop(name, None)

    @precondition(lambda self: self.guards)
    @rule(seconds=st.sampled_from((1, 5, 12)))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(value=st.sampled_from((0, 1, 2)))
    def somebody_sets_it(self, value: int) -> None:
        state, current = self.site.state(), self._value()
        if self.guards and (self.lost or (state and value in (state.left, state.original)) or value == current):
            self.unclear = True
        self._set(value)
        self.set_by_others.add(value)
        self.own = value
        self.disturbed = True

    @precondition(lambda self: self.guards)
    @rule(order=st.randoms(use_true_random=False))
    def the_dead_men_look(self, order: object) -> None:
        armings = sorted(self.guards)
        order.shuffle(armings)  # type: ignore[attr-defined]
        for arming in armings:
            mine, bounds = self.guards[arming]
            mine, why = _deadman.look(self.site, mine, bounds)
            self.guards[arming] = (mine, bounds)
            if why:
                _deadman.fire(self.site, mine, why)
                del self.guards[arming]
        if not (self.lost or self.disturbed or self.unclear):
            assert self._value() == self._wanted(), "no lower than needed, once the dead-men have looked"

    @precondition(lambda self: self.guards)
    @rule(
        what=st.sampled_from(("the file is lost", "process 11 ends", "process 12 ends", "clean-up", "forced clean-up"))
    )
    def something_rare(self, what: str) -> None:
        if what == "the file is lost":
            if self.lost:
                return  # twice between two looks of the dead-men is more than they can tell
            self.lost = bool(self.guards)
            self.unclear = self.unclear or (self.lost and self.disturbed)
            shutil.rmtree(self.site.directory, ignore_errors=True)
        elif what.startswith("process"):
            self.dead.add(int(what.split()[1]))
        else:
            _lease.sweep("forced" in what, False, site=self.site)
            if "forced" in what and not self.lost:
                self.holders.clear()

    @invariant()
    def nothing_but_what_somebody_set_or_wants(self) -> None:
        assert self._value() <= max(self.set_by_others)
        assert self._value() in self.set_by_others | {0, 1}

    @precondition(lambda self: not self.guards)
    @invariant()
    def with_nobody_left_the_value_is_the_hosts_own(self) -> None:
        assert self._value() in self.set_by_others
        if not self.unclear:
            assert self._value() == self.own
        assert not os.path.exists(self.site.directory)
        self._quiet()

    @precondition(lambda self: not (self.lost or self.disturbed or self.unclear))
    @invariant()
    def who_holds_it_has_it(self) -> None:
        assert self._value() <= self._wanted()


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=120, stateful_step_count=50)


def test_a_name_that_cannot_be_one() -> None:
    for name in ("", "a b", "x" * 65, "ü", "../x", "a\n"):
        with pytest.raises(HostError, match="A holder's name"):
            _lease.checked_name(name)
