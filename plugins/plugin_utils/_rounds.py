# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "rounds" of the controller wing (private to the collection): the words of snapshots.

A *round* visits some hosts of a play for a short window and keeps what it saw. A *snapshot* is one capture of one
target in it. What runs the same code is one *service*, in one *version*; a *slice* is one service in one version in one
round, by one kind of measure. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ._calls import Function
from ._compare import Observation
from ._errors import FleetError
from ._profile import Profile
from ._wire import Capture, HostRecord


@dataclass(frozen=True)
class Round:
    """``name`` is unique and sorts by time. ``began`` and ``ended`` are seconds since the epoch, by the controller.

    ``hosts`` of the play could have been visited, ``chosen`` were: each of these stands for :attr:`weight` hosts.
    ``user`` asked for it, because of ``reason``.
    """

    name: str
    began: float
    ended: float
    hosts: int
    chosen: int
    user: str = ""
    reason: str = ""

    @property
    def weight(self) -> float:
        return self.hosts / self.chosen if self.chosen else 0.0


@dataclass(frozen=True)
class Snapshot:
    """``version`` is "" where nothing tells it; ``capture`` says which process it was, and how it was measured."""

    host: str
    groups: tuple[str, ...]
    service: str
    version: str
    capture: Capture
    profile: Profile


@dataclass(frozen=True)
class Visited:
    """What a round found: all that it knows of its hosts, and what was recorded of them."""

    records: tuple[HostRecord, ...]
    snapshots: tuple[Snapshot, ...]


@dataclass(frozen=True)
class Slice:
    """``began`` is that of the round. ``seconds`` are of samples; ``workers`` are targets, on so many ``hosts``."""

    round: str
    began: float
    service: str
    version: str
    kind: str
    hosts: int
    workers: int
    samples: int
    seconds: float


class Share(NamedTuple):
    """A function's part of a slice's seconds (of 1): by itself, and with what it calls."""

    own: float
    total: float


@dataclass(frozen=True)
class Timeline:
    """Slices of one service, oldest first, and the functions that are hottest over all of them.

    ``shares`` has a row for each slice with an entry for each function. Paths of files are without what releases do
    to them (``_stacks.normal_path``), so that a function is the same one in each version.
    """

    service: str
    kind: str
    slices: tuple[Slice, ...]
    functions: tuple[Function, ...]
    shares: tuple[tuple[Share, ...], ...]


@dataclass(frozen=True)
class Seen:
    """One service in one version in one round, with each of its workers: what changes are judged by."""

    slice: Slice
    workers: tuple[Observation, ...]


@dataclass(frozen=True)
class Retention:
    """What is kept: rounds not older than so many days, so many of them, so many bytes of file. None is no limit.

    The newest round always stays.
    """

    days: float | None = None
    rounds: int | None = None
    size: int | None = None


def retention(days: float | None, rounds: int | None, mebibytes: int | None) -> Retention:
    """What a person says; FleetError for what would take all but the newest away: 0 or -1, meant as "no limit"."""
    for name, value in (("days", days), ("rounds", rounds), ("size", mebibytes)):
        if value is not None and not value > 0:
            raise FleetError(
                f"pyspy_snapshot_keep_{name} is a number above 0",
                f"got {value:g}; nothing was removed",
                "give such a number; a large one is as good as no limit",
            )
    return Retention(days, rounds, None if mebibytes is None else mebibytes * 1024 * 1024)
