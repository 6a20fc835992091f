# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the sides of a comparison, and of what is said of it, on runs' folders."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._changes import limit
from ansible_collections.pyspy.fleet.plugins.plugin_utils._diff import Diff, diff, lines, text, verdict
from ansible_collections.pyspy.fleet.plugins.plugin_utils._diff_files import file_of, write
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run, open_run, process_key
from ansible_collections.pyspy.fleet.plugins.plugin_utils._sides import Where, sides
from ansible_collections.pyspy.fleet.tests.lab.made_run import made_run, made_service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Five hosts, of which web-03 is also in the group canary, and spends 40 % elsewhere."""
    return made_service(tmp_path_factory.mktemp("runs"))


def variable(host: str, name: str) -> str | None:
    return {"web-01": "eu", "web-02": "eu", "web-03": "us"}.get(host) if name == "zone" else None


def compared(run: Run, a: str, b: str) -> Diff:
    return diff(*sides((a, b), Where(os.path.dirname(run.path), variable=variable)))


@pytest.mark.parametrize(
    ("a", "b", "workers"),
    [
        ("web", "canary", (8, 2)),
        ("canary", "web", (2, 8)),
        ("latest", "canary", (8, 2)),
        ("group=web", "host=web-03", (8, 2)),
        ("zone=eu", "zone=us", (4, 2)),
        ("python=3.11", "host=web-01", (8, 2)),
    ],
)
def test_sides_by_name(service: Run, a: str, b: str, workers: tuple[int, int]) -> None:
    found = compared(service, a, b)
    assert (found.a.workers, found.b.workers) == workers
    assert (found.a.hosts, found.b.hosts) == (workers[0] // 2, workers[1] // 2)


def test_what_the_play_called_them_are_sides(tmp_path: Path) -> None:
    run = made_service(tmp_path)
    for number, record in enumerate(run.hosts()):
        run.write_host(replace(record, labels=(("version", f"2.{number % 2}"), ("zone", "eu"))))
    found = compared(run, "version=2.0", "version=2.1")
    assert [(side.hosts, side.workers) for side in (found.a, found.b)] == [(3, 6), (2, 4)]
    # The recording's word counts before the inventory's, which may have changed since.
    assert compared(run, "zone=eu", "host=web-03").a.hosts == 4
    assert compared(run, "service=web", "host=web-03").a.hosts == 4
    labels = {label for target in found.b.targets for label in target.labels}
    assert ("version", "2.1") in labels and ("zone", "eu") in labels


def test_services_of_systemd_are_sides(service: Run) -> None:
    found = compared(service, "unit=web@0", "unit=web@1.service")
    assert [(side.hosts, side.workers) for side in (found.a, found.b)] == [(5, 5), (5, 5)]


def test_two_runs_by_name_and_by_path(service: Run, tmp_path: Path) -> None:
    other = made_service(tmp_path)
    found = compared(service, service.name, other.path)
    assert (found.a.workers, found.b.workers, found.clear) == (10, 10, [])
    # A worker of the same name in another run is another one.
    assert "left out" not in " ".join(found.notes)


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ("", "web", "A comparison has two sides"),
        ("nobody", "web", "There is no run and no inventory group 'nobody'"),
        ("web", "web", "Both sides are the same workers"),
        ("latest", "group=web", "Both sides are the same workers"),
        ("web", "zone=asia", "Nothing was recorded of 'zone=asia'"),
        ("web", "no_such_variable=1", "Nothing was recorded"),
    ],
)
def test_sides_that_cannot_be(service: Run, a: str, b: str, says: str) -> None:
    with pytest.raises(FleetError, match=says) as error:
        compared(service, a, b)
    assert error.value.remedy


def test_a_run_named_as_a_group_is_asked_back(service: Run) -> None:
    clash = Path(service.path).parent / "web"
    clash.symlink_to(service.path)
    try:
        with pytest.raises(FleetError, match="'web' is a run and an inventory group"):
            compared(service, "web", "canary")
        assert compared(service, "group=web", "canary").a.workers == 8
    finally:
        clash.unlink()


def test_different_measures_are_not_compared(service: Run, tmp_path: Path) -> None:
    other = made_run(tmp_path, 2, 2)
    for file in Path(other.path).glob("hosts/*/recording.json"):
        file.write_text(
            file.read_text().replace('"kind": "cpu"', '"kind": "gil"').replace('"kind":"cpu"', '"kind":"gil"')
        )
    with pytest.raises(FleetError, match="Profiles of different measures are not compared") as error:
        compared(service, "latest", other.path)
    assert "time holding the GIL" in error.value.detail


def test_workers_of_another_measure_are_left_out_in_so_many_words(tmp_path: Path) -> None:
    """Side a has both measures, side b one of them: what is left out of a was not said."""
    run = made_service(tmp_path)
    for name in ("web-01", "web-02"):
        record = Path(run.path, "hosts", name, "recording.json")
        record.write_text(record.read_text().replace('"kind": "cpu"', '"kind": "gil"'))
    found = compared(run, "web", "canary")
    assert (found.kind, found.a.workers, found.b.workers) == ("cpu", 4, 2)
    assert "compared by CPU time (not idle) alone; 4 of 8 workers of web left out, measured otherwise" in found.notes


def test_latest_is_the_run_of_this_process_whoever_began_another_since(tmp_path: Path) -> None:
    """A gate that records and compares must judge what it recorded."""
    own = open_run(str(tmp_path), "profile", "web", process_key())
    Path(own.path, "manifest.json").touch()
    other = made_service(tmp_path)
    assert (tmp_path / "latest").resolve() == Path(other.path) != Path(own.path)
    assert Where(str(tmp_path)).required().path == own.path
    assert Where(str(tmp_path)).run("latest") == own


@pytest.mark.parametrize("points", [float("nan"), float("inf"), -1.0, 100.0])
def test_a_limit_that_nothing_is_above_is_refused(points: float) -> None:
    with pytest.raises(FleetError, match="not a number of percentage points") as error:
        limit(points)
    assert error.value.remedy
    assert [limit(fine) for fine in (None, 0.0, 5.0)] == [None, 0.0, 5.0]


def test_the_first_screen(service: Run) -> None:
    found = compared(service, "web", "canary")
    shown = lines(found, file_of(found), 80)
    body = " ".join(" ".join(shown).split())
    assert max(map(len, shown)) <= 80
    assert "Before web: 8 workers on 4 hosts, 8000 samples; CPU time (not idle), 50 Hz, nonblocking" in body
    assert "Clear +40.0 ± 0.2 points in slow (shop/rates.py): own 0.0 → 40.0 %, total 0.0 → 40.0 %" in body
    assert (
        "2 workers of canary left out of web" in body
        and "judged by how 8 and 2 workers differ among each other, and the hosts of each side (4 and 1)" in body
    )


def test_too_few_are_no_verdict(service: Run) -> None:
    found = compared(service, "host=web-01", "host=web-03")
    body = " ".join(" ".join(lines(found, file_of(found), 80)).split())
    assert "2 and 2 workers are too few to tell a change from noise" in body and "Clear no verdict" in body
    assert "Largest +40.0 points in slow" in body
    assert verdict(found, 0.0) is None


@pytest.mark.parametrize(("above", "fails"), [(None, False), (5.0, True), (39.9, True), (40.1, False)])
def test_the_gate(service: Run, above: float | None, fails: bool) -> None:
    wrong = verdict(compared(service, "web", "canary"), above)
    assert (wrong is not None) is fails
    if wrong is not None:
        assert "slow" in wrong.reason and "+40.0 ± 0.2 points" in wrong.detail and wrong.remedy


def test_what_got_less_never_fails(service: Run) -> None:
    # From canary to web `slow` goes, and others grow in its place.
    found = compared(service, "canary", "web")
    assert {change.name for change in found.above(5.0)} == {"render", "query"}


def test_the_files(service: Run) -> None:
    found = compared(service, "web", "canary")
    write(found, 5.0)
    content = json.loads(Path(file_of(found)).with_suffix(".json").read_text())
    assert (content["clear"], content["above"], content["enough"]) == (4, ["slow"], True)
    first = content["functions"][0]
    assert (first["name"], first["own"]["verdict"], first["own"]["after"]) == ("slow", "clear", pytest.approx(0.4))
    assert Path(file_of(found)).with_suffix(".md").read_text() == text(found)
    assert "| `slow` | `shop/rates.py` | 0.0 → 40.0 % |" in text(found)


def test_the_page_and_the_graphs(service: Run) -> None:
    found = compared(service, "web", "canary")
    write(found, None)
    page = Path(file_of(found)).read_text()
    assert page.count("<svg xmlns=") == 2 and "<script" not in page
    assert "2 workers of canary left out of web" in page and "Clear</dt><dd>+40.0 ± 0.2 points in slow" in page
    after, before = (Path(service.path, f"diff-web-canary{end}").read_text() for end in (".svg", "-baseline.svg"))
    # What is new has a width in the second picture alone, and is said to be new.
    assert ">+40.0 slow<" in after and "in canary alone" in after and "slow" not in before.partition("<script>")[0]
    assert "everywhere: own +40.0 ± 0.2 points, total +40.0 ± 0.2 points: clear" in after
    for name in files_of_links(page):
        assert Path(service.path, name).is_file()


def files_of_links(page: str) -> list[str]:
    found = re.findall(r'href="\./([^"]+)"', page)
    assert len(found) == 4
    return found
