# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "run" of the controller wing (private to the collection): the folder of results on the controller.

All workers of one ``ansible-playbook`` process find the same folder by the
process' key; the first one makes it. Names that come from an inventory or a
host pass through :func:`safe_name`; every file is opened relative to a held
directory without following links, and appears at once, by renaming.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import hashlib
import json
import os
import re
import secrets
import stat
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ._errors import FleetError
from ._wire import HostRecord, Process

RECORD = "recording.json"
#: The name of the link to the newest run.
LATEST = "latest"
_HOSTS = "hosts"
_STATE = ".state"
_LOCK = ".lock"
_MAX_NAME = 80
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Largest file that is read back (captures are the largest).
_MAX_READ = 256 * 1024 * 1024
#: A key of another machine (a shared folder) is thought dead after this many seconds.
_FOREIGN_KEY_AGE = 2 * 86400


def safe_name(text: str) -> str:
    """One harmless path component for any text; different texts give different names."""
    clean = re.sub(r"[^A-Za-z0-9._-]+", "_", text)[:_MAX_NAME]
    clean = re.sub(r"^[.-]", "_", clean)
    if text and clean == text:
        return clean
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{clean.strip('_.-') or 'unnamed'}-{digest}"


def stem(process: Process) -> str:
    """The first part of the file names of a target: ``<pid>-<name>``."""
    return f"{process.pid}-{safe_name(process.name)}"


def _component(filename: str) -> str:
    return filename if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}", filename) else safe_name(filename)


def user_name() -> str:
    """Of who runs this; the number where the system has no name for it, as in a container with any user's number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def process_key() -> str:
    """The name of the ``ansible-playbook`` process whose worker this is: the same in all its workers."""
    return _key_of(os.getppid())


def _key_of(pid: int) -> str:
    node = safe_name(os.uname().nodename)
    return f"{pid}-{_started(pid)}-{node}"


def _started(pid: int) -> str:
    """When a process started, as text; "" when there is no such process. PIDs are reused, this with a PID is not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode()
    except OSError:
        if os.path.exists("/proc/self/stat"):
            return ""
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env={"LC_ALL": "C", "TZ": "UTC"})
    return re.sub(r"\W+", "_", answer.stdout.strip())


def open_run(output_dir: str, job: str, label: str, key: str) -> Run:
    """The folder of the process ``key``, made when there is none yet.

    A relative ``output_dir`` is relative to where ``ansible-playbook`` was started.
    """
    base, keys = _places(output_dir)
    link = os.path.join(keys, safe_name(key))
    try:
        os.makedirs(keys, mode=0o700, exist_ok=True)
        with _locked(os.path.join(keys, _LOCK)):
            name = _published(base, link)
            if name is None:
                _prune(base, keys)
                name = _create(base, job, label)
                _point(link, os.path.join("..", name))
                # Somebody else's link in a shared folder with the sticky bit stays theirs.
                with contextlib.suppress(PermissionError):
                    _point(os.path.join(base, LATEST), name)
    except OSError as error:
        raise _cannot_write(base, error) from error
    return Run(os.path.join(base, name))


def latest(output_dir: str, key: str) -> str:
    """The path of what ``latest`` means to the process ``key``: its own run, where it has one.

    Else the newest, if there is any. A gate that records and then compares must not judge what somebody else has
    begun in the same folder since.
    """
    base, keys = _places(output_dir)
    return os.path.join(base, _published(base, os.path.join(keys, safe_name(key))) or LATEST)


def _places(output_dir: str) -> tuple[str, str]:
    """Where runs are, and where their processes' keys are: in a folder that a team shares each user has their own."""
    base = os.path.abspath(os.path.expanduser(output_dir))
    return base, os.path.join(base, f".by-process-{os.geteuid()}")


def _cannot_write(path: str, error: OSError) -> FleetError:
    return FleetError(
        f"The folder of results cannot be written: {path}",
        error.strerror or str(error),
        "set pyspy_output_dir to a directory on the controller that you may write to",
    )


def _published(base: str, link: str) -> str | None:
    try:
        name = os.path.basename(os.readlink(link))
        found = os.lstat(os.path.join(base, name))
    except OSError:
        return None
    return name if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() else None


def _create(base: str, job: str, label: str) -> str:
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    words = [re.sub(r"[^A-Za-z0-9._]+", "-", word).strip("-.")[:40] for word in (job, label)]
    stem = "-".join([when, *filter(None, words)])
    for number in range(1, 1000):
        name = stem if number == 1 else f"{stem}-{number}"
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.join(base, name), 0o700)
            return name
    raise FileExistsError(17, "a thousand runs of this name exist", stem)


def _point(link: str, target: str) -> None:
    """A symlink that replaces an older one in one step."""
    temporary = f"{link}.{secrets.token_hex(4)}"
    os.symlink(target, temporary)
    try:
        os.replace(temporary, link)
    except OSError:
        os.unlink(temporary)
        raise


def _prune(base: str, keys: str) -> None:
    """Remove the keys of processes that have ended."""
    for name in os.listdir(keys):
        path = os.path.join(keys, name)
        if name != _LOCK and (
            _published(base, path) is None or not is_running(name, os.lstat(path).st_mtime, _FOREIGN_KEY_AGE)
        ):
            with contextlib.suppress(OSError):
                os.unlink(path)


