# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "interpreters" of the host wing (private to the collection): is it CPython, which version, can py-spy read it.

Judged from names and the list of mapped files; nothing of the process is run and none of its memory read.
The kernel's own facts (executable, mapped libraries) count before what
the process says of itself (arguments, comm), which is used only where the facts are hidden from us.
"""

from __future__ import annotations

import functools
import re
import sys
from typing import NamedTuple, Optional, Pattern, Sequence, Tuple

from ._procfs import ProcessDir, parse_maps, without_deleted


class Interpreter(NamedTuple):
    """``version`` is like "3.11", None when unknown; ``guess``: judged by what the process says of itself.

    ``unsupported`` says why py-spy cannot read it, "" when nothing speaks against it.
    """

    implementation: str
    version: Optional[str]
    embedded: bool
    guess: bool
    unsupported: str


#: Names of executables: python, python3, python3.11, python3.8m, python3.11-dbg, platform-python3.6, .python3-wrapped
_EXECUTABLE = re.compile(r"\.?(?:platform-)?python(\d(?:\.\d{1,3})?)?((?:-?dbg|[dmut])*)(?:-wrapped)?\Z")
_PYPY = re.compile(r"\.?pypy(\d(?:\.\d{1,3})?)?(?:-c)?(?:-wrapped)?\Z")
#: libpython3.11.so.1.0, libpython3.8m.so, libpython3.13t.so.1.0; without a minor version it is only a signpost.
_LIBRARY = re.compile(r"libpython(\d\.\d{1,3})([dmut]*)\.so(?:\.|\Z)")
_PYPY_LIBRARY = re.compile(r"libpypy(\d\.\d{1,3})?-c\.so")
#: Extension modules: …/lib-dynload/_json.cpython-311-x86_64-linux-gnu.so
_EXTENSION = re.compile(r"\.cpython-(\d)(\d{1,3})([dmut]*)-[^/]*\.so\Z")
#: Maps without these need not be taken apart: on a large host most are of programs that have nothing to do with
#: Python. Looked for one by one, for that takes a tenth of the time of an expression for all three.
_SIGNS = (b"libpython", b"libpypy", b".cpython-")
#: Process titles of managers that are always Python: all that an ordinary user sees of them.
_TITLE = re.compile(r"gunicorn: |\[celeryd?[: ]|uWSGI (?:master|worker)|rq:worker:|granian (?:asgi|asginl|rsgi|wsgi) ")

_PYPY_REASON = "PyPy: py-spy reads CPython only"
_FREE_THREADED_REASON = "free-threaded Python: py-spy cannot read it"
#: The newest Python 3 that each py-spy reads, by its own table of versions (src/python_spy.rs). A py-spy that is not
#: here is newer than this table: it is given the benefit of the doubt.
NEWEST_READ = {"0.4.0": 13, "0.4.1": 13, "0.4.2": 14, "0.4.3": 15}
#: The pinned one.
PINNED = "0.4.3"
#: The oldest that any of them reads, from the same table: the minor version of each major one.
_OLDEST_READ = {2: 3, 3: 3}

#: py-spy opens the library by its path, and "No such file or directory (os error 2)" is all it says then (measured,
#: 0.4.3). For a replaced executable it has /proc/<pid>/exe, which stays.
_REPLACED = re.compile(rb"/libpython\d\.\d+[a-z]*\.so[^/\n]* \(deleted\)$", re.MULTILINE)
_REPLACED_REASON = (
    "its libpython was replaced or removed on disk while it ran (an upgrade?), and py-spy needs that file: restart it"
)
#: An address beyond 4 GiB: every 64-bit process has its stack there, and the kernel writes eight digits at least.
_WIDE_ADDRESS = re.compile(rb"^[0-9a-f]{9}", re.MULTILINE)
#: py-spy is brought for the userland that runs this program.
_OUR_BITS = 64 if sys.maxsize > 2**32 else 32


def judge(
    exe: Optional[str], comm: str, argv: Sequence[str], mapped: Optional[Sequence[str]] = None
) -> Optional[Interpreter]:
    """What runs there; None when it is not Python, as far as these facts go.

    ``exe`` is None when it may not be known, ``mapped`` when it may not or was not asked for.
    """
    if exe is None:
        return _by_claim(comm, argv)
    name = _base(without_deleted(exe))
    libraries = [_base(path) for path in mapped or ()]
    named = _by_executable(name, guess=False)
    return _by_library(libraries) if named is None else _refined(named, libraries)


def undecided(verdict: Optional[Interpreter]) -> bool:
    """Would the mapped libraries tell more?"""
    return verdict is None or (verdict.version is None and not verdict.guess)


def identify(process: ProcessDir, comm: str, argv: Sequence[str]) -> Optional[Interpreter]:
    """What runs in a process that is held; its map is read only where the rest does not tell."""
    exe = process.exe()
    verdict = judge(exe, comm, argv)
    if exe is not None and undecided(verdict):
        maps = process.maps()
        if maps is not None and any(sign in maps for sign in _SIGNS):
            verdict = judge(exe, comm, argv, parse_maps(maps))
    return verdict


@functools.lru_cache(maxsize=256)  # all processes of a host are of a few kinds
def against(found: Interpreter, pyspy: str) -> Interpreter:
    """The same, with the reason why a py-spy of that version cannot read that Python, if there is one."""
    if found.unsupported or found.version is None:
        return found
    major, minor = (int(number) for number in found.version.split("."))
    oldest = _OLDEST_READ.get(major)
    if oldest is None or minor < oldest:
        reason = "Python %s: py-spy reads 2.3 to 2.7, and 3.3 or newer" % found.version
    elif major == 3 and minor > NEWEST_READ.get(pyspy, minor):
        reason = "Python %s: py-spy %s reads 3.%d at most" % (found.version, pyspy, NEWEST_READ[pyspy])
    else:
        return found
    return found._replace(unsupported=reason)


def fault(maps: bytes) -> str:
    """Why py-spy cannot read a process with this map of memory, whatever its version; "" when it can."""
    if not maps:
        return ""
    bits = 64 if _WIDE_ADDRESS.search(maps) else 32
    if bits != _OUR_BITS:
        return "%d-bit Python: the py-spy of this host reads %d-bit Python only" % (bits, _OUR_BITS)
    return _REPLACED_REASON if b" (deleted)" in maps and _REPLACED.search(maps) else ""


def is_python_name(name: str) -> bool:
    """Is this what an interpreter's executable is called?"""
    return bool(_EXECUTABLE.match(name) or _PYPY.match(name))


