# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "tree" of the lab (private to the collection): the Debian file tree that all test hosts stand on.

It is made once by debootstrap, from the mirror that apt on this machine uses,
and kept outside the checkout under a name that is a digest of its recipe.
Hosts never write to it: each lays an overlay of its own over it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path("/var/cache/pyspy-fleet-lab")
REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "runtime.txt"

PACKAGES = (
    "dbus",
    "iproute2",
    "kmod",
    "libpam-systemd",
    "openssh-server",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
    "tini",
    "udev",
)

#: A password that guards nothing: it exists on the lab's hosts only, which nobody else can reach.
ADMIN_PASSWORD = "open-sesame"

#: Runs as root inside the new tree.
SETTLE = f"""
useradd --create-home --shell /bin/bash deploy
useradd --create-home --shell /bin/bash admin
useradd --create-home --shell /bin/bash --system web
echo 'admin:{ADMIN_PASSWORD}' | chpasswd
echo 'deploy ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/deploy
echo 'admin ALL=(ALL) ALL' > /etc/sudoers.d/admin
chmod 0440 /etc/sudoers.d/deploy /etc/sudoers.d/admin
echo 'AuthorizedKeysFile /etc/ssh/lab_keys' > /etc/ssh/sshd_config.d/lab.conf
rm -f /etc/motd /etc/machine-id /etc/hostname /etc/resolv.conf
touch /etc/machine-id
ln -sf /dev/null /etc/systemd/system/apt-daily.timer
ln -sf /dev/null /etc/systemd/system/apt-daily-upgrade.timer
ln -sf /dev/null /etc/systemd/system/dpkg-db-backup.timer
"""


class LabError(RuntimeError):
    """The lab could not be laid; the message is one line with a remedy."""


def tree() -> Path:
    """The tree's folder; made first where it is missing (about a minute, once per recipe)."""
    CACHE.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = CACHE / f"tree-{_digest()}"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not wanted.is_dir():
            building = CACHE / "building"
            shutil.rmtree(building, ignore_errors=True)
            _build(building)
            building.rename(wanted)
    return wanted


def _digest() -> str:
    recipe = "\n".join((_suite(), *PACKAGES, SETTLE, _gunicorn()))
    return hashlib.sha256(recipe.encode()).hexdigest()[:16]


def _build(target: Path) -> None:
    mirror = _mirror()
    include = "--include=" + ",".join(PACKAGES)
    run("debootstrap", "--variant=minbase", include, _suite(), str(target), mirror)
    run("chroot", str(target), "/bin/sh", "-euc", SETTLE)
    service = target / "opt" / "service"
    run(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(service), _gunicorn())
    shutil.rmtree(target / "var" / "cache" / "apt", ignore_errors=True)
    shutil.rmtree(target / "var" / "lib" / "apt" / "lists", ignore_errors=True)


def _suite() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise LabError("This is no Debian release: the lab's tree needs one")


def _mirror() -> str:
    """The address that apt itself fetches this release's main packages from."""
    wanted = ("--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages")
    for line in output("apt-get", "indextargets", *wanted).splitlines():
        address, codename, component = line.split()
        if (codename, component) == (_suite(), "main"):
            return address
    raise LabError("apt knows no mirror of this release: run apt-get update")


def _gunicorn() -> str:
    for line in REQUIREMENTS.read_text().splitlines():
        if line.startswith("gunicorn=="):
            return line
    raise LabError("requirements/runtime.txt pins no gunicorn")


def output(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def run(*command: str, cwd: Path | None = None) -> None:
    """Run one step of a recipe; LabError with the end of its output when it fails."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LabError(f"{command[0]} failed ({done.returncode}):\n{done.stdout[-2000:]}")
