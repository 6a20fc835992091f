# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "render" of the controller wing (private to the collection): ``index.html``, one file that opens offline.

It may be attached to a ticket: nothing is loaded from elsewhere, and a content security policy says so. The script of
the interactive graph is the one thing that runs; without it there are the graphs as pictures, and the same tables.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .._evidence import lines as evidence_lines
from .._profile import describe
from .._run import safe_name
from .._stacks_report import Stacks
from .._summary import (
    HOST_OUTCOMES,
    NO_CAPTURE,
    NOT_COLLECTED,
    Summary,
    capture_text,
    error_text,
    host_outcome,
    lost,
)
from .._wire import Capture, Container, HostRecord
from . import _view
from ._shares import COLUMNS, Section, View, section_of
from ._stacks import section
from ._templates import template
from ._text import interval, plural, share

#: Skipped processes that are listed for each host.
_MOST_SKIPPED = 200


@dataclass(frozen=True)
class _TargetRow:
    name: str
    facts: str
    outcome: str
    measured: str
    reason: str
    notes: tuple[str, ...]
    files: list[tuple[str, str]]


@dataclass(frozen=True)
class _Row:
    """One line of the page's head; ``links`` are hosts with the anchors of what is told of them below."""

    label: str
    text: str
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class _HostRow:
    host: str
    anchor: str
    outcome: str
    bad: bool
    window: str
    graph: str
    reason: str
    targets: list[_TargetRow]
    skipped: list[tuple[str, str]]
    more_skipped: int
    remarks: list[str]


def page(
    summary: Summary,
    records: Sequence[HostRecord],
    views: Sequence[View],
    hosts: Sequence[str],
    stacks: Stacks | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    asked: str = "",
    versions: str = "",
) -> str:
    """``views`` are one for each picture of the summary; ``groups`` gives the inventory's groups of each host.

    ``asked`` says who asked for what.
    """
    known = {record.host for record in records}
    # Names would do as well, but for those that cannot be an address.
    anchors = {record.host: f"host-{number}" for number, record in enumerate(records, 1)}
    files = [name for picture in summary.pictures for name in picture.files]
    script = Markup(_view.script()) if views else None
    sections = [section_of(view) for view in views]
    return template("index.html.j2").render(
        summary=summary,
        rows=_head(summary, sections, asked, anchors),
        sections=sections,
        versions=versions,
        columns=COLUMNS,
        data=_view.document([(view.kind, view.measure, view.tree) for view in views], groups or {}),
        stacks=section(stacks) if stacks else None,
        hosts=[_host(record, anchors[record.host]) for record in records],
        missing=[host for host in hosts if host not in known],
        files=[*files, "summary.md", "manifest.json"],
        style=Markup(_style()),
        style_hash=_hash(_style()),
        script=script,
        script_hash=_hash(script) if script else "",
    )


def _head(summary: Summary, sections: Sequence[Section], asked: str, anchors: Mapping[str, str]) -> list[_Row]:
    """What was asked for and came of it, how far that is to be believed, and what it shows."""
    cautions = [
        _Row("Warning", caution.text, tuple((host, anchors[host]) for host in caution.hosts if host in anchors))
        for caution in summary.cautions
    ]
    before = [("Asked", asked)] * bool(asked) + summary.figures()
    after = summary.remarks() + _first(summary, sections)
    return [*(_Row(*pair) for pair in before), *cautions, *(_Row(*pair) for pair in after)]


def _first(summary: Summary, sections: Sequence[Section]) -> list[tuple[str, str]]:
    """What is hot, where, and which host is unlike the others: told before everything else."""
    rows = []
    for picture, shown in zip(summary.pictures, sections, strict=False):
        hottest = [f"{share(hot.share, 1)} {hot.name} ({hot.place})" for hot in picture.hottest[:3]]
        rows += [("Hottest", "; ".join(hottest))] * bool(hottest)
        rows += [("Apart", text) for text in shown.odd]
    return rows


