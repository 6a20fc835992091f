# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ways to reach a host and to become its root, or not to: each profiles its target and leaves nothing behind.

Each host of the fleet is reached in another way, so that two runs try twelve.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest
from ansible_collections.pyspy.fleet.tests.lab.host_program import STATE, target
from ansible_collections.pyspy.fleet.tests.lab.hosts import Fleet
from ansible_collections.pyspy.fleet.tests.lab.runs import Outcome, changes, play, start_busy, traces
from ansible_collections.pyspy.fleet.tests.lab.tree import ADMIN_PASSWORD

#: Exists on the lab's hosts only, as does ADMIN_PASSWORD.
ROOT_PASSWORD = "lift-the-latch"
FILES = "ansible_pipelining=false"
SUDO = "ansible_become=true"
SU = f"ansible_become=true ansible_become_method=su ansible_become_password={ROOT_PASSWORD}"

ROOTS_BINARY = ("/usr/local/libexec", "/usr/local/libexec/pyspy-fleet", "/usr/local/libexec/pyspy-fleet/py-spy-0.4.3")
DEPLOYS_BINARY = tuple(
    f"/home/deploy/.local{below}"
    for below in ("", "/libexec", "/libexec/pyspy-fleet", "/libexec/pyspy-fleet/py-spy-0.4.3")
)


class Way(NamedTuple):
    """How a host is reached, and what the run is to leave there."""

    host: str
    settings: str
    binary: tuple[str, ...]
    #: Whose ``~/.ansible/tmp`` (Ansible's own folder for what it transfers) is there afterwards, and empty.
    transferred_by: str = ""


AS_ROOT = (
    Way("web1", "ansible_user=root", ROOTS_BINARY),
    Way("web2", f"ansible_user=root {FILES} ansible_ssh_transfer_method=scp", ROOTS_BINARY, "root"),
    Way("web3", f"ansible_user=deploy {SUDO} ansible_pipelining=true", ROOTS_BINARY),
    Way("web4", f"ansible_user=deploy {SUDO} {FILES} ansible_ssh_transfer_method=sftp", ROOTS_BINARY, "home/deploy"),
    Way("web5", f"ansible_user=admin {SUDO} ansible_become_password={ADMIN_PASSWORD}", ROOTS_BINARY),
    Way("web6", f"ansible_user=deploy {SU}", ROOTS_BINARY, "home/deploy"),
)
OTHERWISE = (
    Way("web1", "ansible_user=deploy", DEPLOYS_BINARY),
    Way("web2", f"ansible_user=deploy {FILES} ansible_ssh_transfer_method=piped", DEPLOYS_BINARY, "home/deploy"),
    Way("web3", f"ansible_user=deploy {SUDO}", (), "home/deploy"),  # by then sudo wants a terminal there
    Way("web4", f"ansible_user=admin {SUDO} ansible_become_password=wrong", ()),
    Way("web5", f"ansible_user=admin {SUDO}", ()),
    Way("web6", f"ansible_user=root {SUDO} ansible_become_user=deploy", DEPLOYS_BINARY),
)
REFUSED = {
    "web4": "Incorrect sudo password. Remedy: give the right password with -K (--ask-become-pass).",
    "web5": "Missing sudo password. Remedy: give the right password with -K (--ask-become-pass).",
}


class Story(NamedTuple):
    """The two runs, and what each left on the hosts."""

    as_root: Outcome
    left_as_root: dict[str, list[str]]
    otherwise: Outcome
    left_otherwise: dict[str, list[str]]


@pytest.fixture(scope="module")
def story(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Story:
    for host in fleet.hosts:
        start_busy(host, "deploy")
        host.run(f"echo 'root:{ROOT_PASSWORD}' | chpasswd")
    folders = [tmp_path_factory.mktemp("ways") for _way in range(2)]
    before = traces(fleet.hosts)
    as_root = by(AS_ROOT, fleet, folders[0])
    left_as_root = changes(fleet.hosts, before)
    (fleet.hosts[2].root / "etc/sudoers.d/tty").write_text("Defaults requiretty\n", encoding="utf-8")
    before = traces(fleet.hosts)
    otherwise = by(OTHERWISE, fleet, folders[1])
    return Story(as_root, left_as_root, otherwise, changes(fleet.hosts, before))


def by(ways: Iterable[Way], fleet: Fleet, folder: Path) -> Outcome:
    inventory = folder / "ways"
    inventory.write_text("".join(f"{way.host} {way.settings}\n" for way in ways), encoding="utf-8")
    return play(fleet, folder, "profile", "-i", str(inventory), "--forks", "6", pyspy_duration=1)


@pytest.mark.parametrize("way", AS_ROOT, ids=lambda way: way.settings)
def test_root_profiles_an_ordinary_users_process(story: Story, way: Way) -> None:
    assert_profiled(story.as_root, way)
    assert_left(story.left_as_root[way.host], way)


@pytest.mark.parametrize("way", [way for way in OTHERWISE if way.host not in REFUSED], ids=lambda way: way.settings)
def test_an_ordinary_user_profiles_their_own_process(story: Story, way: Way) -> None:
    """And root does on web3, although sudo there wants a terminal."""
    assert_profiled(story.otherwise, way)
    assert_left(story.left_otherwise[way.host], way)


def assert_profiled(run: Outcome, way: Way) -> None:
    record = run.hosts[way.host]
    assert record["error"] is None
    [capture] = record["captures"]
    assert capture["outcome"] == "profiled" and capture["process"]["user"] == "deploy"
    assert "burn" in (run.folder / "hosts" / way.host / capture["file"]).read_text(encoding="utf-8")


def assert_left(left: list[str], way: Way) -> None:
    ansibles = [f"/{way.transferred_by}/.ansible{below}" for below in ("", "/tmp")] if way.transferred_by else []
    assert left == sorted([*ansibles, *way.binary])


@pytest.mark.parametrize("host", REFUSED)
def test_a_wrong_or_missing_password_is_one_line_with_a_remedy(story: Story, host: str) -> None:
    assert f"{host}: Becoming another user failed: {REFUSED[host]}" in story.otherwise.words
    assert story.otherwise.recap(host)["failed"] == 1
    assert story.otherwise.code == 2
    assert story.left_otherwise[host] == []


def test_this_machine_without_ssh(fleet: Fleet, tmp_path: Path) -> None:
    """Connection ``local``; py-spy is kept where only root can write, as the host program insists."""
    directory = tempfile.mkdtemp(dir="/srv", prefix="pyspy-test-")
    os.chmod(directory, 0o755)
    try:
        with target() as busy:
            local = ("-i", "localhost,", "-l", "localhost", "-c", "local")
            settings = {"pyspy_pids": busy.pid, "pyspy_duration": 1, "pyspy_install_dir": directory}
            done = play(fleet, tmp_path, "profile", *local, **settings)
            assert done.code == 0, done.text
            record = done.hosts["localhost"]
            assert [capture["outcome"] for capture in record["captures"]] == ["profiled"]
            assert os.listdir(directory) == ["py-spy-0.4.3"]
            assert not (STATE / record["recording"]).exists()
    finally:
        shutil.rmtree(directory)
