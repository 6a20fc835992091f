# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "runtimes": what is on disk of a container, and whose files count."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils import _runtimes
from ansible_collections.pyspy.fleet.plugins.module_utils._clues import CRIO, DOCKER, PODMAN, Clue
from ansible_collections.pyspy.fleet.plugins.module_utils._runtimes import Known, Runtimes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can write what counts as root's")

ID = "4f1a0be4c2a9d81e" * 4
SOMEBODY = 64000


@pytest.fixture
def ground(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory whose every component is root's (/tmp is everybody's), and no state of this machine."""
    folder = Path(tempfile.mkdtemp(prefix="pyspy-fleet-test-", dir="/var/lib"))
    folder.chmod(0o755)
    for name in ("_DOCKER_ROOTS", "_DOCKER_CONFIGS", "_CRIO_STORES"):
        monkeypatch.setattr(_runtimes, name, ())
    monkeypatch.setattr(_runtimes, "_PODMAN_STORE", f"{folder}/none")
    monkeypatch.setattr(_runtimes, "_CONTAINERD_TASKS", f"{folder}/none")
    yield folder
    shutil.rmtree(folder)


def put(path: Path, data: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def docker(root: Path, **labels: str) -> Path:
    state = {"Name": "/api", "Config": {"Image": "shop:1", "Labels": labels or None, "Env": ["SECRET=1"]}}
    return put(root / "containers" / ID / "config.v2.json", state)


def of_daemon(*words: str) -> Runtimes:
    return Runtimes([("/usr/bin/dockerd", *words)])


def test_dockers_data_root(ground: Path) -> None:
    docker(ground / "data")
    settings = put(ground / "daemon.json", {"data-root": f"{ground}/data"})
    link = ground / "link"
    link.symlink_to(ground / "data")
    docker(ground / "users/165536.165536")
    for words in (
        ("--data-root", f"{ground}/data"),
        (f"--data-root={link}/",),
        ("-g", f"{ground}/data"),
        ("--config-file", str(settings)),
        (f"--data-root={ground}/users",),
    ):
        assert of_daemon(*words).known(Clue(DOCKER, ID), 0) == Known(DOCKER, "api", "shop:1"), words
        assert of_daemon(*words).known(Clue("", ID), 0).name == "api"
        assert of_daemon(*words).known(Clue(DOCKER, "0" * 64), 0) == Known()
        assert of_daemon(*words).known(Clue(DOCKER, "../" + ID), 0) == Known()


def test_dockers_labels_of_a_pod(ground: Path) -> None:
    pod = {
        "io.kubernetes.container.name": "app",
        "io.kubernetes.pod.name": "web-7d",
        "io.kubernetes.pod.namespace": "shop",
    }
    docker(ground / "data", **pod)
    found = of_daemon(f"--data-root={ground}/data").known(Clue(DOCKER, ID), 0)
    assert found == Known(DOCKER, "app", "shop:1", "web-7d", "shop")


def test_podmans_store(ground: Path) -> None:
    rows = [
        {"id": "0" * 64, "names": ["other"]},
        {"id": ID, "names": ["web"], "metadata": json.dumps({"image-name": "shop:2", "name": "web"})},
    ]
    put(ground / "overlay-containers/containers.json", rows)
    clue = Clue(PODMAN, ID, bundle=f"{ground}/overlay-containers/{ID}/userdata")
    assert Runtimes().known(clue, 0) == Known(PODMAN, "web", "shop:2")
    assert Runtimes().known(clue._replace(bundle=""), 0) == Known()


@pytest.mark.parametrize("metadata", [None, "", "{", "[]", 7, "[" * 100_000])
def test_podmans_store_with_odd_metadata(ground: Path, metadata: object) -> None:
    put(ground / "overlay-containers/containers.json", [7, {"id": ID, "names": ["web"], "metadata": metadata}])
    clue = Clue(PODMAN, ID, bundle=f"{ground}/overlay-containers/{ID}/userdata")
    assert Runtimes().known(clue, 0) == Known(PODMAN, "web", "")


def test_crios_annotations(ground: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its sources have them: there was none to try."""
    monkeypatch.setattr(_runtimes, "_CRIO_STORES", (f"{ground}/store",))
    notes = {
        "io.kubernetes.container.name": "app",
        "io.kubernetes.pod.name": "web-7d",
        "io.kubernetes.pod.namespace": "shop",
        "io.kubernetes.cri-o.ImageName": "shop:3",
    }
    put(ground / "store" / ID / "userdata/config.json", {"annotations": notes})
    assert Runtimes().known(Clue(CRIO, ID), 0) == Known(CRIO, "app", "shop:3", "web-7d", "shop")


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "7", '{"Config": 7, "Name": []}', "[" * 100_000, "\udcff"])
def test_state_that_is_none(ground: Path, text: str) -> None:
    path = docker(ground / "data")
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    found = of_daemon(f"--data-root={ground}/data").known(Clue(DOCKER, ID), 0)
    assert (found.name, found.image) == ("", "")


def test_only_what_root_alone_can_write_counts(ground: Path) -> None:
    path = docker(ground / "data")

    def name() -> str:
        return of_daemon(f"--data-root={ground}/data").known(Clue(DOCKER, ID), 0).name

    for one in (path, path.parent, ground / "data"):
        for owner, mode in ((SOMEBODY, 0o755), (0, 0o775), (0, 0o757)):
            assert name() == "api"
            os.chown(one, owner, 0)
            one.chmod(mode)
            assert name() == "", one
            os.chown(one, 0, 0)
            one.chmod(0o755)
    path.unlink()
    os.mkfifo(path)
    assert name() == "", "a pipe holds nobody up"


def test_a_users_own_is_read_as_that_user(ground: Path) -> None:
    rows = [{"id": ID, "names": ["web"]}]
    path = put(ground / "home/overlay-containers/containers.json", rows)
    clue = Clue(PODMAN, ID, "web", "a process of its user", SOMEBODY, f"{ground}/home/overlay-containers/{ID}/userdata")
    path.chmod(0o600)
    assert Runtimes().known(clue, SOMEBODY) == Known(), "root's own secrets are not read for anybody"
    os.chown(path, SOMEBODY, SOMEBODY)
    assert Runtimes().known(clue, SOMEBODY) == Known(PODMAN, "web")
    path.unlink()
    os.mkfifo(path)
    os.chown(path, SOMEBODY, SOMEBODY)
    assert Runtimes().known(clue, SOMEBODY) == Known()


def test_a_file_system_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child that reads is given up, and so is what a slow one has said so far."""
    monkeypatch.setattr(_runtimes, "_read_file", lambda _path: time.sleep(1000))
    monkeypatch.setattr(_runtimes, "_PATIENCE", 0.05)
    assert _runtimes._read_as(SOMEBODY, "/etc/passwd") == b""
