# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "binary" of the host wing (private to the collection): the pinned py-spy on this host.

Where it lies, whether it is the right one, putting it there and taking it away.
What is handed out is an open descriptor of a file whose checksum was taken
through that descriptor: executed as ``/proc/self/fd/N``, it stays the same
program, whatever happens to its name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
import time
import zlib
from contextlib import contextmanager
from typing import Dict, Iterator, List, NamedTuple, Optional

from ._errors import HostError
from ._trusted import components, make, open_file, readable, walk

NAME = "pyspy-fleet"
_PREFIX = "py-spy-"
#: More than this never comes out of what the controller sent; the largest pinned binary has 8 MB.
MAX_BINARY = 32 * 1024 * 1024
_PIECE = 256 * 1024
#: A temporary file of this age was left by a put that was killed.
_STALE_SECONDS = 3600
_ELSEWHERE = "set pyspy_install_dir (the option install_dir) to another directory"

#: By what ``uname`` says: the architecture of a 32-bit and of a 64-bit userland.
_USERLANDS = {
    "x86_64": ("i686", "x86_64"),
    "i386": ("i686", "x86_64"),
    "i586": ("i686", "x86_64"),
    "i686": ("i686", "x86_64"),
    "aarch64": ("armv7l", "aarch64"),
    "armv8l": ("armv7l", "aarch64"),
    "armv7l": ("armv7l", "aarch64"),
}


class Wanted(NamedTuple):
    """The py-spy to use: ``sha256`` by architecture; ``directory`` "" is the default one; ``executable`` "" is none."""

    version: str
    sha256: Dict[str, str]
    directory: str
    executable: str


class Found(NamedTuple):
    """A py-spy that is safe to execute as ``/proc/self/fd/<fd>``; who asked for it closes ``fd``."""

    path: str
    version: str
    sha256: str
    fd: int


def machine() -> str:
    """The architecture of this host's userland, by the names of the pinned releases.

    py-spy has to be of its targets' kind: a 64-bit kernel may run a 32-bit system (Raspberry Pi OS does), whose
    Pythons only a 32-bit py-spy reads. The Python that runs this is taken as the witness of what the others are.
    """
    name = os.uname().machine
    userland = _USERLANDS.get(name)
    return name if userland is None else userland[sys.maxsize > 2**32]


def default_directory(euid: int) -> str:
    """Where py-spy lies unless a directory is named: root's own place, or the user's.

    The base is resolved first, for some systems keep /usr/local or /home behind a link; the walk judges where it leads.
    """
    if euid == 0:
        return os.path.join(os.path.realpath("/usr/local"), "libexec", NAME)
    import pwd

    try:
        home = pwd.getpwuid(euid).pw_dir
    except KeyError:
        raise HostError(
            "This user has no home directory to put py-spy in", "uid %d is not in the user database" % euid, _ELSEWHERE
        ) from None
    return os.path.join(os.path.realpath(home), ".local", "libexec", NAME)


def find(wanted: Wanted) -> Optional[Found]:
    """The py-spy that is wanted; None when it has to be brought; HostError when its path cannot be trusted."""
    if wanted.executable:
        return _named(wanted.executable)
    expected, name = _expected(wanted), _name(wanted)
    with walk(_directory(wanted)) as place:
        fd = None if place.missing else open_file(place, name)
    if fd is None:
        return None
    with _closed_on_failure(fd):
        found = Found(_path(wanted), wanted.version, _examine(fd, _path(wanted)), fd)
        # Who samples another user's process executes it as that user: everybody has to be permitted to.
        permitted = os.fstat(fd).st_mode & 0o111 == 0o111
    if found.sha256 == expected and permitted:
        return found
    os.close(fd)
    return None


