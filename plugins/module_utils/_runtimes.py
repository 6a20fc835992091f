# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "runtimes" of the host wing (private to the collection): what container runtimes keep of a container on disk.

No client is run and no daemon asked, for those can hang, and are not there for every runtime. Only state counts that
nobody but root can have written: each directory on its way belongs to root and is writable by root alone. The state
of a user's own containers is the user's word, and is read as that user, for a home directory may hang.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import select
import signal
import stat
import time
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from ._clues import CONTAINERD, CRIO, DOCKER, PODMAN, Clue

#: More of one file is never read (bytes): Podman lists all containers of the host in one.
_LIMIT = 8 << 20
#: So long a user's home may take to answer (seconds).
_PATIENCE = 0.5
#: The kernel's "overflow" group, which has no files; a user's own need no group.
_NOBODY = 65534
#: Where Docker keeps its state unless it is told otherwise; the second is that of Ubuntu's snap.
_DOCKER_ROOTS = ("/var/lib/docker", "/var/snap/docker/common/var-lib-docker")
_DOCKER_CONFIGS = ("/etc/docker/daemon.json", "/var/snap/docker/current/config/daemon.json")
_PODMAN_STORE = "/var/lib/containers/storage/overlay-containers"
_CRIO_STORES = ("/run/containers/storage/overlay-containers", "/var/run/containers/storage/overlay-containers")
_CONTAINERD_TASKS = "/run/containerd/io.containerd.runtime.v2.task"


class Known(NamedTuple):
    """What is on disk of a container; "" where nothing is. ``name`` is that in its pod where there is one."""

    runtime: str = ""
    name: str = ""
    image: str = ""
    pod: str = ""
    namespace: str = ""


class Runtimes:
    """What this host's runtimes keep; each file is read once. ``daemons`` are the command lines of root's dockerd."""

    def __init__(self, daemons: Iterable[Tuple[str, ...]] = ()) -> None:
        self._daemons = tuple(daemons)
        self._files: Dict[Tuple[str, int], object] = {}
        self._docker_roots: Optional[List[str]] = None

    def known(self, clue: Clue, owner: int) -> Known:
        """What is kept of a container that belongs to ``owner``: 0, or the user of a runtime without root."""
        if not re.match(r"[0-9a-f]{64}\Z", clue.id) and not clue.bundle:
            return Known()
        if clue.runtime in ("", DOCKER):
            found = self._docker(clue, owner)
            if found is not None or clue.runtime == DOCKER:
                return found or Known()
        if clue.runtime in ("", PODMAN):
            found = self._podman(clue, owner)
            if found is not None or clue.runtime == PODMAN:
                return found or Known()
        return self._annotated(clue, owner) or Known()

    def _docker(self, clue: Clue, owner: int) -> Optional[Known]:
        home = _home(owner)
        roots = self._roots() if owner == 0 else [home + "/.local/share/docker"] if home else []
        for root in roots:
            data = self._object("%s/containers/%s/config.v2.json" % (root, clue.id), owner)
            if data is not None:
                config = _mapping(data.get("Config"))
                labels = _mapping(config.get("Labels"))
                name = _text(labels, "io.kubernetes.container.name") or _text(data, "Name").lstrip("/")
                return Known(DOCKER, name, _text(config, "Image"), *_pod(labels))
        return None

    def _roots(self) -> List[str]:
        """Docker's directories of state: of the daemons that run, of their configuration, and the usual ones."""
        if self._docker_roots is None:
            configs = [_argument(argv, "--config-file") for argv in self._daemons]
            found = [_argument(argv, "--data-root") or _argument(argv, "-g") for argv in self._daemons]
            for path in filter(None, configs + list(_DOCKER_CONFIGS)):
                found.append(_text(self._object(path, 0) or {}, "data-root"))
            roots = list(dict.fromkeys([root for root in found if root.startswith("/")] + list(_DOCKER_ROOTS)))
            self._docker_roots = [below for root in roots for below in [root] + _remapped(root)]
        return self._docker_roots

    def _podman(self, clue: Clue, owner: int) -> Optional[Known]:
        # …/storage/overlay-containers/ID/userdata
        stores = [os.path.dirname(os.path.dirname(clue.bundle))] if clue.bundle else []
        home = _home(owner)
        if owner == 0:
            stores.append(_PODMAN_STORE)
        elif home:
            stores.append(home + "/.local/share/containers/storage/overlay-containers")
        for store in stores:
            for name in ("containers.json", "volatile-containers.json"):
                rows = self._read("%s/%s" % (store, name), owner)
                for row in rows if isinstance(rows, list) else ():
                    if isinstance(row, dict) and row.get("id") == clue.id:
                        return _stored(row)
        return None

    def _annotated(self, clue: Clue, owner: int) -> Optional[Known]:
        """An OCI bundle's ``config.json``: a bundle of the same pod lies beside that of its sandbox."""
        bundles = [os.path.join(os.path.dirname(clue.bundle), clue.id)] if clue.runtime != CRIO and clue.bundle else []
        if owner == 0:
            bundles += ["%s/%s/userdata" % (store, clue.id) for store in _CRIO_STORES]
            bundles += ["%s/%s/%s" % (_CONTAINERD_TASKS, space, clue.id) for space in ("k8s.io", "default")]
        for bundle in bundles:
            data = self._object(bundle + "/config.json", owner)
            if data is not None:
                notes = _mapping(data.get("annotations"))
                crio = any(key.startswith("io.kubernetes.cri-o.") for key in notes)
                return Known(CRIO if crio else CONTAINERD, _first(notes, _NAMES), _first(notes, _IMAGES), *_pod(notes))
        return None

    def _object(self, path: str, owner: int) -> Optional[Mapping[str, object]]:
        data = self._read(path, owner)
        return data if isinstance(data, dict) else None

    def _read(self, path: str, owner: int) -> object:
        if (path, owner) not in self._files:
            data = _read_of_root(path) if owner == 0 else _read_as(owner, path)
            try:
                self._files[path, owner] = json.loads(data) if data else None
            except (ValueError, RecursionError):
                self._files[path, owner] = None  # half written, or not what we take it for
        return self._files[path, owner]


