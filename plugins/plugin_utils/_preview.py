# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "preview" of the controller wing (private to the collection): check mode's plan for the fleet, in words.

It reads the results that the record module gave in check mode: lists ``targets``,
``skipped_processes`` and ``notes``, or ``msg`` where no selection was made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ._errors import FleetError
from ._fields import printable
from ._render._text import names, plural, row
from ._summary import done, group
from ._wire import Process, Selection

_MOST_SKIPS = 6
#: How reasons begin that nobody asks about: they come last.
_EXPECTED = ("never a target", "does not match")


def plan_lines(
    planned: Mapping[str, object], hosts: Sequence[str], width: int = 80, verb: str = "profile"
) -> list[str]:
    """What would be profiled (or dumped) on each host and what not, and why. Nothing was started."""
    lines = ["", "Plan (check mode: nothing was started, nothing was written)", ""]
    chosen: dict[str, tuple[Process, ...]] = {}
    others: list[tuple[str, str, str]] = []
    for host in hosts:
        selection, reason = _read(planned.get(host))
        if selection is not None and selection.targets:
            chosen[host] = selection.targets
            lines += _host_lines(host, selection, width, verb)
        else:
            others.append(("host", host, reason))
    for trouble in group(others):
        lines += row("", f"{names(trouble.members)}: {trouble.reason}", width, 0)
    total = sum(map(len, chosen.values()))
    lines += ["", f"{plural(total, 'target')} would be {done(verb)} on {len(chosen)} of {plural(len(hosts), 'host')}"]
    return [printable(line) for line in lines]


def _read(result: object) -> tuple[Selection | None, str]:
    if not isinstance(result, Mapping) or not result:
        return None, "no plan was made"
    if not isinstance(result.get("targets"), list):
        message = str(result.get("msg") or "no plan was made, and no reason was given")
        return None, printable(message.removeprefix("Task failed: "))
    rows = {"targets": result["targets"], "skipped": result.get("skipped_processes"), "notes": result.get("notes")}
    rows["found"] = result.get("found")
    try:
        selection = Selection.from_wire({key: value for key, value in rows.items() if value is not None})
    except FleetError as error:
        return None, str(error)
    return selection, "; ".join(selection.notes) or "nothing to profile"


def _host_lines(host: str, selection: Selection, width: int, verb: str) -> list[str]:
    lines = [host]
    for process in selection.targets:
        lines += ["  " + line for line in row(verb, _process_text(process), width - 2)]
    skips = group(("skip", f"pid {process.pid}", process.reason) for process in selection.skipped)
    skips.sort(key=lambda trouble: trouble.reason.startswith(_EXPECTED))
    for trouble in skips[:_MOST_SKIPS]:
        text = f"{len(trouble.members)} ({names(trouble.members, 2)}): {trouble.reason}"
        lines += ["  " + line for line in row("skip", text, width - 2)]
    if len(skips) > _MOST_SKIPS:
        rest = sum(len(trouble.members) for trouble in skips[_MOST_SKIPS:])
        lines += ["  " + line for line in row("skip", f"{rest} for other reasons", width - 2)]
    return lines


def _process_text(process: Process) -> str:
    return f"{process.who} of {process.user}: {process.reason}"
