# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "bundle" of the controller wing (private to the collection): the host program as one file, and how it is fed.

``module_utils`` becomes a deterministic zip. Through a connection's stdin go a
line with three sizes, the zip, the JSON arguments and an optional payload; a
one-line loader on the other side puts the zip into memory and imports from there.
So nothing is written to the host for a pass.
"""

from __future__ import annotations

import importlib.util
import io
import json
import marshal
import shlex
import sys
import zipfile
from pathlib import Path

from ._errors import FleetError
from ._fields import printable
from ._wire import JsonObject

MARK = "@pyspy-fleet@"
LEFT = "@pyspy-fleet-left@"
NO_PYTHON = "@pyspy-fleet-no-python@"
#: The oldest Python on hosts.
HOST_PYTHON = (3, 8)
#: One answer is smaller than this (characters): captures come in chunks of 4 MiB, dumps whole in 32 MiB at most.
MAX_ANSWER = 48 * 1024 * 1024

_PACKAGE = "pyspy_fleet_host"
#: Argument specs of the faces: only the controller needs them.
_NOT_FOR_HOSTS = frozenset({"_arguments.py", "__init__.py"})
_LOADER = (
    "import os,sys\n"
    "r=sys.stdin.buffer\n"
    "z,a,p=map(int,r.readline().split())\n"
    "f=os.memfd_create('pyspy-fleet')\n"
    "open(f,'wb',closefd=False).write(r.read(z))\n"
    "sys.path.insert(0,'/proc/self/fd/%d'%f)\n"
    f"from {_PACKAGE}._program import serve\n"
    "serve(r.read(a),r,p)\n"
)
#: Tried in turn where the user set no interpreter; each is asked for its version, because a name may be a
#: version manager's shim that cannot run anything, or too old.
_CANDIDATES = (
    "/usr/bin/python3 python3 /usr/local/bin/python3 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8"
)


def bundle() -> bytes:
    """The host program as a zip; by hand: ``python3 x.pyz info``."""
    return _BUNDLE


def _make_bundle() -> bytes:
    """The same sources and Python give the same bytes."""
    folder = Path(__file__).parent.parent / "module_utils"
    files = sorted(path for path in folder.glob("_*.py") if path.name not in _NOT_FOR_HOSTS)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "__main__.py", f"from {_PACKAGE}._program import main\n\nmain()\n".encode())
        _add(archive, f"{_PACKAGE}/__init__.py", b"")
        for path in files:
            name, source = f"{_PACKAGE}/{path.name}", path.read_bytes()
            _add(archive, name, source)
            _add(archive, name + "c", _compiled(name, source))
    return buffer.getvalue()


def _compiled(name: str, source: bytes) -> bytes:
    """A ``.pyc`` that hosts with the controller's version of Python take instead of the source: a start costs half.

    Marked as not to be compared with its source; others see by its first bytes that it is not for them.
    """
    code = compile(source, name, "exec", dont_inherit=True, optimize=2)
    # Version 2 of the format: later ones depend on which objects happen to be shared in this process.
    return importlib.util.MAGIC_NUMBER + b"\1\0\0\0" + bytes(8) + marshal.dumps(code, 2)


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, data)


#: Made on import, which Ansible does once, before it forks a worker for each host and task: they inherit it.
_BUNDLE = _make_bundle()


def envelope(operation: str, arguments: JsonObject, payload: bytes = b"") -> bytes:
    """What goes through stdin for one operation."""
    program, words = bundle(), json.dumps({**arguments, "operation": operation}).encode()
    return b"%d %d %d\n" % (len(program), len(words), len(payload)) + program + words + payload


def command(interpreter: str | None, redirect: str = "") -> str:
    """The shell command that reads an envelope from stdin, or from the file ``redirect``.

    ``interpreter`` is the user's choice; None tries the usual names.
    """
    source = f" < {shlex.quote(redirect)}" if redirect else ""
    if interpreter is not None:
        return f"{shlex.quote(interpreter)} -I -S -c {shlex.quote(_LOADER)}{source}"
    check = shlex.quote(f"import sys;sys.exit(sys.version_info<{HOST_PYTHON})")
    return (
        f"for p in {_CANDIDATES}; do "
        f'if "$p" -I -S -c {check} </dev/null >/dev/null 2>&1; then '
        f'"$p" -I -S -c {shlex.quote(_LOADER)}{source}; exit $?; fi; '
        f"done; echo {NO_PYTHON}; exit 127"
    )


def parse_answer(stdout: str, stderr: str, code: int, interpreter: str | None) -> JsonObject:
    """The host program's answer out of what the connection gave; FleetError where there is none, or it is an error."""
    if len(stdout) > MAX_ANSWER:
        raise FleetError("The host answered too much", f"{len(stdout)} characters", "look at the host by other means")
    marked = stdout.rfind("\n" + MARK)
    if marked < 0:
        raise _no_answer(stdout, stderr, code, interpreter)
    try:
        answer = json.loads(stdout[marked + 1 + len(MARK) :].partition("\n")[0])
    except (ValueError, RecursionError) as error:
        raise FleetError(
            "The host's answer cannot be read", str(error), "the connection may have broken: try again"
        ) from error
    if not isinstance(answer, dict):
        raise FleetError("The host's answer cannot be read", "not an object", "look at the host by other means")
    left = _left(stdout[marked:])
    return answer if left is None else {**answer, "left": left}


def _left(stdout: str) -> object:
    """What the host found left of a recording, after it had given the last of it away; None where it did not say."""
    _answer, said, line = stdout.partition("\n" + LEFT)
    try:
        return json.loads(line.partition("\n")[0]) if said else None
    except (ValueError, RecursionError):
        return None  # the connection broke: nothing was read back


def _no_answer(stdout: str, stderr: str, code: int, interpreter: str | None) -> FleetError:
    words = printable(" ".join((stderr.strip() or stdout.strip()).split())[-300:]) or f"exit code {code}, no output"
    wanted = ".".join(map(str, HOST_PYTHON))
    if NO_PYTHON in stdout:
        return FleetError(
            f"No Python {wanted} or newer on this host",
            f"tried {_CANDIDATES}",
            "install one, or name it with ansible_python_interpreter",
        )
    if interpreter is not None and (code in (126, 127) or "No such file" in words):
        return FleetError(
            f"The interpreter {interpreter} does not run on this host",
            words,
            "set ansible_python_interpreter to another one",
        )
    if "a password is required" in words or "Missing sudo password" in words:
        return FleetError("Becoming another user needs a password", words, "give it with -K (--ask-become-pass)")
    if "memfd_create" in words or "SyntaxError" in words or "__future__" in words:
        return FleetError(
            f"The interpreter of this host is older than Python {wanted}",
            words,
            "set ansible_python_interpreter to a newer one",
        )
    return FleetError(
        "The host program gave no answer", words, "run the same with -vvv; see that Python starts there with become"
    )


def needs_terminal(stdout: str, stderr: str) -> bool:
    """Whether sudo refused to run without a terminal (``requiretty`` in sudoers): then stdin cannot be used."""
    words = stdout + stderr
    return "must have a tty" in words or "no tty present" in words


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(bundle())
