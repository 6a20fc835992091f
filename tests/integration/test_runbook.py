# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The runbook: what it says is typed word by word, against services that have the faults. (Memory: ``tests/vm``.)"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.tests.lab.hosts import CHECKOUT, Fleet
from ansible_collections.pyspy.fleet.tests.lab.incidents import services
from ansible_collections.pyspy.fleet.tests.lab.incidents.page import Desk, dumps, not_shown, scenario
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

WITHOUT_SYSTEMD = ("Requests hang", "CPU at 100 %", "One host is slower than the others", "Workers die at startup")


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(4) as hosts:
        yield hosts


@pytest.fixture
def desk(fleet: Fleet, tmp_path: Path) -> Desk:
    return Desk(tmp_path, fleet.directory, fleet.inventory)


def test_requests_hang(fleet: Fleet, desk: Desk) -> None:
    page = scenario("Requests hang")
    with contextlib.ExitStack() as faults:
        for host in fleet.hosts:
            faults.enter_context(services.hanging(host))
        first, rarest = map(desk.types, page.commands)
        [holder] = [path for path in rarest.folder.glob("hosts/web1/*.txt") if "ask_supplier" in path.read_text()]
        fleet.hosts[0].run(f"kill -KILL {holder.name.partition('-')[0]}")
        # As the page says: once its holder is gone the lock is taken by the others.
        await_condition("the others to go on", lambda: services.locks(fleet.hosts[0]) == (0, 0))
    assert (first.code, rarest.code) == (0, 0), first.text + rarest.text
    assert re.search(r"12 of \d+ threads stuck in `stock` \(shop/stock\.py:\d+\)", first.words)
    assert re.search(r"; 4 in `ask_supplier` \(shop/stock\.py:\d+\)\.", first.words)
    # Largest first: those that wait; rarest first: who holds what they wait for.
    assert re.findall(r"^  > (\w+)", first.text, re.MULTILINE)[0] == "stock"
    assert re.findall(r"^  > (\w+)", rarest.text, re.MULTILINE)[0] == "ask_supplier"
    assert not_shown(page, first, rarest) == []


def test_cpu_at_100(fleet: Fleet, desk: Desk) -> None:
    page = scenario("CPU at 100 %")
    with contextlib.ExitStack() as faults:
        for host in fleet.hosts:
            faults.enter_context(services.reporting(host, reports=int(host.name == "web2")))
        profile, dump = map(desk.types, page.commands)
    assert (profile.code, dump.code) == (0, 0), profile.text + dump.text
    [share] = re.findall(r"^Hottest +([\d.]+) %  without_duplicates +shop/orders\.py", profile.text, re.MULTILINE)
    assert float(share) > 50
    assert re.search(r"1 of \d+ threads moving in `without_duplicates` \(shop/orders\.py:\d+\) on web2\b", dump.words)
    assert re.search(r"^GIL +held in `without_duplicates` .*: web2 pid \d+$", dump.text, re.MULTILINE)
    assert not_shown(page, profile, dump) == []


def test_one_host_is_slower(fleet: Fleet, desk: Desk) -> None:
    page = scenario("One host is slower than the others")
    with contextlib.ExitStack() as faults:
        for host in fleet.hosts:
            faults.enter_context(services.asking(host, "supplier" if host.name == "web3" else "rates"))
        dump, there, elsewhere = map(desk.types, page.commands)
    assert (dump.code, there.code, elsewhere.code) == (0, 0, 0), dump.text + there.text + elsewhere.text
    assert re.search(r"stuck in `fetch_rate` \(shop/rates\.py:\d+\) on web3[.;]", dump.words), dump.text
    [share] = re.findall(r"^Hottest +([\d.]+) %  fetch_rate", there.text, re.MULTILINE)
    assert float(share) > 50
    assert re.search(r"^Hottest +[\d.]+ %  SyncWorker\.wait", elsewhere.text, re.MULTILINE)
    assert set(there.hosts) == {"web3"} and set(elsewhere.hosts) == {"web1", "web2", "web4"}
    assert not_shown(page, dump, there, elsewhere) == []


def test_workers_die_at_startup(fleet: Fleet, desk: Desk) -> None:
    page = scenario("Workers die at startup")
    with contextlib.ExitStack() as faults:
        for host in fleet.hosts:
            faults.enter_context(services.dying(host))
        profile, dump = map(desk.types, page.commands)
    assert (profile.code, dump.code) == (0, 0), profile.text + dump.text
    assert re.search(r"^Hottest +[\d.]+ %  load_prices +shop/prices\.py:\d+$", profile.text, re.MULTILINE)
    # More workers than ever ran at once: those born in the window are in the picture, too.
    assert len(set(re.findall(r"process (\d+)", (profile.folder / "fleet.folded").read_text(encoding="utf-8")))) > 3
    # A worker that is caught while it shuts down has no stack any more: it counts where it was before.
    assert re.search(
        r"^\d+ of \d+ threads (stuck|moving) in `load_prices` \(shop/prices\.py:\d+\)", dump.text, re.MULTILINE
    )
    assert re.search(r"^Note: the target ended after \d+ of 20 dumps$", dumps(dump), re.MULTILINE)
    assert re.search(r"^    load_prices \(shop/prices\.py:\d+\)$", dumps(dump), re.MULTILINE)
    assert not_shown(page, profile, dump) == []


@pytest.mark.parametrize("title", WITHOUT_SYSTEMD)
def test_the_same_commands_from_a_checkout(fleet: Fleet, desk: Desk, title: str) -> None:
    """As the page says: ``playbooks/dump.yml`` in place of ``pyspy.fleet.dump``. Only the plans: nothing is kept."""
    for command in scenario(title).commands:
        typed = re.sub(r"pyspy\.fleet\.(\w+)", r"playbooks/\1.yml --check", command)
        run = desk.types(typed, CHECKOUT)
        assert run.code == 0 and "would be" in run.words, run.text
