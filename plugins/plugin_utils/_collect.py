# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "collect" of the controller wing (private to the collection): from a recording on a host to files of the run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import NamedTuple

from ansible.utils.display import Display

from ._bodies import MAX_HOST_BYTES, MAX_UNPACKED_BYTES, decoded, free_name, unpacked
from ._errors import FleetError, one_line
from ._fields import Fields, WireError
from ._formats._speedscope import is_empty, parse, write
from ._graphs import render_host, render_target
from ._host import HostAction, refuse_orphans
from ._passes import evidence
from ._run import Run
from ._wire import Capture, ErrorText, Evidence, HostRecord, JsonObject

#: The line before the captures: some kilobytes for each target.
_MAX_HEAD_BYTES = 4 * 1024 * 1024
#: Answers of one host; they bring 3 MiB each.
_MAX_PASSES = 100
#: No window is longer (seconds).
_LONGEST_WINDOW = 3600.0
#: How long the host may wait within one pass for a recording that is about to finish (seconds).
_PATIENCE = 8.0
#: A live controller collects at once; a recording that waits longer than this has lost its controller (seconds).
ORPHANED_AFTER = 30.0

_NO_STACK = "no sample has a stack, so that there is nothing to show"

#: What ansible-playbook hands on to its workers after Ctrl-C, one right after the other.
_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM)


def wait_for_window(run: Run, ends: float) -> None:
    """Sleep on the controller until ``ends`` (seconds since the epoch); once per run, say what Ctrl-C means."""
    if ends <= time.time():
        return
    # Opened before it is needed: on Ctrl-C the main process may be gone before this worker is.
    terminal = _terminal()
    previous = {int(number): signal.getsignal(number) for number in _INTERRUPTIONS}

    def interrupted(number: int, frame: FrameType | None) -> None:
        for other in previous:
            signal.signal(other, signal.SIG_IGN)  # they come together, and the second would cut us off
        if terminal is not None and run.claim("interrupted"):
            with contextlib.suppress(OSError):  # somebody closed the terminal
                os.write(terminal, _advice(run.name).encode())
        handler = previous[number]
        if callable(handler):
            handler(number, frame)

    for number in previous:
        signal.signal(number, interrupted)
    try:
        if run.claim("announced"):
            _announce(ends)
        # A clock that is set back meanwhile does not make the window longer than any can be.
        time.sleep(min(max(0.0, ends - time.time()), _LONGEST_WINDOW))
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if terminal is not None:
            os.close(terminal)
    refuse_orphans()


def _advice(name: str) -> str:
    return (
        "\nInterrupted: the recordings go on until their deadline on the hosts, which then\n"
        "put themselves back and keep the captures for 15 minutes (pyspy_keep).\n"
        "With the same -i, -l and -b, to fetch the captures later, or to end the recordings now:\n"
        f"  ansible-playbook pyspy.fleet.collect -e pyspy_collect_run={name}\n"
        "  ansible-playbook pyspy.fleet.cleanup -e pyspy_cleanup_force=true\n"
    )


def _announce(ends: float) -> None:
    """Say how long the window is open. A worker that is killed while it hands a line on would hang the whole run."""
    until = time.strftime("%H:%M:%S", time.localtime(ends))
    signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTIONS)
    try:
        Display().display(
            f"The window is open until {until}. After Ctrl-C the recordings go on until then on the hosts."
        )
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTIONS)


def _terminal() -> int | None:
    """Where the main process shows errors, opened anew: a worker's own output goes nowhere."""
    for stream in (2, 1):
        try:
            return os.open(f"/proc/{os.getppid()}/fd/{stream}", os.O_WRONLY | os.O_APPEND | os.O_NOCTTY)
        except OSError:
            continue
    return None


def collect(action: HostAction, run: Run, record: HostRecord) -> HostRecord:
    """Fetch the recording of ``record`` and write its captures; the record as it then is (also written)."""
    record = _take(run, record, _fetch(action.ask, record.recording))
    action.keep(run, record)
    render_host(run, record.host)
    return record


def require_result(record: HostRecord) -> None:
    """FleetError where the host could not make a result; its record, with the evidence, is written already."""
    if record.status == "failed" and record.error is not None:
        raise FleetError(record.error.reason, record.error.detail, record.error.remedy)


class _Fetched(NamedTuple):
    """A recording as it came: the result's head, the compressed captures one after the other, what is left of it."""

    head: JsonObject
    bodies: bytes = b""
    left: object = None


