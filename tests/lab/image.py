# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "image" of the lab (private to the collection): what a virtual machine boots from.

The shared tree as a disk, with the container runtimes; Debian's cloud kernel (its
Yama is the reason for the whole tier) and a small initrd that loads the disk's
driver. The kernel's package is only unpacked, never installed here. Made once, kept
beside the tree under a digest of its recipe.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from .tree import CACHE, LabError, output, run, tree

#: Enough for the tree, the modules and what tests write; sparse.
DISK_SIZE = "2G"
#: Docker wants apparmor where the kernel has it; an ordinary user's Podman asks the user's own systemd for cgroups.
RUNTIMES = (
    *("apparmor", "containerd", "crun", "dbus-user-session", "docker.io"),
    *("lxc", "podman", "systemd-container", "uidmap"),
)
#: What the machine says of its network; QEMU's user network always looks like this from inside.
NETWORK = """[Match]
Name=eth0
[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
"""
#: Debian's own default is 0; hosts that care have 1, as the kernel's.
SYSCTL = "kernel.yama.ptrace_scope = 1\n"
#: Runs in the tree, which has an overlay over it. No daemon starts at boot: most tests want none of them.
SETTLE = """
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
dpkg --install --force-unsafe-io /packages/*.deb
rm -r /packages /usr/sbin/policy-rc.d
depmod "$1"
systemctl disable --quiet apparmor containerd docker.service docker.socket lxc lxc-monitord lxc-net
for where in --system --global; do
    systemctl $where disable --quiet podman.service podman.socket podman-restart.service
    systemctl $where disable --quiet podman-auto-update.service podman-auto-update.timer
done
systemctl enable --quiet systemd-networkd
systemctl mask --quiet systemd-networkd-wait-online systemd-timesyncd e2scrub_reap fstrim.timer
echo vm1 > /etc/hostname
"""
#: In the order in which they are wanted; what they need themselves is in modules.dep.
MODULES = ("virtio_pci", "virtio_blk", "virtio_net")
INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in $(/bin/busybox cat /modules/order); do /bin/busybox insmod "/modules/$module"; done
while ! /bin/busybox mount -t ext4 /dev/vda /root; do /bin/busybox sleep 0.1; done
exec /bin/busybox switch_root /root /sbin/init
"""


class Image(NamedTuple):
    """The files that a machine boots from, and the key that opens it."""

    folder: Path

    @property
    def kernel(self) -> Path:
        return self.folder / "kernel"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd"

    @property
    def disk(self) -> Path:
        return self.folder / "disk.img"

    @property
    def key(self) -> Path:
        return self.folder / "key"


def image(recipe: str, finish: Callable[[Image], None]) -> Image:
    """The image, made where it is missing; ``finish`` adds to a new one what follows from ``recipe``."""
    lower, kernel = tree(), _kernel_package()
    digest = hashlib.sha256(
        "\n".join((lower.name, kernel, DISK_SIZE, NETWORK, SYSCTL, SETTLE, INIT, *RUNTIMES, recipe)).encode()
    )
    wanted = CACHE / f"vm-{digest.hexdigest()[:16]}"
    with (CACHE / "vm-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not wanted.is_dir():
            building = CACHE / "vm-building"
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir(mode=0o700)
            _build(Image(building), lower, kernel)
            finish(Image(building))
            building.rename(wanted)
    return Image(wanted)


def _kernel_package() -> str:
    """The package behind the metapackage: its name changes with the kernel's interface."""
    for line in output("apt-cache", "depends", "linux-image-cloud-amd64").splitlines():
        if line.strip().startswith("Depends: linux-image-"):
            return line.partition(":")[2].strip()
    raise LabError("apt knows no kernel for virtual machines: run apt-get update")


