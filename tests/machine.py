# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests need of the machine beside Python: Debian packages, installed when we are root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

#: Program → the Debian package that brings it.
PROGRAMS = {
    "bwrap": "bubblewrap",
    "containerd": "containerd",
    "debootstrap": "debootstrap",
    "dockerd": "docker.io",
    "dumb-init": "dumb-init",
    "gcc": "gcc",
    "ip": "iproute2",
    "lxc-start": "lxc",
    "mke2fs": "e2fsprogs",
    "newuidmap": "uidmap",
    "pg_ctlcluster": "postgresql",
    "pgrep": "procps",
    "podman": "podman",
    "pypy3": "pypy3",
    "python3-config": "python3-dev",
    "redis-check-rdb": "redis-tools",
    "runc": "runc",
    "shellcheck": "shellcheck",
    "ssh": "openssh-client",
    "sudo": "sudo",
    "systemd-nspawn": "systemd-container",
    "tini": "tini",
    "unshare": "util-linux",
    "uwsgi_python3": "uwsgi-plugin-python3",
}
#: The same for virtual machines, which need the others too.
EMULATOR = {"qemu-img": "qemu-utils", "qemu-system-x86_64": "qemu-system-x86"}
#: What pages are shown in, what reads our files, and what brings more of both.
BROWSERS = {"chromium": "chromium", "firefox-esr": "firefox-esr", "go": "golang-go", "npm": "npm"}
#: Asked by a package before it starts its daemon (invoke-rc.d(8)); 101 forbids it.
POLICY = Path("/usr/sbin/policy-rc.d")


def prepare() -> None:
    """Install what is missing, when root on a Debian; else leave it to those who ask for it to say so."""
    missing = _missing({**PROGRAMS, **EMULATOR, **BROWSERS})
    if not missing or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    print(f"installing {', '.join(missing)}", flush=True)
    for command in (("update",), ("install", "-y", "--no-install-recommends", *missing)):
        with _no_daemons():
            done = _apt_get(*command)
        if done.returncode:
            print(f"apt-get {command[0]} failed:\n{done.stdout[-2000:]}", flush=True)
            return


def _apt_get(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ("apt-get", "-qq", *command),
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@contextlib.contextmanager
def _no_daemons() -> Iterator[None]:
    """Nothing that is installed meanwhile is started, unless the machine has rules of its own."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    try:
        POLICY.chmod(0o755)
        yield
    finally:
        POLICY.unlink()


def lacking_for_integration() -> str:
    """Why the integration tests cannot run here, in one line; "" when they can."""
    if os.geteuid() != 0:
        return "they lay hosts in namespaces: run make test as root"
    return _to_install(PROGRAMS)


def lacking_for_machines() -> str:
    """Why the tests on virtual machines cannot run here, in one line; "" when they can."""
    if os.geteuid() != 0:
        return "they lay out a disk for virtual machines: run make test as root"
    if os.uname().machine != "x86_64":
        return "their disk is made of this machine's own packages, and the emulated processor is x86_64"
    return _to_install({**PROGRAMS, **EMULATOR})


def lacking_for_browsers() -> str:
    """Why the browser tests cannot run here, in one line; "" when they can."""
    return _to_install(BROWSERS)


def _to_install(programs: dict[str, str]) -> str:
    missing = _missing(programs)
    return f"install {', '.join(missing)}" if missing else ""


def _missing(programs: dict[str, str]) -> list[str]:
    return sorted({package for program, package in programs.items() if not shutil.which(program)})
