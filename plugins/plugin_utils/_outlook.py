# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "outlook" of the controller wing (private to the collection): what a store says after a round.

Each service that the round saw is set beside what is usual for it, and the page with its time line is written. All of
that lies beside the store, made anew after every round.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from . import _drift_text
from ._baseline import ROUNDS, baseline
from ._calls import Calls, Worker, calls
from ._drift import Drift, before_release, confirmed, drift
from ._errors import FleetError
from ._profile import KINDS
from ._render._text import plural
from ._render._timeline import page
from ._render._timeline_data import DriftRow, ServiceLines
from ._rounds import Round, Slice
from ._store._store import Store, stem
from ._usual import FEWEST

#: Rounds that the page shows: a month of half hours, or a day of minutes; fewer where there are many services, for
#: with more slices than these it would be larger than 5 MB.
_SHOWN, _SLICES = 1440, 60_000
#: Profiles that are read for flame graphs in the page: a few milliseconds each, shared out among the services.
_READ = 800


@dataclass(frozen=True)
class Terms:
    """What is usual: so many ``rounds``, by the clock of a ``zone``, none of them before ``since``.

    A change counts when so many rounds before (``confirm``) had it too. Raises :class:`FleetError` for numbers by which
    nothing would ever be clear.
    """

    rounds: int = ROUNDS
    zone: tzinfo = field(default=UTC)
    since: float | None = None
    confirm: int = 1

    def __post_init__(self) -> None:
        for name, value, fewest in (("usual_rounds", self.rounds, FEWEST), ("confirm", self.confirm, 0)):
            if value < fewest:
                what = f"pyspy_snapshot_{name} is {fewest} or more"
                raise FleetError(what, f"got {value}", "with less there is no verdict; leave it out for the default")


@dataclass(frozen=True)
class Outlook:
    """``page`` is the path of the page; the files of drift lie beside it."""

    page: str
    drifts: tuple[Drift, ...]


def look_back(store: Store, one: Round, terms: Terms, fail_above: float | None) -> Outlook:
    drifts = tuple(_drifts(store, one.name, terms))
    path = stem(store.path)
    rounds = store.rounds()[-max(1, min(_SHOWN, _SLICES // max(1, len(store.services())))) :]
    _write(f"{path}-drift.json", json.dumps(_drift_text.data(drifts, fail_above), indent=1) + "\n")
    _write(f"{path}-drift.md", _drift_text.text(drifts))
    _write(f"{path}.html", _page(store, rounds, drifts))
    return Outlook(f"{path}.html", drifts)


def _drifts(store: Store, name: str, terms: Terms) -> list[Drift]:
    found = []
    for service, kind in store.services():
        slices = store.slices(service, kind)
        ours = [one for one in slices if one.round == name]
        drifts = [_drift(store, slices, one, terms) for one in ours]
        if any(one.clear for one in drifts):
            # Only now: reading profiles takes its time, and there is seldom anything to confirm.
            before = list(dict.fromkeys(one.round for one in slices if one.began < ours[0].began))
            earlier = [
                [_drift(store, slices, one, terms) for one in slices if one.round == round_]
                for round_ in before[len(before) - terms.confirm :]
            ]
            drifts = confirmed(drifts, *earlier, *([[]] if len(earlier) < terms.confirm else []))
        found += drifts
    return found


def _drift(store: Store, slices: Sequence[Slice], now: Slice, terms: Terms) -> Drift:
    usual = baseline(slices, now, terms.rounds, zone=terms.zone, since=terms.since)
    previous = before_release(slices, now)
    if previous is not None and terms.since is not None and previous.began < terms.since:
        previous = None  # What changed with this version has been accepted.
    return drift(store.seen(now), [store.seen(one) for one in usual], store.seen(previous) if previous else None)


def _page(store: Store, rounds: Sequence[Round], drifts: Sequence[Drift]) -> str:
    since = rounds[0].began if rounds else None
    services = [ServiceLines(store.timeline(service, kind, since), KINDS[kind]) for service, kind in store.services()]
    folder = os.path.dirname(store.path)
    links = {
        one.name: f"{one.name}/index.html" if os.path.isfile(os.path.join(folder, one.name, "index.html")) else None
        for one in rounds
    }
    newest, kept = (rounds[-1] if rounds else None), len(store.rounds())
    all_rounds = plural(kept, "round") if kept == len(rounds) else f"the newest {len(rounds)} of {kept} rounds"
    facts = [
        ("Store", f"{store.path}, {os.stat(store.path).st_size / 1e6:.1f} MB"),
        ("Rounds", all_rounds + (f", the newest is {newest.name}" if newest else "")),
    ]
    services = [one for one in services if one.timeline.slices]
    return page("Snapshots", facts, services, rounds, links, _rows(drifts), _trees(store, services, drifts))


def _trees(store: Store, services: Sequence[ServiceLines], drifts: Sequence[Drift]) -> list[tuple[str, str, Calls]]:
    """Call trees of the newest rounds of each service, those that drifted first; in each a round is one worker."""
    drifted = {(one.service, one.now.kind) for one in drifts if one.clear}
    lines = sorted((one.timeline for one in services), key=lambda one: (one.service, one.kind) not in drifted)
    found = []
    for line in lines:
        left = _READ // len(lines)
        taken: list[Slice] = []
        for one in reversed(line.slices):
            left -= one.workers
            if left < 0 and len(taken) > 1:
                break
            taken.append(one)
        parts = (
            (Worker(one.round, one.version), profile) for one in reversed(taken) for profile in store.profiles(one)
        )
        found.append((line.service, line.kind, calls(parts)))
    return found


def _rows(drifts: Sequence[Drift]) -> list[DriftRow]:
    return [
        DriftRow(
            one.service,
            (change.name, change.file),
            change.shift.after,
            change.shift.before,
            change.shift.change,
            change.shift.error,
            one.verdict_of(change),
            one.now.round,
            one.now.kind,
        )
        for one in drifts
        for change in (*one.clear, *one.unconfirmed)
    ]


def _write(path: str, text: str) -> None:
    """At once: somebody may be reading the one of the round before."""
    temporary = f"{path}.{secrets.token_hex(4)}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        remedy = "make room there, or let the store lie where you may write; the round itself is stored"
        raise FleetError(f"What the store says cannot be written: {path}", str(error), remedy) from error
