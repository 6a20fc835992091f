# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "state" of the host wing (private to the collection): where recordings lie on the host.

Each recording is one folder ``<base>/<id>``. Root's base is ``/run/pyspy-fleet``
(0700, gone after a reboot); an ordinary user's lies in the user's own runtime
directory, or in the home directory where there is none.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from contextlib import contextmanager
from typing import Dict, Iterator, List, Optional

from ._errors import HostError

NAME = "pyspy-fleet"
#: Recordings are named by hex digits only, so that an id can stand in a unit's name or a path as it is.
_HEX = frozenset("0123456789abcdef")
_GONE = ".gone"


def base() -> str:
    """The directory of this user's recordings, made if need be; HostError where it cannot be trusted or written."""
    path = base_path()
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise HostError("The state directory cannot be made", str(error), "let us write there, or use become") from None
    _refuse_unless_ours(path)
    return path


def _refuse_unless_ours(path: str) -> None:
    """HostError when somebody else made the directory, or may write to it. One that is not there is fine."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise HostError(
            "The state directory is not only ours",
            "%s: owner %d, mode %o" % (path, found.st_uid, found.st_mode),
            "find out who made it, then remove it",
        )


def base_path() -> str:
    """Where :func:`base` is for the user we run as (nothing is made).

    The runtime directory of a user goes away some seconds after the last login has ended, so it is for those only
    whose own login we are in, for what a keeper leaves running holds that login open.
    What another way in has begun is found again wherever it was.
    """
    uid = os.geteuid()
    if uid == 0:
        return "/run/" + NAME
    runtime, home = "/run/user/%d/%s" % (uid, NAME), "%s/.%s" % (_home(uid), NAME)
    for path in (home, runtime):
        if os.path.lexists(path):
            return path
    return runtime if _in_own_login(uid) and os.path.isdir(os.path.dirname(runtime)) else home


def _home(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        raise HostError("This user has no entry in the user database", "uid %d" % uid, "use another user") from None


def _in_own_login(uid: int) -> bool:
    try:
        with open("/proc/self/cgroup") as handle:
            return "/user-%d.slice/" % uid in handle.read()
    except OSError:
        return False


@contextmanager
def locked() -> Iterator[None]:
    """Hold the state directory (made if need be, removed when nothing is in it) against other starts and clean-ups."""
    while True:
        path = base()
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # the last recording just left and took the directory along
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_at(descriptor, path):
            break
        os.close(descriptor)
    try:
        yield
    finally:
        _remove_base_if_empty()
        os.close(descriptor)


def _is_at(descriptor: int, path: str) -> bool:
    """Whether the open directory is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _remove_base_if_empty() -> None:
    try:
        os.rmdir(base_path())
    except OSError:
        pass  # other recordings are still in it


def _is_identity(name: str) -> bool:
    return 0 < len(name) <= 64 and _HEX.issuperset(name)


class Folder:
    """One recording's folder; files in it are written whole or not at all."""

    def __init__(self, identity: str) -> None:
        if not _is_identity(identity):
            raise HostError("A recording's name is hex digits", repr(identity)[:80], "use the id that start gave")
        self.identity = identity
        directory = base_path()
        _refuse_unless_ours(directory)
        self.path = directory + "/" + identity

    @classmethod
    def create(cls) -> Folder:
        """A new empty folder with a name nobody can guess."""
        folder = cls(os.urandom(8).hex())
        try:
            os.mkdir(folder.path, 0o700)
        except OSError as error:
            raise HostError("A recording's folder cannot be made", str(error), "free space below /run") from None
        return folder

    def exists(self) -> bool:
        return os.path.isdir(self.path) and not os.path.islink(self.path)

    def file(self, name: str) -> str:
        return self.path + "/" + name

    def write(self, name: str, data: bytes) -> None:
        """Write ``data`` to ``name`` so that a reader sees the old file or the new one."""
        temporary = self.file(name + ".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as handle:
                handle.write(data)
            os.rename(temporary, self.file(name))
        except OSError:
            os.unlink(temporary)
            raise

    def write_json(self, name: str, data: object) -> None:
        self.write(name, json.dumps(data).encode())

    def read_json(self, name: str) -> Optional[Dict[str, object]]:
        """The object in ``name``; None when it is not there or not readable as one."""
        try:
            with open(self.file(name), "rb") as handle:
                data = json.loads(handle.read())
        except (OSError, ValueError):
            return None
        return data if isinstance(data, dict) else None

    def remove(self) -> None:
        """Delete the folder and what is in it; only plain files are ever made there. Gone already is fine.

        It is renamed first, so that nobody finds it half deleted, and a writer that
        still works in it cannot make the removal fail more than once.
        """
        doomed = self.path + _GONE
        try:
            os.rename(self.path, doomed)
        except OSError:
            doomed = self.path
        _delete(doomed)
        _remove_base_if_empty()


def _delete(path: str) -> bool:
    """Whether ``path`` is gone now. Directories in it are not of our making: they stay, and it with them."""
    for _attempt in range(3):
        try:
            if os.path.islink(path) or os.path.isfile(path):
                _unlink(path)
                return True
            for name in os.listdir(path):
                _unlink(path + "/" + name)
            os.rmdir(path)
            return True
        except FileNotFoundError:
            return True
        except OSError:
            continue
    return False


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # somebody else deletes the same folder


def finish_removals() -> int:
    """Delete what an interrupted removal left; gives how many."""
    try:
        halves = [name for name in os.listdir(base_path()) if name.endswith(_GONE)]
    except OSError:
        return 0
    finished = [name for name in halves if _delete(base_path() + "/" + name)]
    _remove_base_if_empty()
    return len(finished)


def folders() -> List[Folder]:
    """All recordings of this user on this host."""
    try:
        names = sorted(os.listdir(base_path()))
    except OSError:
        return []
    return [Folder(name) for name in names if _is_identity(name)]
