# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "clues": what cgroups and parents say of a container, and whose word that is."""

from __future__ import annotations

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._clues import Clue, Parent, by_cgroups, by_parent
from hypothesis import given
from hypothesis import strategies as st

ID = "4f1a0be4c2a9d81e" * 4
OTHER = "0" * 64


@pytest.mark.parametrize(
    ("path", "runtime", "identity", "claim"),
    [
        ("/docker/" + ID, "docker", ID, ""),
        (f"/system.slice/docker-{ID}.scope", "docker", ID, ""),
        (f"/system.slice/docker-{ID}.scope/docker-{OTHER}.scope", "docker", ID, ""),  # a container names one within
        (f"/docker/{ID}/docker/{OTHER}", "docker", ID, ""),
        (f"/libpod_parent/libpod-{ID}", "podman", ID, ""),
        (f"/machine.slice/libpod-{ID}.scope/container", "podman", ID, ""),
        (f"/machine.slice/libpod-conmon-{ID}.scope", None, "", ""),  # what watches it is not in it
        (f"/kubepods/burstable/pod1-2/{ID}", "", ID, ""),
        (
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-{ID}.scope",
            "containerd",
            ID,
            "",
        ),
        (f"/kubepods.slice/kubepods-pod1_2.slice/crio-{ID}.scope", "cri-o", ID, ""),
        ("/lxc.payload.db", "lxc", "db", ""),
        ("/lxc.monitor.db", None, "", ""),
        ("/lxc/db/init.scope", "lxc", "db", ""),
        ("/machine.slice/machine-my\\x2ddb.scope/payload", "nspawn", "my-db", ""),
        ("/machine.slice/machine-my\\x2ddb.scope/supervisor", None, "", ""),
        ("/system.slice/systemd-nspawn@db.service/payload/init.scope", "nspawn", "db", ""),
        ("/payload", None, "", ""),
        ("/", None, "", ""),
        ("/default/api", None, "", ""),
        ("/system.slice/docker.service", None, "", ""),
        (
            f"/user.slice/user-7.slice/user@7.service/user.slice/libpod-{ID}.scope/container",
            "podman",
            ID,
            "user@7.service",
        ),
        (f"/user.slice/user-7.slice/session-1.scope/docker-{ID}.scope", "docker", ID, "session-1.scope"),
        (f"/system.slice/shop.service/docker-{ID}.scope", "docker", ID, "shop.service"),
        (f"/system.slice/docker-{ID[:63]}.scope", None, "", ""),
        (f"/system.slice/xdocker-{ID}.scope", None, "", ""),
    ],
)
def test_cgroups(path: str, runtime: str | None, identity: str, claim: str) -> None:
    found = by_cgroups(("/", path))
    if runtime is None:
        assert found is None
    else:
        assert found is not None
        assert (found.runtime, found.id, found.claim) == (runtime, identity, claim)
        assert found.uid == (7 if claim.startswith("user@") else 0)


def parent(*argv: str, exe: str | None = "", uid: int = 0, cwd: str | None = None) -> Parent:
    return Parent(uid, argv, exe if exe != "" else argv[0], cwd)


CONMON = ("/usr/bin/conmon", "--api-version", "1", "-c", ID, "-u", ID, "-b", "/store/x/userdata", "-n", "api")
SHIM = ("/usr/bin/containerd-shim-runc-v2", "-namespace", "moby", "-id", ID, "-address", "/run/containerd.sock")
CTR = ("/usr/bin/containerd-shim-runc-v2", "-namespace", "default", "-id", "api")


@pytest.mark.parametrize(
    ("watcher", "expected"),
    [
        (parent(*CONMON), Clue("podman", ID, "api", bundle="/store/x/userdata")),
        (parent(*CONMON, exe="/usr/bin/conmon (deleted)"), Clue("podman", ID, "api", bundle="/store/x/userdata")),
        (
            parent(*CONMON, uid=7),
            Clue("podman", ID, "api", "a process of its user", 7, "/store/x/userdata"),
        ),
        (
            parent(*CONMON, exe=None),
            Clue("podman", ID, "api", "the command line of a process of root", 0, "/store/x/userdata"),
        ),
        (parent(*CONMON, exe="/home/eve/sh"), None),  # arguments are anybody's
        (parent("conmon", "-c", "short", "-n", "api"), None),
        (parent(*SHIM), Clue("docker", ID)),
        (parent(*SHIM, cwd=f"/tasks/moby/{ID}"), Clue("docker", ID, bundle=f"/tasks/moby/{ID}")),
        (parent(*CTR, cwd="/tasks/default/api"), Clue("containerd", "api", "api", bundle="/tasks/default/api")),
        (parent(*CTR, cwd="/"), Clue("containerd", "api", "api")),
        (parent("[lxc monitor] /var/lib/lxc db", exe="/usr/bin/lxc-start"), Clue("lxc", "db", "db")),
        (parent("lxc-start", "-F", "-n", "db"), Clue("lxc", "db", "db")),
        (parent("systemd-nspawn", "--boot", "-M", "db", "-D", "/x"), Clue("nspawn", "db", "db")),
        (parent("systemd-nspawn", "-Mdb"), Clue("nspawn", "db", "db")),
        (parent("systemd-nspawn", "--machine=db"), Clue("nspawn", "db", "db")),
        (parent("systemd-nspawn", "-D", "/machines/db/"), Clue("nspawn", "db", "db")),
        (parent("systemd-nspawn", "--image=/machines/db.raw"), Clue("nspawn", "db", "db")),
        (parent("systemd-nspawn", "--boot"), None),
        (parent("/usr/bin/python3", "-c", ID), None),
        (parent(exe="/usr/bin/conmon"), None),
    ],
)
def test_parents(watcher: Parent, expected: Clue | None) -> None:
    assert by_parent(watcher) == expected


@given(
    st.lists(st.text(max_size=80), max_size=12),
    st.sampled_from(["conmon", "containerd-shim", "lxc-start", "systemd-nspawn"]),
)
def test_any_command_line(argv: list[str], program: str) -> None:
    found = by_parent(Parent(1000, tuple(argv), "/usr/bin/" + program, None))
    assert found is None or (found.claim and found.uid == 1000)


@given(st.lists(st.text(max_size=200), max_size=4))
def test_any_path(paths: list[str]) -> None:
    found = by_cgroups(paths)
    assert found is None or found.id
