# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "graphs" of the controller wing (private to the collection): captures, and the files that are made of them.

Of one target and of one host right when their captures come, of the fleet with the report.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ._calls import Worker
from ._errors import FleetError
from ._formats import _folded, _pprof, _speedscope
from ._profile import KINDS, Profile, describe, merge, rooted
from ._render._svg import Heading, render, with_script
from ._render._text import interval, plural
from ._run import Run, safe_name, stem
from ._wire import Capture, HostRecord, Process

_CAPTURE_SUFFIX = ".speedscope.json"


@dataclass(frozen=True)
class Target:
    """One usable capture, read. Its host is in these ``groups``, and the play gave it the labels ``given``."""

    host: str
    groups: tuple[str, ...]
    given: tuple[tuple[str, str], ...]
    capture: Capture
    profile: Profile

    @property
    def process(self) -> Process:
        return self.capture.process

    @property
    def key(self) -> tuple[str, int, int]:
        """Which process it is, also where it has several captures."""
        return self.host, self.process.pid, self.process.start

    @property
    def worker(self) -> Worker:
        return worker_of(self.host, self.process)

    @property
    def labels(self) -> _pprof.Labels:
        return (
            ("host", self.host),
            *(("group", group) for group in self.groups if group != "ungrouped"),
            ("container", self.worker.container),
            ("unit", self.worker.unit),
            ("pid", str(self.process.pid)),
            *self.given,
        )


def worker_of(host: str, process: Process) -> Worker:
    container = process.container.text() if process.container else ""
    return Worker(host, process.who, container, process.unit or "")


def read(run: Run, records: Sequence[HostRecord]) -> tuple[list[Target], list[str]]:
    """All usable captures, and a warning for each that is not."""
    targets: list[Target] = []
    warnings: list[str] = []
    for record in records:
        for capture in record.captures:
            if capture.outcome != "profiled" or capture.is_dump:
                continue
            try:
                targets.append(_usable(_target(run, record, capture)))
            except FleetError as error:
                warnings.append(f"{record.host} {capture.file or stem(capture.process)} is not in the graphs: {error}")
    return targets, warnings


def _usable(target: Target) -> Target:
    if not target.profile.stacks:
        raise FleetError("No sample of this target has a stack", remedy="profile this process again")
    return target


def _target(run: Run, record: HostRecord, capture: Capture) -> Target:
    if not capture.file:
        raise FleetError("The capture of this target was not brought", remedy="run the playbook pyspy.fleet.collect")
    document = _speedscope.parse(run.read_capture(record.host, capture.file))
    profile = _speedscope.profile(document, capture.measure)
    given = tuple({**dict(record.labels), **dict(capture.labels)}.items())
    return Target(record.host, record.groups, given, capture, profile)


def by_kind(targets: Sequence[Target]) -> list[tuple[Profile, list[Target]]]:
    """One merged profile for each kind of measure, with what went into it; most samples first."""
    kinds = sorted({target.profile.kind for target in targets})
    groups = [[target for target in targets if target.profile.kind == kind] for kind in kinds]
    merged = [(merge(target.profile for target in group), group) for group in groups]
    return sorted(merged, key=lambda pair: (-pair[0].samples, pair[0].kind))


def name_of(stem: str, number: int, kind: str) -> str:
    """The files of the first kind of measure have the plain name, those of others say which."""
    return f"{stem}-{kind}" if number else stem


def stale(stem: str, suffixes: Sequence[str]) -> set[str]:
    """All names that files of an earlier report can have."""
    return {f"{name}{suffix}" for name in (stem, *(f"{stem}-{kind}" for kind in KINDS)) for suffix in suffixes}


def exports(profile: Profile, targets: Sequence[Target]) -> dict[str, bytes]:
    """A merged profile for other tools, by the end of the file's name."""
    began = [target.capture.began for target in targets]
    ended = [target.capture.ended for target in targets]
    parts = (_pprof.Part(target.profile, target.labels) for target in targets)
    named = [(f"{target.host} {target.process.who}", target.profile) for target in targets]
    return {
        ".folded": _folded_file(profile),
        ".pprof.gz": _pprof.write(parts, min(began, default=None), max(ended, default=None)),
        ".speedscope.json": _speedscope.write(_speedscope.joined(named)),
    }


def _folded_file(profile: Profile) -> bytes:
    return _folded.write(_folded.lines(profile)).encode("utf-8", "replace")


def render_target(run: Run, record: HostRecord, capture: Capture) -> str:
    """The flame graph of one target, and its profile folded and as pprof, beside its capture; the graph's name."""
    target = _target(run, record, capture)
    profile = rooted(target.profile)
    process = capture.process
    lines = [
        describe([capture.measure]),
        f"{profile.samples} samples in {capture.seconds:.1f} s",
        interval(capture.began, capture.ended),
        f"Python {process.python}" if process.python else "",
    ]
    title = f"{process.who} on {record.host}"
    if capture.segment > 1:
        title += f", segment {capture.segment}"
    cost = [capture.harm.text()] if capture.harm else []
    name = capture.file.removesuffix(_CAPTURE_SUFFIX)
    svg = with_script(render(profile, Heading(title, (" · ".join(filter(None, lines)), *cost, *capture.notes))))
    run.write_capture(record.host, f"{name}.svg", svg.encode("utf-8", "replace"))
    run.write_capture(record.host, f"{name}.folded", _folded_file(profile))
    pprof = _pprof.write([_pprof.Part(target.profile, target.labels)], capture.began, capture.ended)
    run.write_capture(record.host, f"{name}.pprof.gz", pprof)
    return f"{name}.svg"


def render_host(run: Run, host: str) -> None:
    """The flame graph of one host with all its targets of all passes, and one more for each other kind of measure.

    Files of targets begin with a PID, so that none has such a name.
    """
    record = run.before(host)
    if record is None:
        return
    # What cannot be read is the report's to tell.
    targets, _unread = read(run, [record])
    run.remove(os.path.join("hosts", safe_name(host), name) for name in stale("host", (".svg",)))
    for number, (profile, group) in enumerate(by_kind(targets)):
        what = plural(len({target.key for target in group}), "target")
        lines = (describe(profile.measures), f"{profile.samples} samples", interval(record.began, record.ended))
        svg = with_script(render(profile, Heading(f"{what} on {host}", (" · ".join(filter(None, lines)),))))
        run.write_capture(host, f"{name_of('host', number, profile.kind)}.svg", svg.encode("utf-8", "replace"))
