# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the integration tests share.

Fleets of the lab, one per test file; container runtimes, one per session; this machine as a host without Ansible.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest
from ansible_collections.pyspy.fleet.tests.lab.containers.bare import Bare, Bubblewrap
from ansible_collections.pyspy.fleet.tests.lab.containers.containerd import Containerd
from ansible_collections.pyspy.fleet.tests.lab.containers.docker import Docker
from ansible_collections.pyspy.fleet.tests.lab.containers.lxc import Lxc
from ansible_collections.pyspy.fleet.tests.lab.containers.nspawn import Nspawn
from ansible_collections.pyspy.fleet.tests.lab.containers.podman import Podman
from ansible_collections.pyspy.fleet.tests.lab.host_program import STATE, Host
from ansible_collections.pyspy.fleet.tests.lab.hosts import Fleet
from ansible_collections.pyspy.fleet.tests.lab.nspawn import SystemdFleet


def pytest_configure(config: pytest.Config) -> None:
    if os.geteuid() != 0:
        pytest.exit("The integration tests lay hosts in namespaces: run them as root.", returncode=2)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """Six ssh hosts, as the tests before in the same file left them."""
    with Fleet(6) as hosts:
        yield hosts


@pytest.fixture(scope="module")
def systemd_fleet() -> Iterator[SystemdFleet]:
    """Two ssh hosts with a real systemd, as the tests before in the same file left them."""
    with SystemdFleet(2) as hosts:
        yield hosts


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    with Docker() as runtime:
        yield runtime


@pytest.fixture(scope="session")
def podman() -> Iterator[Podman]:
    with Podman() as runtime:
        yield runtime


@pytest.fixture(scope="session")
def rootless_podman() -> Iterator[Podman]:
    with Podman(rootless=True) as runtime:
        yield runtime


@pytest.fixture(scope="session")
def containerd() -> Iterator[Containerd]:
    with Containerd() as runtime:
        yield runtime


@pytest.fixture(scope="session")
def lxc() -> Iterator[Lxc]:
    with Lxc() as runtime:
        yield runtime


@pytest.fixture(scope="session")
def nspawn() -> Iterator[Nspawn]:
    with Nspawn() as runtime:
        yield runtime


@pytest.fixture(scope="session")
def bare() -> Iterator[Bare]:
    with Bare() as runtime:
        yield runtime


@pytest.fixture(scope="session")
def bubblewrap() -> Iterator[Bubblewrap]:
    with Bubblewrap() as runtime:
        yield runtime


@pytest.fixture(scope="module")
def directory() -> Iterator[str]:
    """A place for py-spy that only root can write to, as the host program insists."""
    path = tempfile.mkdtemp(dir="/srv", prefix="pyspy-test-")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def host(directory: str) -> Iterator[Host]:
    """This machine, on which nothing of ours is before and after."""
    here = Host(directory)
    assert not STATE.exists() and not here.processes(), "something of ours was here before"
    yield here
    here.ask("cleanup", {"force": True})
    here.wait_until_clean()