@functools.cache
def _style() -> str:
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "page.css"), encoding="utf-8") as file:
        return file.read()


def _hash(text: str) -> str:
    """As a content security policy names what may run or style."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _host(record: HostRecord, anchor: str) -> _HostRow:
    outcome = host_outcome(record)
    reason = ""
    if record.status in ("failed", "unreachable"):
        reason = error_text(record.error, "no reason was given")
    elif record.status == "recording":
        reason = NOT_COLLECTED
    elif outcome == "nothing":
        reason = "; ".join(record.selection.notes)
    skipped = [(row.who, row.reason) for row in record.selection.skipped]
    facts = [f"{key}: {value}" for key, value in record.facts]
    folder, drawn = f"hosts/{safe_name(record.host)}", [row for row in record.captures if row.file]
    return _HostRow(
        host=record.host,
        anchor=anchor,
        outcome=HOST_OUTCOMES[outcome],
        bad=outcome in ("failed", "unreachable", "targets_failed", "recording"),
        window=interval(record.began, record.ended),
        graph=f"{folder}/host.svg" if any(row.outcome == "profiled" and not row.is_dump for row in drawn) else "",
        reason=reason,
        targets=_targets(record),
        skipped=skipped[:_MOST_SKIPPED],
        more_skipped=max(0, len(skipped) - _MOST_SKIPPED),
        remarks=[*record.warnings, *evidence_lines(record.evidence), *record.selection.notes, *facts],
    )


def _targets(record: HostRecord) -> list[_TargetRow]:
    folder = f"hosts/{safe_name(record.host)}"
    rows = [_target(capture, folder) for capture in record.captures]
    return rows + [_TargetRow(name, "", "failed", "", NO_CAPTURE, (), []) for name in lost(record)]


def _container(container: Container) -> str:
    image = f", image {container.image}" if container.image else ""
    claim = f" (by the word of {container.claim})" if container.claim else ""
    return f"{container.runtime} container {container.short_id}{image}{claim}"


def _target(capture: Capture, folder: str) -> _TargetRow:
    process = capture.process
    facts = [
        _container(process.container) if process.container else "",
        process.user,
        process.role,
        f"Python {process.python}" if process.python else "",
        f"{process.cpu:.0f} % CPU before" if process.cpu is not None else "",
    ]
    return _TargetRow(
        name=process.who + (f", segment {capture.segment}" if capture.segment > 1 else ""),
        facts=", ".join(filter(None, facts)),
        outcome=_outcome(capture),
        measured="" if capture.outcome == "failed" else _measured(capture),
        reason=capture_text(capture) if capture.outcome == "failed" else "",
        notes=((capture.harm.text(),) if capture.harm else ()) + capture.notes,
        files=[(label, f"{folder}/{name}") for label, name in _files(capture)],
    )


def _outcome(capture: Capture) -> str:
    good = "dumped" if capture.is_dump else "profiled"
    return {"profiled": good, "empty": "idle", "failed": "failed"}[capture.outcome]


def _measured(capture: Capture) -> str:
    if capture.is_dump:
        measured = f"{plural(capture.samples, 'dump')} in {capture.seconds:.1f} s"
        return measured + (f"; {capture.errors} failed" if capture.errors else "")
    measured = f"{capture.samples} samples in {capture.seconds:.1f} s; {describe([capture.measure])}"
    return measured + (f"; {capture.errors} samples could not be read" if capture.errors else "")


def _files(capture: Capture) -> list[tuple[str, str]]:
    if not capture.file:
        return []
    if capture.is_dump:
        return [("text", capture.file.removesuffix(".json") + ".txt"), ("json", capture.file)]
    stem = capture.file.removesuffix(".speedscope.json")
    made = [("flame graph", f"{stem}.svg"), ("folded", f"{stem}.folded"), ("pprof", f"{stem}.pprof.gz")]
    return made * (capture.outcome == "profiled") + [("speedscope", capture.file)]
