# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "program" of the host wing (private to the collection): the front: operation and arguments in, JSON out.

By hand: ``python3 -I -S pyspy-fleet-host.pyz info '{"selectors": {"pattern": "gunicorn"}}'``.
From the controller: :func:`serve` reads one JSON object from a stream and answers with one line
that begins with :data:`MARK`, so that greetings of shells and warnings of sudo do no harm.

Each operation imports only what it needs: a host pays for every import in every pass.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, BinaryIO, Callable, Dict, List, Optional

from ._errors import HostError, unexpected

if TYPE_CHECKING:
    from ._recording import Request
    from ._state import Folder

Answer = Dict[str, object]
Payload = Callable[[], bytes]

MARK = "@pyspy-fleet@"
#: Begins the line after the answer that delivered the last of a recording: what is left of it, as JSON.
LEFT = "@pyspy-fleet-left@"
#: Most bytes of captures in one answer; as base64 they become 4 MiB.
CHUNK = 3 * 1024 * 1024


def _info(data: Answer, _payload: Payload) -> Answer:
    from ._selection import look
    from ._selectors import Selectors

    selectors = data.get("selectors", {})
    selection = look(Selectors.from_wire(selectors if isinstance(selectors, dict) else {}))
    return {"selection": selection.to_wire()}


def _start(data: Answer, payload: Payload) -> Answer:
    from ._start import start

    return start(data, payload, _archive())


def _dump(data: Answer, payload: Payload) -> Answer:
    from ._dumping import dump

    return dump(data, payload)


def _collect(data: Answer, _payload: Payload) -> Answer:
    """One chunk of a finished recording, which :func:`_afterwards` deletes once the last one is written."""
    from ._recording import RESULT, Request, gone, require, wait_for_result

    folder = require(str(data.get("recording", "")))
    state = wait_for_result(folder, min(10.0, float(str(data.get("patience", 0)))))
    request = Request.read(folder)
    answer: Answer = {"phase": state, "run": request.run if request else ""}
    if state == "recording" and request is not None:
        import time

        answer["ends_in"] = max(0.0, request.ends_at - time.monotonic())
    elif state == "broken":
        answer["result"] = _broken(folder, request)
    elif state == "done":
        import base64

        offset = int(str(data.get("offset", 0)))
        try:
            with open(folder.file(RESULT), "rb") as handle:
                handle.seek(offset)
                chunk = handle.read(CHUNK)
                total = os.fstat(handle.fileno()).st_size
        except FileNotFoundError:
            raise gone(folder.identity) from None
        answer.update(data=base64.b64encode(chunk).decode(), next=offset + len(chunk), total=total)
    return answer


def _broken(folder: Folder, request: Optional[Request]) -> Answer:
    """What stands for the result that its keeper could not write."""
    import time

    from ._credentials import ptrace_scope
    from ._evidence import of_broken
    from ._recording import FAILURE

    error = HostError(
        "The recording ended without a result",
        "its keeper was killed, or the host is out of memory or space",
        "look at the host's log around that time, then record again",
    )
    now = time.time()
    evidence = of_broken(request, ptrace_scope())
    told = folder.read_json(FAILURE) or error.to_wire()
    return {"error": told, "began": now, "ended": now, "captures": [], "evidence": evidence}


def _list(_data: Answer, _payload: Payload) -> Answer:
    import time

    from ._recording import Request, phase
    from ._state import folders

    rows = []
    for folder in folders():
        request = Request.read(folder)
        ended = 0.0 if request is None else max(0.0, time.monotonic() - request.ends_at)
        run = request.run if request else ""
        row = {"id": folder.identity, "phase": phase(folder, request), "run": run, "ended_ago": ended}
        if folder.exists():  # else it was collected while we looked, and seemed broken
            rows.append(row)
    return {"recordings": rows}


def _install(data: Answer, payload: Payload) -> Answer:
    from ._binary import check_place, find, machine
    from ._errand import bring, wanted

    binary, size = wanted(data), int(str(data.get("size", 0)))
    if data.get("check") is True:
        found, brought = find(binary), False
        if found is None:
            check_place(binary, size)
    else:
        found, brought = bring(binary, size, payload())
    if found is None:
        return {"need_binary": {"architecture": machine()}}
    os.close(found.fd)
    return {"path": found.path, "version": found.version, "sha256": found.sha256, "binary_changed": brought}