def _by_claim(comm: str, argv: Sequence[str]) -> Optional[Interpreter]:
    """An ordinary user may not know another user's executable: what the process calls itself has to do."""
    for name in (_base(argv[0]) if argv else "", comm):
        verdict = _by_executable(name, guess=True)
        if verdict is not None:
            return verdict
    if argv and _TITLE.match(argv[0]):
        return Interpreter("CPython", None, embedded=False, guess=True, unsupported="")
    return None


def _by_executable(name: str, guess: bool) -> Optional[Interpreter]:
    pypy = _PYPY.match(name)
    if pypy:
        return Interpreter("PyPy", pypy.group(1), embedded=False, guess=guess, unsupported=_PYPY_REASON)
    match = _EXECUTABLE.match(name)
    if not match:
        return None
    version = match.group(1) if match.group(1) and "." in match.group(1) else None
    return _cpython(version, match.group(2).replace("dbg", ""), embedded=False, guess=guess)


def _by_library(libraries: Sequence[str]) -> Optional[Interpreter]:
    """Python inside another program, as in uWSGI."""
    for name in libraries:
        pypy = _PYPY_LIBRARY.match(name)
        if pypy:
            return Interpreter("PyPy", pypy.group(1), embedded=True, guess=False, unsupported=_PYPY_REASON)
    found = _version(libraries, _LIBRARY) or _version(libraries, _EXTENSION)
    if found:
        return _cpython(found[0], found[1], embedded=True, guess=False)
    return None


def _refined(named: Interpreter, libraries: Sequence[str]) -> Interpreter:
    """An executable called plain ``python3`` does not tell its version; its libraries do."""
    found = _version(libraries, _LIBRARY) or _version(libraries, _EXTENSION)
    if named.implementation != "CPython" or named.version is not None or found is None:
        return named
    return _cpython(found[0], found[1], embedded=False, guess=False)


def _version(libraries: Sequence[str], pattern: Pattern[str]) -> Optional[Tuple[str, str]]:
    """Version and build flags by the first library that tells them."""
    for name in libraries:
        match = pattern.search(name)
        if match:
            parts = match.groups()
            return ".".join(parts[:-1]), parts[-1]
    return None


def _cpython(version: Optional[str], flags: str, embedded: bool, guess: bool) -> Interpreter:
    return Interpreter("CPython", version, embedded, guess, _FREE_THREADED_REASON if "t" in flags else "")


def _base(path: str) -> str:
    return path.rpartition("/")[2]
