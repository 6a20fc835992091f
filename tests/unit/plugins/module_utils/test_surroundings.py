# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of what tells a container's runtime from inside."""

from __future__ import annotations

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._surroundings import named

PODMAN, DOCKER = "/run/.containerenv", "/.dockerenv"
CLUSTER = {"KUBERNETES_SERVICE_HOST": "192.0.2.1"}


@pytest.mark.parametrize(
    ("init", "ours", "files", "name"),
    [
        ({}, {}, set(), ""),
        ({}, {}, {DOCKER}, "docker"),
        ({}, {}, {PODMAN}, "podman"),
        ({"container": "podman"}, {}, set(), "podman"),
        ({}, {"container": "lxc"}, set(), "lxc"),
        ({"container": "systemd-nspawn"}, {}, {DOCKER}, "nspawn"),
        ({"container": "something new"}, {}, {DOCKER}, "docker"),
        (CLUSTER, {}, {DOCKER}, "kubernetes"),
        ({"container": "podman"}, CLUSTER, set(), "kubernetes"),
    ],
)
def test_what_made_the_container(init: dict[str, str], ours: dict[str, str], files: set[str], name: str) -> None:
    assert named((init, ours), frozenset(files)) == name