def _fetch(ask: Callable[[str, JsonObject], JsonObject], recording: str) -> _Fetched:
    """All chunks of a finished recording, or what a host has to say of a broken one."""
    if not re.fullmatch("[0-9a-f]{1,64}", recording):
        raise WireError("A host named a recording that cannot be one", recording, "record again")
    data = b""
    give_up = 0.0
    for _pass in range(_MAX_PASSES):
        answer = ask("collect", {"recording": recording, "offset": len(data), "patience": _PATIENCE})
        fields = Fields(answer, "answer to collect")
        if fields.text("phase") == "broken":
            return _Fetched(_object(fields.value("result")), left=fields.value("left"))
        if fields.text("phase") == "recording":
            ends_in = min(fields.number("ends_in"), _LONGEST_WINDOW)
            give_up = give_up or time.monotonic() + ends_in + 60
            if time.monotonic() > give_up:
                break
            time.sleep(ends_in + 0.1)
            continue
        data += decoded(fields.value("data"))
        if _is_whole(data, fields):
            head, bodies = _head_and_bodies(data)
            return _Fetched(head, bodies, fields.value("left"))
    raise FleetError("The recording does not end", f"recording {recording}", "end it with the cleanup playbook")


def _is_whole(data: bytes, fields: Fields) -> bool:
    total = fields.integer("total")
    if total > MAX_HOST_BYTES:
        raise FleetError(
            "The captures of this host are too large to take over",
            f"{total} bytes",
            "shorten the window or lower the rate",
        )
    if len(data) > total or len(data) != fields.integer("next"):
        raise WireError("A host sent a capture with a piece missing", f"{len(data)} of {total} bytes", "record again")
    return len(data) == total


def _head_and_bodies(data: bytes) -> tuple[JsonObject, bytes]:
    head, _line_end, bodies = data.partition(b"\n")
    if len(head) > _MAX_HEAD_BYTES:
        raise WireError("A host sent a result that cannot be read", f"a head of {len(head)} bytes", "record again")
    try:
        content = json.loads(head)
    except (ValueError, RecursionError) as error:
        raise WireError("A host sent a result that cannot be read", str(error), "record again") from error
    return _object(content), bodies


def _object(data: object) -> JsonObject:
    if not isinstance(data, dict):
        raise WireError("A host sent a result that cannot be read", "not an object", "record again")
    return data


def _take(run: Run, record: HostRecord, fetched: _Fetched) -> HostRecord:
    head, bodies, left = fetched
    fields = Fields(head, "result")
    captures: list[Capture] = []
    offset, room = 0, MAX_UNPACKED_BYTES
    taken = run.files(record.host)
    for row in fields.rows("captures"):
        capture = replace(Capture.from_wire(row), file="", labels=())
        if capture.outcome == "profiled":
            capture, size = _store(run, record, capture, bodies[offset : offset + capture.size], room, taken)
            taken.add(capture.file)
            room -= size
        offset += capture.size
        captures.append(capture)
    error = head.get("error")
    record = replace(
        record,
        status="collected" if error is None else "failed",
        began=fields.moment("began"),
        ended=fields.moment("ended"),
        evidence=evidence(record.evidence, Evidence.from_wire({**_object(fields.value("evidence")), "left": left})),
        captures=record.captures + tuple(captures),
        error=None if error is None else ErrorText.from_wire(error),
    )
    for capture in captures:
        if capture.file:
            render_target(run, record, capture)
    return record


def _store(
    run: Run, record: HostRecord, capture: Capture, body: bytes, room: int, taken: set[str]
) -> tuple[Capture, int]:
    """Write one capture, read and written anew, so that only what was understood lies in the folder.

    Also tells how much it was when unpacked: ``room`` at most.
    """
    size = 0
    try:
        if capture.is_dump:
            raise WireError("A host sent a dump in place of a recording")
        text = unpacked(body, room)
        size = len(text)
        document = parse(text)
        data = write(document, f"{record.host} {capture.process.name}")
    except FleetError as error:
        failed = replace(
            capture,
            outcome="failed",
            reason="The capture cannot be read",
            detail=one_line(error.reason, error.detail, ""),
            remedy="record again; see the notes",
        )
        return failed, size
    if is_empty(document):
        # Of a measure of its own it would be a picture in which nothing has a share.
        return replace(capture, outcome="empty", samples=0, notes=(*capture.notes, _NO_STACK)), size
    name = free_name(capture, ".speedscope.json", taken, record.recording)
    run.write_capture(record.host, name, data)
    return replace(capture, file=name), size
