# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "fetch" of the controller wing (private to the collection): the binary of a pinned py-spy.

It comes from the cache, from a directory (air gap), or by pip. Nothing is
handed out or kept whose sha256 is not the one in the room "releases".
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ._errors import FleetError
from ._releases import Build, architecture, known

#: How long pip may take altogether. Its own timeouts and retries are the user's settings.
PIP_SECONDS = 300
#: How long pip's failure counts for the other hosts of the same run.
FAILURE_SECONDS = 120
#: Larger files in a directory of wheels are not looked at; the largest pinned wheel has 3 MB.
MAX_WHEEL = 16 * 1024 * 1024


def binary(version: str, arch: str, wheel_dir: str | None = None, cache_dir: str | None = None) -> Path:
    """The verified binary in the cache, brought there first if need be."""
    slot = _slot(version, arch, cache_dir)
    with _own(slot.folder):
        if slot.read_binary() is None:
            with _locked(slot) as lock:
                _bring(slot, wheel_dir, lock)
    return slot.path


def compressed(version: str, arch: str, wheel_dir: str | None = None, cache_dir: str | None = None) -> bytes:
    """The verified binary as it crosses the wire: gzipped, the same bytes every time."""
    slot = _slot(version, arch, cache_dir)
    with _own(slot.folder):
        data = slot.read_packed()
        if data is not None:
            return data
        with _locked(slot) as lock:
            data = slot.read_packed()
            if data is None:
                data = gzip.compress(_bring(slot, wheel_dir, lock), mtime=0)
                _write(slot.packed, data, 0o644)
            return data


@dataclass(frozen=True)
class _Slot:
    """The place of one binary in the cache."""

    version: str
    arch: str
    build: Build
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / f"py-spy-{self.version}-{self.arch}"

    @property
    def packed(self) -> Path:
        return self.path.with_name(self.path.name + ".gz")

    @property
    def lock(self) -> Path:
        return self.path.with_name(self.path.name + ".lock")

    def read_binary(self) -> bytes | None:
        """The cached binary; None when it is not there or not the right one."""
        data = _read(self.path)
        return data if data is not None and _sha256(data) == self.build.binary else None

    def read_packed(self) -> bytes | None:
        """The cached gzip file; None when it is not there or does not hold the right binary."""
        data = _read(self.packed)
        try:
            inflated = zlib.decompressobj(31).decompress(data or b"", self.build.size + 1)
        except zlib.error:
            return None
        return data if _sha256(inflated) == self.build.binary else None


def _slot(version: str, arch: str, cache_dir: str | None) -> _Slot:
    release = known(version)
    arch = architecture(arch)
    return _Slot(release.version, arch, release.builds[arch], Path(cache_dir) if cache_dir else _default_cache())


def _default_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME", "")
    base = home if os.path.isabs(home) else os.path.expanduser("~/.cache")
    return Path(base, "pyspy-fleet")