def _remove(data: Answer, _payload: Payload) -> Answer:
    from ._binary import ours, remove
    from ._errand import wanted

    directory = wanted(data).directory
    return {"removed": ours(directory) if data.get("check") is True else remove(directory)}


def _cleanup(data: Answer, _payload: Payload) -> Answer:
    from ._cleanup import cleanup

    return cleanup(force=data.get("force") is True, dry_run=data.get("check") is True)


def _lease(data: Answer, _payload: Payload) -> Answer:
    from ._lease import operate

    return operate(data)


_OPERATIONS: Dict[str, Callable[[Answer, Payload], Answer]] = {
    "info": _info,
    "start": _start,
    "dump": _dump,
    "collect": _collect,
    "list": _list,
    "install": _install,
    "remove": _remove,
    "cleanup": _cleanup,
    "lease": _lease,
}


def serve(arguments: bytes, stream: BinaryIO, payload_size: int) -> None:
    """Answer one operation on stdout; ``stream`` holds ``payload_size`` more bytes, read if it wants them."""
    os.umask(0o077)  # files get modes of their own; nothing that is forgotten is anybody's to read
    data: Answer = {}
    answer: Answer
    try:
        data = _read_arguments(arguments)
        answer = dict(_answer(data, lambda: stream.read(payload_size)), ok=True)
    except HostError as error:
        answer = {"ok": False, "error": error.to_wire()}
    except Exception as error:  # whatever it is: the controller needs one line, not a traceback
        answer = {"ok": False, "error": unexpected(error).to_wire()}
    answer["python"] = sys.executable
    _write(("\n%s%s\n" % (MARK, json.dumps(answer))).encode())
    _afterwards(data, answer)


def _read_arguments(arguments: bytes) -> Answer:
    try:
        data = json.loads(arguments)
    except ValueError as error:
        raise HostError("The arguments are not JSON", str(error), "the connection may have broken: try again") from None
    if not isinstance(data, dict):
        raise HostError("The arguments are not a JSON object", "", "see the architecture page")
    return data


def _answer(data: Answer, payload: Payload) -> Answer:
    operation = _OPERATIONS.get(str(data.get("operation")))
    if operation is None:
        raise HostError("Unknown operation %r" % data.get("operation"), "", "one of: " + ", ".join(sorted(_OPERATIONS)))
    return operation(data, payload)


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def _afterwards(data: Answer, answer: Answer) -> None:
    """After the last chunk went out: the controller has it, so the host forgets it.

    Not before: a connection that broke while writing raises above, and the captures stay until the keep deadline.
    """
    finished = answer.get("phase") == "broken" or ("next" in answer and answer["next"] == answer["total"])
    if data.get("operation") != "collect" or not finished or data.get("keep") is True:
        return
    from ._detach import dismiss
    from ._evidence import left_behind
    from ._recording import owners
    from ._state import Folder, locked

    try:
        folder = Folder(str(data.get("recording")))
        with locked():
            found = owners(folder)
            dismiss(folder, found)
            folder.remove()
        _write(("%s%s\n" % (LEFT, json.dumps(left_behind(folder, found)))).encode())
    except HostError:
        pass  # the answer is out already; the keep deadline removes what is left


def _archive() -> str:
    """The zip this program runs from."""
    return __file__.rpartition("/pyspy_fleet_host/")[0]


def main() -> None:
    """By hand and from units: ``<program> <operation> [JSON]``, ``keep <id>``, ``expire <id>``."""
    os.umask(0o077)
    try:
        _main(sys.argv[1:])
    except HostError as error:
        raise SystemExit("%s: %s" % (error.reason, error.detail)) from None


def _main(words: List[str]) -> None:
    if len(words) == 2 and words[0] == "keep":
        from ._keeper import keep
        from ._state import Folder

        keep(Folder(words[1]), {})
    elif len(words) == 2 and words[0] == "expire":
        from ._detach import expire
        from ._state import Folder

        expire(Folder(words[1]))
    elif 1 <= len(words) <= 2:
        data = _read_arguments(words[1].encode("utf-8", "surrogateescape")) if len(words) == 2 else {}
        serve(json.dumps(dict(data, operation=words[0])).encode(), sys.stdin.buffer, 0)
    else:
        raise SystemExit("usage: pyspy-fleet-host.pyz %s [JSON]" % "|".join(sorted(_OPERATIONS)))