def is_running(key: str, since: float, longest: float) -> bool:
    """Whether the process of a key is there.

    One of another machine cannot be asked: it counts as running for ``longest`` seconds after ``since``, its last sign
    of life. Neither does it when that lies so far ahead of this machine's clock.
    """
    pid, _dash, _rest = key.partition("-")
    if pid.isdigit() and key.endswith("-" + safe_name(os.uname().nodename)):
        return _key_of(int(pid)) == key
    return abs(time.time() - since) < longest


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _folder(path: str, names: tuple[str, ...], create: bool) -> Iterator[int]:
    """A descriptor of the directory ``names`` below ``path``, no component of which is a link."""
    descriptor = os.open(path, _DIRECTORY)
    try:
        for name in names:
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=descriptor)
            inner = os.open(name, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Run:
    """One run's folder. ``path`` is absolute."""

    path: str

    @property
    def name(self) -> str:
        return os.path.basename(self.path)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Held by whoever writes what belongs to the whole run."""
        try:
            with _locked(os.path.join(self.path, _LOCK)):
                yield
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    def write_host(self, record: HostRecord) -> None:
        data = json.dumps(record.to_json(), indent=1).encode()
        self._write((_HOSTS, safe_name(record.host)), RECORD, data)

    def host(self, name: str) -> HostRecord | None:
        """What the run knows of one host; ``None`` when it knows nothing."""
        return self._record(safe_name(name))

    def before(self, name: str) -> HostRecord | None:
        """The same before a new pass over the host, which replaces what cannot be read."""
        with contextlib.suppress(FleetError):
            return self.host(name)
        return None

    def files(self, name: str) -> set[str]:
        """The names of all files of a host."""
        with contextlib.suppress(FileNotFoundError):
            return set(os.listdir(os.path.join(self.path, _HOSTS, safe_name(name))))
        return set()

    def record_stamp(self, name: str) -> int:
        """When the host's record was last written (nanoseconds); 0 when there is none."""
        try:
            return os.lstat(os.path.join(self.path, _HOSTS, safe_name(name), RECORD)).st_mtime_ns
        except FileNotFoundError:
            return 0

    def hosts(self) -> list[HostRecord]:
        records = (self._record(folder) for folder in self.host_folders())
        return [record for record in records if record is not None]

    def records(self) -> tuple[list[HostRecord], list[FleetError]]:
        """All hosts' records, and what is wrong with those that cannot be read."""
        good: list[HostRecord] = []
        broken: list[FleetError] = []
        for folder in self.host_folders():
            try:
                record = self._record(folder)
            except FleetError as error:
                broken.append(error)
            else:
                good.extend([record] if record else [])
        return good, broken

    def host_folders(self) -> list[str]:
        try:
            with os.scandir(os.path.join(self.path, _HOSTS)) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []

    def _record(self, folder: str) -> HostRecord | None:
        try:
            return HostRecord.from_wire(json.loads(self._read((_HOSTS, folder), RECORD)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError, FleetError) as error:
            where = os.path.join(_HOSTS, folder, RECORD)
            raise FleetError("A host's record cannot be read", f"{where}: {error}", "run the playbook again") from error

    def write_capture(self, host: str, filename: str, data: bytes) -> str:
        """Write one file of a host; gives its path relative to the run's folder."""
        parts = (_HOSTS, safe_name(host))
        self._write(parts, _component(filename), data)
        return os.path.join(*parts, _component(filename))

    def read_capture(self, host: str, filename: str) -> bytes:
        """A file of a host; ``filename`` is as it was given to :meth:`write_capture`."""
        try:
            return self._read((_HOSTS, safe_name(host)), _component(filename))
        except OSError as error:
            where = os.path.join(_HOSTS, safe_name(host), _component(filename))
            detail = f"{where}: {error.strerror}"
            raise FleetError("A capture cannot be read", detail, "run the playbook again") from error

    def write(self, filename: str, content: str | bytes) -> None:
        """Write one file of the whole run."""
        data = content.encode("utf-8", "replace") if isinstance(content, str) else content
        self._write((), filename, data)

    def remove(self, filenames: Iterable[str]) -> None:
        """Remove files of the whole run that an earlier report wrote."""
        for filename in filenames:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.path, filename))

    def fingerprint(self) -> str:
        """Changes whenever a file of a host does; costs a look at each file, not its contents."""
        digest = hashlib.sha256()
        for folder in self.host_folders():
            for entry in sorted(os.scandir(os.path.join(self.path, _HOSTS, folder)), key=lambda entry: entry.name):
                # Captures and dumps; graphs and texts are made of them.
                if entry.name.endswith(".json"):
                    found = entry.stat(follow_symlinks=False)
                    facts = f"{folder}/{entry.name} {found.st_ino} {found.st_size} {found.st_mtime_ns}\n"
                    digest.update(facts.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def read_state(self, name: str) -> bytes | None:
        """What the report remembers between the calls of one run."""
        try:
            return self._read((_STATE,), name)
        except FileNotFoundError:
            return None

    def write_state(self, name: str, data: bytes) -> None:
        self._write((_STATE,), name, data)

    def claim(self, name: str) -> bool:
        """True for exactly one of all who ask for this name."""
        try:
            with _folder(self.path, (_STATE,), create=True) as folder:
                os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder))
        except FileExistsError:
            return False
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        return True

    def claimed(self, name: str) -> bool:
        return os.path.lexists(os.path.join(self.path, _STATE, name))

    def _write(self, parts: tuple[str, ...], name: str, data: bytes) -> None:
        try:
            with _folder(self.path, parts, create=True) as folder:
                _write_file(folder, name, data)
        except OSError as error:
            raise _cannot_write(os.path.join(self.path, *parts, name), error) from error

    def _read(self, parts: tuple[str, ...], name: str) -> bytes:
        with _folder(self.path, parts, create=False) as folder:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            with os.fdopen(descriptor, "rb") as file:
                return file.read(_MAX_READ)


def _write_file(folder: int, name: str, data: bytes) -> None:
    temporary = f".{secrets.token_hex(8)}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
