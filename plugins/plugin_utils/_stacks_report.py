# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "stacks_report" of the controller wing (private to the collection): all dumps of a run, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ._dump_text import looks_text
from ._dumped import load
from ._dumps import Dump
from ._errors import FleetError
from ._render._text import names, plural
from ._run import Run
from ._stacks import Branch, Group, groups, plain, tree
from ._stacks_text import Screen, screen
from ._wire import Capture, HostRecord, JsonObject

#: Groups in the manifest, and members of each; the hosts' own files have them all.
MOST_GROUPS, MOST_MEMBERS = 200, 200

#: What a library is called that runs many greenlets in one thread, and how its files are known.
_GREENLETS = {"gevent": "gevent/", "eventlet": "eventlet/"}


@dataclass(frozen=True)
class Stacks:
    """Where the threads of the fleet are: groups and tree in the order that was asked for, and the first screen."""

    order: str
    groups: list[Group]
    tree: Branch
    screen: Screen


def read(run: Run, records: Sequence[HostRecord], order: str) -> tuple[Stacks | None, list[str]]:
    """The last dumps of each process, None where there are no dumps; and a warning for each that cannot be read."""
    dumps: list[Dump] = []
    seen: set[str] = set()
    warnings: list[str] = []
    for record in records:
        for capture in _last(record):
            try:
                dumps.append(load(run, record.host, capture))
            except FleetError as error:
                warnings.append(f"{record.host} {capture.file} is not in the groups: {error}")
            seen |= {note for note in capture.notes if note.startswith(tuple(_GREENLETS))}
    if not dumps:
        return None, warnings
    found = groups(dumps, order)
    words = screen(found, looks_text(dumps), _notes(dumps, found, seen))
    return Stacks(order, found, tree(found, order), words), warnings


def _last(record: HostRecord) -> list[Capture]:
    """One dump of each process: threads that are looked at again are no other threads."""
    usable = [one for one in record.captures if one.is_dump and one.outcome == "profiled" and one.file]
    return list({(one.process.pid, one.process.start): one for one in usable}.values())


def _notes(dumps: Sequence[Dump], found: Sequence[Group], host_notes: set[str]) -> list[str]:
    notes = []
    files = {code.file for group in found for code in group.stack}
    libraries = [
        name
        for name, part in _GREENLETS.items()
        if any(file.startswith(part) for file in files) or any(note.startswith(name) for note in host_notes)
    ]
    if libraries:
        notes.append(f"{names(libraries)}: of all greenlets of a thread only the one that runs is visible")
    silent = [dump for dump in dumps if not any(thread.frames for look in dump.looks for thread in look.threads)]
    if silent:
        notes.append(
            f"{plural(len(silent), 'process')} without any Python stack: right for workers of uWSGI between requests"
        )
    others = sum(dump.others or 0 for dump in dumps)
    if others:
        notes.append(f"{plural(others, 'thread')} of C code without a Python stack, in no group")
    return notes


def manifest(stacks: Stacks) -> JsonObject:
    """The groups as plain data, bounded."""
    rows = []
    for group in stacks.groups[:MOST_GROUPS]:
        # The figures are of all members.
        row = plain(group)
        for name, all_of in (("members", group.members), ("gil", group.gil)):
            row[name] = plain(Group(group.stack, all_of[:MOST_MEMBERS]))[name]
        rows.append({**row, "more_members": max(0, group.threads - MOST_MEMBERS)})
    return {
        "order": stacks.order,
        "sentences": list(stacks.screen.sentences),
        "looks": stacks.screen.looks,
        "notes": list(stacks.screen.notes),
        "groups": rows,
        "more_groups": max(0, len(stacks.groups) - MOST_GROUPS),
    }
