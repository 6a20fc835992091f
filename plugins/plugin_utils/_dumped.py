# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "dumped" of the controller wing (private to the collection): from the dumps of a host to files of the run."""

from __future__ import annotations

import json
from dataclasses import replace

from ._bodies import MAX_UNPACKED_BYTES, decoded, free_name, unpacked
from ._dump_text import text
from ._dumps import Dump
from ._errors import FleetError, one_line
from ._fields import WireError
from ._run import Run
from ._wire import Capture, HostRecord, read_command_line

ENDING = ".json"


def store(run: Run, record: HostRecord, data: object) -> tuple[HostRecord, list[Dump]]:
    """Write the dumps of ``record``, whose bodies are in ``data``; the record with their files, and the dumps.

    What is written was read before, redacted and bounded, so that only what was understood lies in the folder.
    """
    bodies = decoded(data) if data else b""
    captures: list[Capture] = []
    dumps: list[Dump] = []
    offset, room = 0, MAX_UNPACKED_BYTES
    taken = run.files(record.host)
    for capture in record.captures:
        body = bodies[offset : offset + capture.size]
        offset += capture.size
        if capture.outcome == "profiled":
            try:
                document = unpacked(body, room)
                room -= len(document)
                capture, dump = _read(record.host, capture, document)
            except FleetError as error:
                capture = _unreadable(capture, error)
            else:
                capture = replace(capture, file=free_name(capture, ENDING, taken))
                taken.add(capture.file)
                _write(run, record.host, capture, dump)
                dumps.append(dump)
        captures.append(capture)
    return replace(record, captures=tuple(captures)), dumps


def _unreadable(capture: Capture, error: FleetError) -> Capture:
    return replace(
        capture,
        outcome="failed",
        reason="The dump cannot be read",
        detail=one_line(error.reason, error.detail, ""),
        remedy="dump again; see the notes",
    )


def _read(host: str, capture: Capture, document: bytes) -> tuple[Capture, Dump]:
    """The dumps, and the capture with the command line that was sent with them, redacted."""
    if not capture.is_dump:
        raise WireError("A host sent something else than a dump", capture.measure.kind)
    try:
        content = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise WireError("A host sent a dump that is no JSON", str(error)) from error
    if not isinstance(content, dict) or not isinstance(content.get("looks"), list):
        raise WireError("A host sent a dump without looks", type(content).__name__)
    words = content.get("command_line")
    if words is not None:
        capture = replace(capture, command_line=read_command_line(words))
    return capture, Dump.from_wire({**content, "host": host, "pid": capture.process.pid, "name": capture.process.name})


def _write(run: Run, host: str, capture: Capture, dump: Dump) -> None:
    run.write_capture(host, capture.file, json.dumps(dump.to_json()).encode())
    lines = text(dump, capture)
    run.write_capture(host, capture.file.removesuffix(ENDING) + ".txt", lines.encode("utf-8", "replace"))


def load(run: Run, host: str, capture: Capture) -> Dump:
    """A dump of the run's folder."""
    try:
        return Dump.from_wire(json.loads(run.read_capture(host, capture.file)))
    except (ValueError, RecursionError) as error:
        raise FleetError("A dump cannot be read", f"{capture.file}: {error}", "dump again") from error