def check_place(wanted: Wanted, size: int) -> None:
    """HostError when a py-spy of ``size`` bytes could not be put here; asked before anything is transferred."""
    _expected(wanted)
    with _explained("py-spy cannot be put on this host"), walk(_directory(wanted)) as place:
        mount = os.statvfs("/proc/self/fd/%d" % place.fd)
        _refuse_noexec(mount, place.path)
        writable = os.access(".", os.W_OK | os.X_OK, dir_fd=place.fd)
    if not writable:
        why = "the file system is mounted read-only" if mount.f_flag & os.ST_RDONLY else "permission denied"
        raise HostError(
            "py-spy cannot be put on this host", "%s: %s" % (place.path, why), "use become, or %s" % _ELSEWHERE
        )
    free = (mount.f_bfree if os.geteuid() == 0 else mount.f_bavail) * mount.f_frsize
    if mount.f_blocks and free < size:  # some file systems do not count blocks at all
        raise HostError(
            "There is no space for py-spy",
            "%s: %d kB are free, %d kB are needed" % (place.path, free // 1024, size // 1024 + 1),
            "free some space, or %s" % _ELSEWHERE,
        )


def put(wanted: Wanted, gzipped: bytes) -> Found:
    """Put the py-spy that the controller sent in its place; on failure nothing of it is left."""
    expected, name = _expected(wanted), _name(wanted)
    made: List[str] = []
    with _explained("py-spy cannot be put on this host"), walk(_directory(wanted)) as place:
        try:
            with make(place, made) as directory:
                _sweep(directory)
                _write(directory, name, gzipped, expected)
        except BaseException:
            for path in reversed(made):
                _rmdir_if_empty(path)
            raise
    found = find(wanted)
    if found is None:
        raise HostError("py-spy was replaced just after it was put here", _path(wanted), "find out by whom")
    return found


def ours(directory: str) -> List[str]:
    """The paths that :func:`remove` removes: all versions we put; the directory when it is ours and holds no more."""
    with _explained("py-spy cannot be looked for"), walk(directory or default_directory(os.geteuid())) as place:
        if place.missing:
            return []
        with readable(place.fd) as listing:
            everything = sorted(os.listdir(listing))
        names = [name for name in everything if _is_ours(place.fd, name)]
        # A directory of another name may have been somebody's before we used it.
        whole = names == everything and os.path.basename(place.path) == NAME
        return [os.path.join(place.path, name) for name in names] + ([place.path] if whole else [])


def remove(directory: str) -> List[str]:
    """Remove what :func:`ours` names, and say what was removed."""
    removed = []
    for path in ours(directory):
        with _explained("py-spy cannot be removed"), walk(os.path.dirname(path)) as place:
            name = os.path.basename(path)
            if name == NAME:
                os.rmdir(name, dir_fd=place.fd)
            else:
                os.unlink(name, dir_fd=place.fd)
        removed.append(path)
    return removed


def _named(path: str) -> Found:
    """The executable that somebody named, its version asked from itself."""
    from ._executable import version_of

    names = components(path)
    with walk("/" + "/".join(names[:-1])) as place:
        fd = open_file(place, names[-1]) if names and not place.missing else None
    if fd is None:
        raise HostError("The named py-spy is not on this host", path, "correct pyspy_install_executable (executable)")
    with _closed_on_failure(fd):
        checksum = _examine(fd, path)
        return Found(path, version_of(fd, path), checksum, fd)


def _examine(fd: int, path: str) -> str:
    """The checksum of what is open as ``fd``; HostError when it could not be executed."""
    with _explained("py-spy cannot be read"):
        _refuse_noexec(os.statvfs(fd), path)
        digest = hashlib.sha256()
        offset = 0
        while True:
            piece = os.pread(fd, _PIECE, offset)
            if not piece:
                return digest.hexdigest()
            digest.update(piece)
            offset += len(piece)


def _expected(wanted: Wanted) -> str:
    """The checksum that the binary for this host has to have."""
    expected = wanted.sha256.get(machine())
    if expected is None:
        raise HostError(
            "There is no py-spy for this host's architecture",
            "%s; pinned are builds for %s" % (machine(), ", ".join(sorted(wanted.sha256))),
            "build py-spy here and name it with pyspy_install_executable (executable), or leave the host out",
        )
    return expected


def _directory(wanted: Wanted) -> str:
    return wanted.directory or default_directory(os.geteuid())


def _name(wanted: Wanted) -> str:
    if not _is_version(wanted.version):
        raise HostError("A version of py-spy is three numbers", repr(wanted.version)[:80], "use one like 0.4.3")
    return _PREFIX + wanted.version


def _path(wanted: Wanted) -> str:
    return os.path.join(os.path.normpath(_directory(wanted)), _name(wanted))


def _is_version(text: str) -> bool:
    numbers = text.split(".")
    return len(numbers) == 3 and all(number.isascii() and number.isdigit() for number in numbers)


def _is_ours(directory: int, name: str) -> bool:
    """A file that :func:`put` left: by its name (finished or temporary), and because it belongs to us alone."""
    finished, dot, random = name[1:].rpartition(".") if name.startswith(".") else (name, "", "")
    if not finished.startswith(_PREFIX) or not _is_version(finished[len(_PREFIX) :]) or (dot and len(random) != 16):
        return False
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1


def _refuse_noexec(mount: os.statvfs_result, path: str) -> None:
    if mount.f_flag & os.ST_NOEXEC:
        raise HostError("py-spy could not be executed there", path + " is on a file system mounted noexec", _ELSEWHERE)


def _write(directory: int, name: str, gzipped: bytes, expected: str) -> None:
    """Write ``name`` in ``directory``: whole and right, or not at all."""
    temporary = ".%s.%s" % (name, os.urandom(8).hex())
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600, dir_fd=directory)
    try:
        try:
            if _inflate(gzipped, fd) != expected:
                raise _damaged("its checksum is not the pinned one")
            os.fchmod(fd, 0o755)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        os.unlink(temporary, dir_fd=directory)
        raise
    os.fsync(directory)


def _inflate(gzipped: bytes, fd: int) -> str:
    """Write what ``gzipped`` holds to ``fd`` and return its checksum; never more than MAX_BINARY bytes."""
    stream = zlib.decompressobj(31)
    digest = hashlib.sha256()
    written = 0
    while not stream.eof:
        try:
            piece = stream.decompress(gzipped, _PIECE)
        except zlib.error as error:
            raise _damaged(str(error)) from None
        gzipped = stream.unconsumed_tail
        written += len(piece)
        if written > MAX_BINARY:
            raise _damaged("it holds more than %d MB" % (MAX_BINARY >> 20))
        if not (piece or gzipped or stream.eof):
            raise _damaged("it ends in the middle")
        digest.update(piece)
        while piece:
            piece = piece[os.write(fd, piece) :]
    return digest.hexdigest()


def _damaged(why: str) -> HostError:
    return HostError(
        "The py-spy that arrived is not the one that was sent", why, "run again; if it stays, look at the way"
    )


def _sweep(directory: int) -> None:
    """Remove what a killed :func:`put` left."""
    for name in os.listdir(directory):
        if name.startswith("." + _PREFIX) and _is_ours(directory, name):
            if time.time() - os.stat(name, dir_fd=directory).st_mtime > _STALE_SECONDS:
                os.unlink(name, dir_fd=directory)


def _rmdir_if_empty(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError:
        pass  # somebody else uses it by now


@contextmanager
def _closed_on_failure(fd: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.close(fd)
        raise


@contextmanager
def _explained(reason: str) -> Iterator[None]:
    """What the system refuses, as an answer."""
    try:
        yield
    except OSError as error:
        remedy = "free some space, or " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise HostError(reason, str(error), remedy + _ELSEWHERE) from None
