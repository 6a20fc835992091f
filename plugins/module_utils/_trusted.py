# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "trusted" of the host wing (private to the collection): paths that nobody else can change.

What we execute, and where we write it, is reached component by component from
the root directory, by descriptors, without following links. Each component has
to belong to root (or to the user we run as) and must not be writable by group
or others; else somebody could put a program of theirs in the place of ours.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import Iterator, List, NamedTuple, Optional, Tuple

from ._errors import HostError

_BARRED = "The way to py-spy is barred"
_ELSEWHERE = "set pyspy_install_dir (the option install_dir) to a directory"


class Place(NamedTuple):
    """As much of a path as is there: the deepest directory, held open (``O_PATH``), and the names below it."""

    fd: int
    path: str
    missing: Tuple[str, ...]


@contextmanager
def walk(directory: str) -> Iterator[Place]:
    """Go down to ``directory`` as far as it exists; HostError where a component cannot be trusted."""
    names = components(directory)
    fd, path = os.open("/", os.O_PATH | os.O_CLOEXEC), "/"
    try:
        check(os.fstat(fd), path)
        while names:
            below = step(fd, path, names[0])
            if below is None:
                break
            os.close(fd)
            fd, path = below, os.path.join(path, names.pop(0))
        yield Place(fd, path, tuple(names))
    finally:
        os.close(fd)


def open_file(place: Place, name: str) -> Optional[int]:
    """The regular file ``name`` in ``place``, open for reading and executing; None when it is not there."""
    path = os.path.join(place.path, name)
    try:
        check(os.stat(name, dir_fd=place.fd, follow_symlinks=False), path)
        # Not blocking, should it have become a named pipe since.
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place.fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostError("py-spy cannot be opened", "%s: %s" % (path, error.strerror), "check its permissions") from None
    try:
        found = os.fstat(fd)
        check(found, path)
        if not stat.S_ISREG(found.st_mode):
            raise HostError("What stands in py-spy's place is no file", path, "move it away")
    except BaseException:
        os.close(fd)
        raise
    return fd


@contextmanager
def make(place: Place, made: List[str]) -> Iterator[int]:
    """The whole of the walked path, open for reading; directories that were missing are made and noted in ``made``."""
    below, path = os.dup(place.fd), place.path
    try:
        for name in place.missing:
            above, parent = below, path
            path = os.path.join(parent, name)
            try:
                os.mkdir(name, 0o755, dir_fd=above)
                made.append(path)
                os.chmod(name, 0o755, dir_fd=above)  # whatever the umask is
            except FileExistsError:
                pass  # another run is as far as we are
            found = step(above, parent, name)
            if found is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            below = found
            os.close(above)
        with readable(below) as directory:
            yield directory
    finally:
        os.close(below)


@contextmanager
def readable(fd: int) -> Iterator[int]:
    """The directory held by ``fd`` (``O_PATH``) once more, for listing and syncing."""
    directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    try:
        yield directory
    finally:
        os.close(directory)


def check(found: os.stat_result, path: str) -> None:
    """HostError when what was found at ``path`` is a link, or could be changed by somebody else."""
    if stat.S_ISLNK(found.st_mode):
        real = os.path.realpath(path)
        raise HostError(
            "A symbolic link is in the way to py-spy",
            "%s leads to %s" % (path, real),
            "name the path without links in pyspy_install_dir or pyspy_install_executable: %s" % real,
        )
    user = os.geteuid()
    if found.st_uid not in (0, user):
        raise HostError(
            "Somebody else could replace py-spy",
            "%s belongs to the user with uid %d" % (path, found.st_uid),
            "chown it to %s, or %s whose every component does" % ("root" if user == 0 else "yourself", _ELSEWHERE),
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        # A directory with the sticky bit, such as /tmp, is everybody's on purpose.
        mend = "" if found.st_mode & stat.S_ISVTX else "chmod go-w %s, or " % path
        raise HostError(
            "Somebody else could replace py-spy",
            "%s is writable by group or others (mode %04o)" % (path, stat.S_IMODE(found.st_mode)),
            mend + _ELSEWHERE + " whose every component is writable by its owner only",
        )


def components(path: str) -> List[str]:
    """The names in an absolute path; HostError for anything but a plain one."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        path = "\0"
    names = [name for name in path.split("/") if name not in ("", ".")]
    if not path.startswith("/") or ".." in names or "\0" in path:
        raise HostError(
            "A path to py-spy has to be absolute and plain", repr(path)[:200], "give one like /opt/pyspy-fleet"
        )
    return names


def step(fd: int, path: str, name: str) -> Optional[int]:
    """The directory ``name`` in the one held by ``fd``; None when it is not there."""
    path = os.path.join(path, name)
    try:
        below = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostError(_BARRED, "%s: %s" % (path, error.strerror), _ELSEWHERE + " that can be reached") from None
    try:
        found = os.fstat(below)
        check(found, path)
        if not stat.S_ISDIR(found.st_mode):
            raise HostError(_BARRED, path + " is not a directory", _ELSEWHERE + " that can be reached")
    except BaseException:
        os.close(below)
        raise
    return below
