# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "interpreters" of the lab (private to the collection): Pythons that are not just ``python3``."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from ansible_collections.pyspy.fleet.plugins.plugin_utils import _fetch, _releases
from ansible_collections.pyspy.fleet.tests.lab.managers import environment
from ansible_collections.pyspy.fleet.tests.lab.tree import CACHE, run

#: What each of them runs: py-spy shows ``burn``.
CODE = """
import time
def burn():
    end = time.time() + 300
    while time.time() < end:
        pass
print("ready", flush=True)
burn()
"""
#: All that CPython's own main program is, when the rest lies in libpython.
MAIN = "#include <Python.h>\nint main(int count, char **words) { return Py_BytesMain(count, words); }\n"
#: The packages of a Python that starts without its library's files.
NARROW_PACKAGES = ("libc6", "libexpat1", "libpython3.11-minimal", "python3.11-minimal", "zlib1g")


@contextmanager
def interpreter(*command: str | Path, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has said "ready" and is in ``burn``."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def pyspy_says(pid: int) -> str:
    """What the pinned py-spy makes of a process: its stacks, or its error."""
    binary = _fetch.binary(_releases.NEWEST, os.uname().machine)
    command = (binary, "dump", "--nonblocking", "--pid", str(pid))
    environ = {name: value for name, value in os.environ.items() if name != "RUST_BACKTRACE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    return done.stdout if done.returncode == 0 else done.stderr.strip()


class SharedPython:
    """A Python whose libpython is a file of its own in ``folder``; ``program`` is its executable."""

    def __init__(self, folder: Path, name: str) -> None:
        ask = "import json, sysconfig; print(json.dumps(sysconfig.get_config_vars()))"
        asked = subprocess.run((environment() / "python", "-c", ask), capture_output=True, text=True, check=True)
        built = json.loads(asked.stdout)
        self.library = folder / built["INSTSONAME"]
        self.version = str(built["py_version_short"])
        shutil.copy(Path(built["LIBDIR"], built["INSTSONAME"]), self.library)
        (folder / "main.c").write_text(MAIN)
        self.program = folder / name.format(version=self.version)
        link = ("-L", built["LIBDIR"], f"-lpython{built['LDVERSION']}")
        run("gcc", "-o", str(self.program), "-I", built["INCLUDEPY"], str(folder / "main.c"), *link)

    def started(self) -> AbstractContextManager[subprocess.Popen[str]]:
        return interpreter(self.program, "-c", CODE, LD_LIBRARY_PATH=str(self.library.parent))

    def upgrade(self) -> None:
        """Replace the library as a package manager does: a new file takes the place of the old one."""
        new = self.library.with_suffix(".new")
        shutil.copy(self.library, new)
        new.rename(self.library)


def one_file_bundle(folder: Path) -> Path:
    """An application as PyInstaller packs it into one file: it unpacks libpython into a folder when it starts."""
    (folder / "bundled.py").write_text(CODE)
    run(str(environment() / "pyinstaller"), "--onefile", "--log-level", "ERROR", "bundled.py", cwd=folder)
    return folder / "dist" / "bundled"


def narrow_python() -> Path:
    """A root folder with a 32-bit Python of Debian 12, for chroot; this machine's own packages are not touched."""
    CACHE.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted: Path = CACHE / "python-i386"
    with (CACHE / "lock-i386").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not wanted.is_dir():
            building = CACHE / "building-i386"
            shutil.rmtree(building, ignore_errors=True)
            for name in ("apt/lists/partial", "apt/cache/archives/partial", "root"):
                (building / name).mkdir(parents=True)
            _fetch_and_unpack(building)
            (building / "root").rename(wanted)
            shutil.rmtree(building)
    return wanted


def _fetch_and_unpack(folder: Path) -> None:
    """With apt's sources as they are, but another architecture and a memory of its own."""
    options = {
        "APT::Architecture": "i386",
        "APT::Architectures": "i386",
        "APT::Sandbox::User": "root",
        "Dir::State::lists": folder / "apt" / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": folder / "apt" / "cache",
    }
    apt = ["apt-get", "-qq", *(word for key, value in options.items() for word in ("-o", f"{key}={value}"))]
    # A source that lacks this architecture makes it fail, and is not needed: whether it did shows in what follows.
    subprocess.run([*apt, "update"], check=False, capture_output=True)
    run(*apt, "download", *NARROW_PACKAGES, cwd=folder)
    for package in folder.glob("*.deb"):
        run("dpkg-deb", "--extract", str(package), str(folder / "root"))
