# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room "drift" of the controller wing (private to the collection): is a service now unlike it usually is.

A service's newest round is set beside the usual ones of its time of day, and beside the last round of its previous
version. The first is what alarms are made of; the second stands in for it while there are too few rounds: so each
service has one chance of a false alarm, not two. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ._calls import Function
from ._changes import growth
from ._compare import CLEAR, FEW, Change, Comparison, compare
from ._rounds import Seen, Slice
from ._usual import FEWEST, beside_usual

DRIFTED, AS_USUAL, ONCE = "drifted", "as usual", "not confirmed"
FEW_ROUNDS = "too few rounds"


@dataclass(frozen=True)
class Drift:
    """``usual`` is the comparison of the median of ``rounds`` with now, ``release`` that of ``previous`` with now.

    ``once`` are functions with a clear change that the rounds before did not have.
    """

    now: Slice
    rounds: tuple[Slice, ...]
    usual: Comparison
    previous: Slice | None
    release: Comparison | None
    once: frozenset[Function] = frozenset()

    @property
    def service(self) -> str:
        return self.now.service

    @property
    def version(self) -> str:
        return self.now.version

    @property
    def too_few(self) -> str:
        """Why the usual rounds allow no verdict; "" where they do."""
        if len(self.rounds) < FEWEST:
            return FEW_ROUNDS
        return "" if self.usual.enough else FEW

    @property
    def alarming(self) -> Comparison | None:
        """What alarms are made of; None where there is no verdict."""
        if not self.too_few:
            return self.usual
        return self.release if self.release is not None and self.release.enough else None

    @property
    def changes(self) -> tuple[Change, ...]:
        return self.alarming.changes if self.alarming is not None else self.usual.changes

    def verdict_of(self, change: Change) -> str:
        """Of one of :attr:`changes`."""
        if self.alarming is None:
            return self.too_few
        return ONCE if change.verdict == CLEAR and (change.name, change.file) in self.once else change.verdict

    @property
    def clear(self) -> list[Change]:
        """The largest first; what is not confirmed is not among them."""
        return [change for change in self.changes if self.verdict_of(change) == CLEAR]

    @property
    def unconfirmed(self) -> list[Change]:
        return [change for change in self.changes if self.verdict_of(change) == ONCE]

    @property
    def state(self) -> str:
        if self.clear:
            return DRIFTED
        if self.unconfirmed:
            return ONCE
        return AS_USUAL if self.alarming is not None else self.too_few

    def above(self, points: float) -> list[Change]:
        """Functions whose share clearly grew by more than so many percentage points."""
        return [change for change in self.clear if growth(change) > points]


def drift(now: Seen, usual: Sequence[Seen], previous: Seen | None) -> Drift:
    """``usual`` is what :func:`_baseline.baseline` chose. The same input gives the same, in any order of rounds."""
    rounds = sorted(usual, key=lambda one: (one.slice.began, one.slice.round, one.slice.version))
    return Drift(
        now.slice,
        tuple(one.slice for one in rounds),
        beside_usual(now.workers, [one.workers for one in rounds]),
        None if previous is None else previous.slice,
        None if previous is None else compare(previous.workers, now.workers),
    )


def before_release(slices: Sequence[Slice], now: Slice) -> Slice | None:
    """The newest slice of the previous version: of that which ran last before this one was first seen.

    Where none ran before, as with a canary beside the rest from the first round on, it is the newest of another.
    """
    ours = [one for one in slices if (one.service, one.kind) == (now.service, now.kind) and one.began <= now.began]
    others = [one for one in ours if one.version != now.version and one.workers and one.seconds > 0]
    first = min((one.began for one in ours if one.version == now.version), default=now.began)
    older = [one for one in others if one.began < first]
    if not older:
        return max(others, key=_age, default=None)
    version = max(older, key=_age).version
    return max((one for one in others if one.version == version), key=_age)


def _age(one: Slice) -> tuple[float, str, int, str]:
    return one.began, one.round, one.workers, one.version


def confirmed(drifts: Sequence[Drift], *earlier: Sequence[Drift]) -> list[Drift]:
    """Only what the rounds before found too, each beside its own usual ones, stays clear: the same function, same way.

    What is false in one round is hardly ever false in the next in the same function.
    """
    return [replace(one, once=frozenset(_once(one, earlier))) for one in drifts]


def _once(now: Drift, earlier: Sequence[Sequence[Drift]]) -> set[Function]:
    clear = {way for change in now.changes for way in _ways(now, change)}
    kept = set(clear)
    for drifts in earlier:
        ours = [one for one in drifts if (one.service, one.now.kind) == (now.service, now.now.kind)]
        same = [one for one in ours if one.version == now.version] or ours
        kept &= {way for one in same for change in one.changes for way in _ways(one, change)}
    return {function for function, _way in clear - kept} - {function for function, _way in kept}


def _ways(of: Drift, change: Change) -> list[tuple[Function, bool]]:
    """The function, and whether it is more, where that is clear."""
    shifts = [shift for shift in (change.own, change.total) if of.alarming is not None and shift.verdict == CLEAR]
    return [((change.name, change.file), shift.change > 0) for shift in shifts]
