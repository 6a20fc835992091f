# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of pinned releases."""

from __future__ import annotations

import hashlib
import os
import re
import sys

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._arguments import INSTALL_ARGUMENTS
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._releases import NEWEST, RELEASES, architecture, known


def test_every_release_has_every_architecture_and_no_checksum_stands_twice() -> None:
    builds = [build for release in RELEASES.values() for build in release.builds.values()]
    for release in RELEASES.values():
        assert sorted(release.builds) == ["aarch64", "armv7l", "i686", "x86_64"]
        assert release.checksums()["i686"] == release.builds["i686"].binary
    checksums = [checksum for build in builds for checksum in (build.wheel, build.binary)]
    assert all(re.fullmatch("[0-9a-f]{64}", checksum) for checksum in checksums)
    assert len(set(checksums)) == len(checksums) == 32
    assert all(5_000_000 < build.size < 9_000_000 for build in builds)


def test_the_newest_is_the_default_everywhere() -> None:
    assert known() is RELEASES[NEWEST]
    assert max(RELEASES, key=lambda version: tuple(map(int, version.split(".")))) == NEWEST
    assert INSTALL_ARGUMENTS["version"]["default"] == NEWEST


def test_the_table_agrees_with_an_installed_py_spy() -> None:
    installed = os.path.join(os.path.dirname(sys.executable), "py-spy")
    if not os.path.exists(installed):
        pytest.skip("py-spy is not installed beside this Python")
    with open(installed, "rb") as handle:
        data = handle.read()
    assert (hashlib.sha256(data).hexdigest(), len(data)) in [
        (build.binary, build.size) for release in RELEASES.values() for build in release.builds.values()
    ]


@pytest.mark.parametrize("version", ["0.3.14", "0.3", "0.1.11", "0.0.0"])
def test_old_versions_are_refused_and_why_is_said(version: str) -> None:
    with pytest.raises(FleetError) as caught:
        known(version)
    assert "leave their target stopped" in caught.value.detail
    assert NEWEST in caught.value.remedy


@pytest.mark.parametrize(
    "version", ["0.4.99", "1.0", "latest", "", "0.4.3.0", "../0.4.3", "0.4.3\n", "9" * 5000, "٠.٤"]
)
def test_unknown_versions_are_refused_and_the_known_ones_listed(version: str) -> None:
    with pytest.raises(FleetError) as caught:
        known(version)
    assert "no pinned" in caught.value.reason
    assert "0.4.3, 0.4.2, 0.4.1, 0.4.0" in caught.value.remedy


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("x86_64", "x86_64"),
        ("amd64", "x86_64"),
        ("AMD64\n", "x86_64"),
        ("aarch64", "aarch64"),
        ("arm64", "aarch64"),
        ("armv7l", "armv7l"),
        ("armv8l", "armv7l"),
        ("i386", "i686"),
        ("i686", "i686"),
    ],
)
def test_machines(machine: str, expected: str) -> None:
    assert architecture(machine) == expected
    assert expected in known().builds


@pytest.mark.parametrize("machine", ["ppc64le", "s390x", "riscv64", "armv6l", "aarch64_be", "", "x86_64; rm"])
def test_other_machines_have_no_build(machine: str) -> None:
    with pytest.raises(FleetError) as caught:
        architecture(machine)
    assert repr(machine) in caught.value.reason
    assert "pyspy_install_executable" in caught.value.remedy
