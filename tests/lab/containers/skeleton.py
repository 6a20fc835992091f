# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "skeleton" of the lab (private to the collection): what stands in a container before it is started.

Empty folders for this machine's own programs to be mounted on: nothing has to be fetched from anywhere.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

#: A name as from a registry; none is asked, and this domain cannot exist (RFC 2606).
IMAGE = "images.example/shop/web:1.2"
#: Where a container finds the runtime's shared folder.
SHARED = "/shared"
FOLDERS = ("dev", "etc", "proc", "root", "run", "sys", "tmp", "usr", "var", SHARED.lstrip("/"))
LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}
FILES = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
    "etc/hostname": b"",
    "etc/hosts": b"",
    "etc/resolv.conf": b"",
}
#: The folder of this machine's own programs, and where the interpreter of the tests comes from, if from elsewhere.
PROGRAMS = ("/usr",) if sys.base_prefix.startswith("/usr") else ("/usr", sys.base_prefix)
PYTHON = "/usr/bin/python3"


def archive() -> bytes:
    """The skeleton as an image that every runtime can load: the format of ``docker save``."""
    content = layer()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(content).hexdigest()]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as image:
        _add(image, "layer.tar", content)
        _add(image, "config.json", json.dumps(config).encode())
        _add(image, "manifest.json", json.dumps(manifest).encode())
    return buffer.getvalue()


def layer() -> bytes:
    """The skeleton itself, as a tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in (*FOLDERS, *_above_programs()):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(folder)
        for name, target in LINKS.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
        for name, data in FILES.items():
            _add(archive, name, data)
    return buffer.getvalue()


def _above_programs() -> list[str]:
    """Where programs are mounted, and the folders above, from the top down."""
    folders = {str(folder).lstrip("/") for path in PROGRAMS[1:] for folder in (Path(path), *Path(path).parents)}
    return sorted(folders - {"", *FOLDERS})


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    archive.addfile(member, io.BytesIO(data))
