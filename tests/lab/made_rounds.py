# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "made_rounds" of the lab (private to the collection): time lines of services, made up, by the same seed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection

from ansible_collections.pyspy.fleet.plugins.plugin_utils._calls import Calls, Function, Worker, calls
from ansible_collections.pyspy.fleet.plugins.plugin_utils._profile import Frame, Profile, Stack, collapse
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._timeline import page
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._timeline_data import DriftRow, ServiceLines
from ansible_collections.pyspy.fleet.plugins.plugin_utils._rounds import Round, Share, Slice, Timeline
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Measure

BEGAN = 1795305600.0  # 2026-11-22 00:00:00 UTC
MEASURE = "CPU time (not idle), 50 Hz, nonblocking"
NAMES = ("render", "query", "price", "encode", "route", "session", "fetch", "parse", "log", "cache", "sign", "hash")
#: The function that rises, and by how much, at a release.
SLOW: Function = ("price", "shop/price.py")
RISE = 0.08

#: What a function's share is changed by in a round, by its number.
Change = Callable[[int], float]


def made_rounds(many: int, every: float = 900.0, hosts: int = 12, chosen: int = 12) -> list[Round]:
    """So many rounds, one each ``every`` seconds."""
    found = []
    for number in range(many):
        began = BEGAN + number * every
        name = time.strftime("%Y%m%dT%H%M%SZ-snapshot-web", time.gmtime(began))
        found.append(Round(name, began, began + 10, hosts, chosen, "deploy"))
    return found


def steady(rounds: list[Round], service: str = "shop", functions: int = 8, seed: int = 7) -> Timeline:
    return timeline(rounds, service, functions, seed)


def risen(rounds: list[Round], release: int, service: str = "shop", functions: int = 8) -> Timeline:
    """From a round on the version is another one, and :data:`SLOW` has :data:`RISE` more."""
    return timeline(rounds, service, functions, 7, lambda number: RISE if number >= release else 0.0, {release})


def gapped(rounds: list[Round], first: int, last: int, service: str = "mail") -> Timeline:
    """From ``first`` to before ``last`` its host was gone."""
    return timeline([*rounds[:first], *rounds[last:]], service)


def canary(rounds: list[Round], first: int, service: str = "shop") -> Timeline:
    """From a round on some workers have the next version, in which :data:`SLOW` is slower; the others stay."""
    old = timeline(rounds, service)
    new = risen(rounds, 0, service)
    slices, shares = list(old.slices[:first]), list(old.shares[:first])
    for number in range(first, len(rounds)):
        slices += [old.slices[number], new.slices[number]]
        shares += [old.shares[number], new.shares[number]]
    return Timeline(service, "cpu", tuple(slices), old.functions, tuple(shares))


def odd_one(rounds: list[Round], odd: int, service: str = "jobs") -> Timeline:
    """In one round :data:`SLOW` has half of all."""
    return timeline(rounds, service, change=lambda number: 0.5 if number == odd else 0.0)


def timeline(
    rounds: list[Round],
    service: str,
    functions: int = 8,
    seed: int = 7,
    change: Change = lambda number: 0.0,
    releases: Collection[int] = (),
) -> Timeline:
    """Shares that differ by chance from round to round; from each number in ``releases`` on the version is the next."""
    dice = random.Random(seed)
    names = tuple((name, f"shop/{name}.py") for name in NAMES[:functions])
    usual = [0.3 / (1 + number) for number in range(len(names))]
    slices, shares = [], []
    version = 1
    for number, one in enumerate(rounds):
        version += number in releases
        slices.append(
            Slice(one.name, one.began, service, f"2.{version}", "cpu", one.chosen, 8 * one.chosen, 4000, 80.0)
        )
        owns = [max(0.0, share * dice.gauss(1, 0.06)) for share in usual]
        owns = [own + change(number) * (name == SLOW) for own, name in zip(owns, names, strict=True)]
        whole = max(1.0, sum(owns))
        shares.append(tuple(Share(own / whole, min(1.0, 1.5 * own / whole)) for own in owns))
    return Timeline(service, "cpu", tuple(slices), names, tuple(shares))


def made_calls(line: Timeline) -> Calls:
    """A call tree whose workers are the rounds: ``main`` calls each function for its own share of 1,000 samples."""
    measure = Measure("cpu", 50.0, False, False)
    targets = []
    for part, shares in zip(line.slices, line.shares, strict=True):
        stacks = [
            Stack((Frame("main", "shop/main.py", 1), Frame(name, file, 2)), 0.02 * count, count, "MainThread")
            for (name, file), share in zip(line.functions, shares, strict=True)
            if (count := round(1000 * share.own))
        ]
        targets.append((Worker(part.round, part.version), Profile((measure,), collapse(stacks))))
    return calls(targets)


def made_page(many: int = 96) -> str:
    """Four services: one slower since a release in two thirds of the time, a steady one, a gap, one odd round."""
    rounds = made_rounds(many)
    release = 2 * many // 3
    lines = [
        risen(rounds, release),
        steady(rounds, "search", seed=3),
        gapped(rounds, many // 4, many // 2),
        odd_one(rounds, many // 2),
    ]
    drifts = [
        DriftRow("search", ("query", "shop/query.py"), 0.151, 0.149, 0.002, 0.011, "within noise"),
        DriftRow("shop", SLOW, 0.18, 0.10, RISE, 0.012, "clear", rounds[release].name),
    ]
    facts = [("Rounds", f"{many} of play web"), ("Hosts", "12 of 12 in each")]
    links = {one.name: f"rounds/{one.name}/index.html" for one in rounds[-3:]}
    trees = [("shop", "cpu", made_calls(lines[0]))]
    services = [ServiceLines(one, MEASURE) for one in lines]
    text: str = page("Snapshots of web", facts, services, rounds, links, drifts, trees)
    return text


def hostile_page(text: str) -> str:
    """``text`` wherever a name can be."""
    one = Round(text, BEGAN, BEGAN + 10, 1, 1, text, text)
    two = Round(text + " 2", BEGAN + 900, BEGAN + 910, 2, 1, text, text)
    slices = tuple(
        Slice(each.name, each.began, text, text + each.name[-1:], text, 1, 1, 10, 0.2) for each in (one, two)
    )
    names: tuple[Function, ...] = ((text, text), ("other", text))
    shares = ((Share(0.5, 0.6), Share(0.1, 1.0)), (Share(0.6, 0.7), Share(0.2, 1.0)))
    line = Timeline(text, text, slices, names, shares)
    drift = DriftRow(text, (text, text), 0.6, 0.5, 0.1, None, "clear", one.name, text)
    other = DriftRow(text, (text, text), 0.6, 0.5, 0.1, None, text, one.name, text)
    made: str = page(
        text,
        [("Play", text)],
        [ServiceLines(line, text)],
        [one, two],
        {one.name: text, two.name: None},
        [drift, other],
        [(text, text, made_calls(line))],
    )
    return made