#: Annotations of the CRI plugin of containerd, and of CRI-O: the container's name in its pod, and its image.
_NAMES = ("io.kubernetes.cri.container-name", "io.kubernetes.container.name")
_IMAGES = ("io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName", "io.kubernetes.cri-o.Image")
_PODS = ("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name")
_NAMESPACES = ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace")


def _pod(notes: Mapping[str, object]) -> Tuple[str, str]:
    return _first(notes, _PODS), _first(notes, _NAMESPACES)


def _stored(row: Mapping[str, object]) -> Known:
    """A row of ``containers.json`` (containers/storage), which Podman and CRI-O have in common."""
    names = row.get("names")
    name = str(names[0])[:_MOST] if isinstance(names, list) and names else ""
    try:
        more = _mapping(json.loads(str(row.get("metadata") or "{}")))
    except (ValueError, RecursionError):
        more = {}
    return Known(PODMAN, name, _text(more, "image-name"))


#: A name or an image is never longer (characters).
_MOST = 255


def _text(data: Mapping[str, object], key: str) -> str:
    value = data.get(key)
    return value[:_MOST] if isinstance(value, str) else ""


def _first(data: Mapping[str, object], keys: Iterable[str]) -> str:
    return next(filter(None, (_text(data, key) for key in keys)), "")


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _argument(argv: Tuple[str, ...], name: str) -> str:
    for index, word in enumerate(argv):
        if word == name and index + 1 < len(argv):
            return argv[index + 1]
        if word.startswith(name + "="):
            return word[len(name) + 1 :]
    return ""


def _remapped(root: str) -> List[str]:
    """Docker's directories for remapped users: ``/var/lib/docker/165536.165536``."""
    try:
        return ["%s/%s" % (root, name) for name in os.listdir(root) if re.match(r"\d+\.\d+\Z", name)]
    except OSError:
        return []


def _home(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return ""


def _read_of_root(path: str) -> bytes:
    """A file that only root can have written; nothing where it is not there, not ours to read, or anybody else's.

    Looked at from the top: below a directory that only root may write, only root can change what is next.
    """
    try:
        path = os.path.realpath(path)
        names = path.split("/")[1:]
        for end in range(len(names) + 1):
            found = os.lstat("/" + "/".join(names[:end]))
            if found.st_uid != 0 or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return b""
        return _read_file(path)
    except OSError:
        return b""


def _read_file(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return b""
        with os.fdopen(os.dup(fd), "rb") as file:
            return file.read(_LIMIT)
    finally:
        os.close(fd)


def _read_as(uid: int, path: str) -> bytes:
    """The same as a user, in a process of its own that is given up when the user's file system does not answer."""
    if os.geteuid() not in (0, uid):
        return b""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _serve(uid, path, writer)
    os.close(writer)
    parts: List[bytes] = []
    limit = time.monotonic() + _PATIENCE
    try:
        while select.select([reader], [], [], max(0.0, limit - time.monotonic()))[0]:
            part = os.read(reader, 65536)
            if not part:
                return b"".join(parts)
            parts.append(part)
        return b""
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        # Not waited for: one that hangs in the kernel would hold us up, and ours is a short life.
        os.waitpid(child, os.WNOHANG)


def _serve(uid: int, path: str, writer: int) -> None:
    """In the child: give everything up, read, write, end."""
    try:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(uid)
        data = _read_file(os.path.realpath(path))
        while data:
            data = data[os.write(writer, data) :]
    except OSError:
        pass
    finally:
        os._exit(0)