@contextmanager
def _own(folder: Path) -> Iterator[None]:
    """Use the cache's folder, made if need be; what the file system says becomes a FleetError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.geteuid():
            raise PermissionError(f"{folder} belongs to somebody else")
        folder.chmod(0o700)
        yield
    except OSError as error:
        raise FleetError(
            "The controller's cache of py-spy cannot be used",
            str(error),
            f"make {folder} a writable directory of your own, free some space, or set XDG_CACHE_HOME to another one",
        ) from error


@contextmanager
def _locked(slot: _Slot) -> Iterator[io.TextIOWrapper]:
    """Hold the slot: all workers of a run ask at once, and one of them is enough to fetch."""
    with open(slot.lock, "a+", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def _bring(slot: _Slot, wheel_dir: str | None, lock: io.TextIOWrapper) -> bytes:
    """The binary, put into the cache if it is not there; to be called with the slot held."""
    data = slot.read_binary()
    if data is None:
        wheel = _from_directory(slot, wheel_dir) if wheel_dir else _once_per_run(lock, lambda: _from_pip(slot))
        data = _unpack(slot, wheel)
        _write(slot.path, data, 0o755)
    return data


def _from_directory(slot: _Slot, wheel_dir: str) -> bytes:
    """The wheel out of a directory: known by its checksum, for names of wheels have changed."""
    folder = Path(os.path.expanduser(wheel_dir))
    try:
        files = [entry for entry in sorted(folder.iterdir()) if entry.is_file() and entry.stat().st_size <= MAX_WHEEL]
        for entry in files:
            data = entry.read_bytes()
            if _sha256(data) == slot.build.wheel:
                return data
    except OSError as error:
        raise FleetError(
            "The directory of wheels cannot be read",
            str(error),
            "pyspy_install_wheel_dir (wheel_dir) names a directory on the controller",
        ) from error
    raise FleetError(
        f"The wheel of py-spy {slot.version} for {slot.arch} is not in {folder}",
        f"none of {len(files)} files has the sha256 {slot.build.wheel}",
        f"put it there: {_download_by_hand(slot)}",
    )


def _download_by_hand(slot: _Slot) -> str:
    return f"pip download --no-deps --only-binary=:all: --platform {_platform(slot)} py-spy=={slot.version}"


def _platform(slot: _Slot) -> str:
    # pip takes the older manylinux names as well when it is asked for this one.
    return f"manylinux2014_{slot.arch}"


def _once_per_run(lock: io.TextIOWrapper, fetch: Callable[[], bytes]) -> bytes:
    """``fetch()``; but when it failed for another host of this run just now, that failure at once.

    Without a network pip may take a minute and more to give up, and every host would wait for its own turn at
    that. The workers of a run are children of one ``ansible-playbook``: it names the run.
    """
    lock.seek(0)
    try:
        run, at, *words = json.load(lock)
    except ValueError:
        run, at, words = 0, 0.0, []
    if run == os.getppid() and abs(time.time() - at) < FAILURE_SECONDS:
        raise FleetError(*words)
    lock.truncate(0)
    try:
        return fetch()
    except FleetError as error:
        json.dump([os.getppid(), time.time(), error.reason, error.detail, error.remedy], lock)
        raise


def _from_pip(slot: _Slot) -> bytes:
    """The wheel by ``pip download``, so that the user's own index, proxy and certificates count."""
    with tempfile.TemporaryDirectory(prefix="pyspy-fleet-") as scratch:
        requirements = Path(scratch, "requirements.txt")
        requirements.write_text(f"py-spy=={slot.version} --hash=sha256:{slot.build.wheel}\n", encoding="utf-8")
        done = _run_pip(
            slot,
            "download",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
            f"--platform={_platform(slot)}",
            f"--dest={scratch}",
            f"--requirement={requirements}",
        )
        for wheel in Path(scratch).glob("*.whl"):
            data = wheel.read_bytes()
            if done.returncode == 0 and _sha256(data) == slot.build.wheel:
                return data
        raise _pip_failed(slot, done.stderr + done.stdout)


def _run_pip(slot: _Slot, *arguments: str) -> subprocess.CompletedProcess[str]:
    if importlib.util.find_spec("pip"):
        pip = [sys.executable, "-P", "-m", "pip"]
    else:
        pip = [shutil.which("pip3") or ""]
    if not pip[0]:
        raise _pip_failed(slot, "there is no pip on the controller")
    # Some forbid pip outside of a virtual environment: that is about installing, and nothing is installed here.
    environment = {**os.environ, "PIP_REQUIRE_VIRTUALENV": "0"}
    try:
        return subprocess.run(
            [*pip, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PIP_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _pip_failed(slot, f"pip did not end within {PIP_SECONDS} seconds") from None


def _pip_failed(slot: _Slot, output: str) -> FleetError:
    """What to tell of a failed download: pip's last words (the cause of a failed connection stands above the last)."""
    words = "; ".join(line.strip()[:300] for line in output.splitlines() if line.strip())[-1200:]
    if "DO NOT MATCH THE HASHES" in output:
        return FleetError(
            f"The package index offers something else as py-spy {slot.version} for {slot.arch}: checksum mismatch",
            words,
            "do not use that file; find out what your package index serves",
        )
    return FleetError(
        f"pip could not bring py-spy {slot.version} for {slot.arch} to the controller",
        words,
        f"mend the connection to the package index, or set pyspy_install_wheel_dir (wheel_dir) to a directory "
        f"that holds the wheel: {_download_by_hand(slot)}",
    )


def _unpack(slot: _Slot, wheel: bytes) -> bytes:
    """The binary out of a wheel whose checksum is right."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        data = archive.read(f"py_spy-{slot.version}.data/scripts/py-spy")
    if _sha256(data) != slot.build.binary:
        raise FleetError(
            f"The binary in the wheel of py-spy {slot.version} for {slot.arch} is not the pinned one",
            f"sha256 {_sha256(data)} instead of {slot.build.binary}",
            "report it: the collection's table of checksums does not agree with itself",
        )
    return data


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a file so that a reader finds it whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            os.fchmod(handle.fileno(), mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