def _build(target: Image, lower: Path, kernel: str) -> None:
    unpacked = target.folder / "unpacked"
    for package in (kernel, "busybox-static"):
        _unpack(package, unpacked)
    version = kernel.removeprefix("linux-image-")
    shutil.copy(unpacked / "boot" / f"vmlinuz-{version}", target.kernel)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "pyspy.fleet lab", "-f", str(target.key))
    upper = target.folder / "upper"
    _lay_upper(target, upper, unpacked / "lib" / "modules" / version)
    _download(RUNTIMES, lower, upper / "packages")
    _write_disk(target, lower, upper, version)
    _write_initrd(target, unpacked / "bin" / "busybox", upper / "usr" / "lib" / "modules" / version)
    shutil.rmtree(unpacked)
    shutil.rmtree(upper)


def _unpack(package: str, folder: Path) -> None:
    where = folder.with_name("packages")
    where.mkdir(exist_ok=True)
    run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package, cwd=where)
    for archive in where.glob(f"{package}_*.deb"):
        run("dpkg-deb", "-x", str(archive), str(folder))
    shutil.rmtree(where)


def _download(packages: Iterable[str], lower: Path, folder: Path) -> None:
    """What is to be installed there, with all that it needs and the tree has not."""
    (folder / "partial").mkdir(parents=True)
    settings = {
        "Dir::State::status": lower / "var" / "lib" / "dpkg" / "status",
        "Dir::Cache::archives": folder,
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": 1,
    }
    options = [f"--option={name}={value}" for name, value in settings.items()]
    run("apt-get", "-q", *options, "--yes", "--no-install-recommends", "--download-only", "install", *packages)
    (folder / "partial").rmdir()


def _lay_upper(target: Image, upper: Path, modules: Path) -> None:
    """What the machine has beside the tree."""
    files = {
        "etc/systemd/network/lan.network": NETWORK,
        "etc/sysctl.d/10-ptrace.conf": SYSCTL,
        "etc/ssh/lab_keys": target.key.with_suffix(".pub").read_text(),
    }
    for name, text in files.items():
        (upper / name).parent.mkdir(parents=True, exist_ok=True)
        (upper / name).write_text(text)
    place = upper / "usr" / "lib" / "modules"
    place.mkdir(parents=True)
    shutil.move(modules, place / modules.name)


def _write_disk(target: Image, lower: Path, upper: Path, version: str) -> None:
    """The overlay is mounted in a mount namespace of its own, so nothing of it can stay mounted."""
    steps = """
set -eu
cd "$1"
mkdir work root
mount -t overlay -o "lowerdir=$2,upperdir=upper,workdir=work" lab root
chroot root /bin/sh -euc "$3" settle "$4"
mke2fs -q -t ext4 -d root disk.img "$5"
umount root
rm -r work root
"""
    assert upper.name == "upper"
    place = ("unshare", "--mount", "--", "sh", "-c", steps, "disk")
    run(*place, str(target.folder), str(lower), SETTLE, version, DISK_SIZE)


def _write_initrd(target: Image, busybox: Path, modules: Path) -> None:
    needs: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _colon, others = line.partition(":")
        needs[Path(path).stem] = [path, *others.split()]
    # A module's needs are listed nearest first: loaded from the end, each finds what it needs.
    paths = dict.fromkeys(path for name in MODULES for path in reversed(needs[name]))
    content = {"init": INIT.encode(), "bin/busybox": busybox.read_bytes()}
    content |= {f"modules/{Path(path).name}": (modules / path).read_bytes() for path in paths}
    content["modules/order"] = "\n".join(Path(path).name for path in paths).encode()
    folders = ("bin", "dev", "modules", "root")
    entries = [(name, 0o040755, b"") for name in folders] + [(name, 0o100755, data) for name, data in content.items()]
    target.initrd.write_bytes(b"".join(_cpio(*entry) for entry in (*entries, ("TRAILER!!!", 0, b""))))


def _cpio(name: str, mode: int, data: bytes) -> bytes:
    """One entry of an archive as the kernel wants it (cpio, "newc"); an inode is needed by hard links only."""
    words = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % word for word in words) + os.fsencode(name) + b"\0"
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
