# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection as its users have it: built, installed by ansible-galaxy, run from anywhere without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.tests.checks.copy_of_tree import refresh
from ansible_collections.pyspy.fleet.tests.lab.hosts import CHECKOUT, Fleet
from ansible_collections.pyspy.fleet.tests.lab.runs import outcome

#: Neither the checkout nor the settings of whoever runs the tests.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHONPATH"))}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ansible-galaxy installed what git would commit of the checkout."""
    folder = tmp_path_factory.mktemp("galaxy")
    galaxy("build", str(refresh("installed")), "--output-path", str(folder), cwd=folder)
    [archive] = folder.glob("pyspy-fleet-*.tar.gz")
    galaxy("install", str(archive), "-p", str(folder / "collections"), "--offline", cwd=folder)
    return folder / "collections"


def galaxy(*words: str, cwd: Path) -> None:
    command = (str(Path(sys.executable).with_name("ansible-galaxy")), "collection", *words)
    subprocess.run(command, check=True, capture_output=True, cwd=cwd, env=ENVIRONMENT)


def test_it_runs_from_anywhere_without_the_checkout(fleet: Fleet, installed: Path, tmp_path: Path) -> None:
    fleet.hosts[0].start_gunicorn()
    command = (str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(fleet.inventory), "-l", "web1")
    environment = {
        **ENVIRONMENT,
        "ANSIBLE_COLLECTIONS_PATH": str(installed),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
    }
    done = subprocess.run(
        (*command, "pyspy.fleet.profile", "-e", "pyspy_duration=1"),
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    run = outcome(done, tmp_path / "pyspy-runs")
    assert run.code == 0, run.text
    assert str(CHECKOUT) not in run.text
    assert run.hosts["web1"]["status"] == "collected"
    assert run.folder.name.endswith("-profile-web1")
    assert run.manifest["versions"]["pyspy.fleet"] == "0.1.0"
