# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "report" of the controller wing (private to the collection): the run's folder made into a report.

:func:`build` is called once for every host of the play, so that it works with
serial batches, any strategy and hosts that failed: it writes under the run's lock
from what lies in the folder, and does nothing when nothing has changed since.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from . import _stacks_report
from ._calls import calls
from ._graphs import Target, by_kind, exports, name_of, read, stale
from ._profile import Profile, describe, hottest
from ._render._page import page
from ._render._shares import View
from ._render._svg import Heading, render, with_script
from ._render._text import plural
from ._run import Run, user_name
from ._stacks_report import Stacks
from ._summary import NOT_COLLECTED, Picture, Summary, by_target, count, coverage, failures, hot
from ._wire import ErrorText, HostRecord, JsonObject

_STATE = "report.json"
_HOTTEST = 5


@dataclass(frozen=True)
class Context:
    """What the report says that is in no host's record.

    ``hosts`` are all of the play; ``order`` is that of groups of stacks.
    """

    job: str = "profile"
    title: str = ""
    reason: str = ""
    user: str = field(default_factory=user_name)
    hosts: tuple[str, ...] = ()
    parameters: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    order: str = "largest"


def build(run: Run, context: Context) -> Summary:
    """Write the report of what lies in the run's folder, unless it is already written."""
    with run.lock():
        digest = _digest(run, context)
        known = _known(run, digest)
        if known is not None:
            return known
        records, broken = run.records()
        targets, warnings = read(run, records)
        stacks, unread = _stacks_report.read(run, records, context.order)
        summary = Summary(context.job, context.title, context.reason, run.path)
        summary = count(summary, records, context.hosts)
        told = [f"{record.host}: {warning}" for record in records for warning in record.warnings]
        summary = replace(summary, warnings=(*(str(error) for error in broken), *told, *warnings, *unread))
        summary = _write(run, context, records, targets, summary, stacks)
        run.write_state(_STATE, json.dumps({"digest": digest, "summary": summary.to_json()}).encode())
    return replace(summary, rendered=True)


def outline(run: Run, context: Context) -> Summary:
    """What the records alone say: no capture is read, and nothing is written."""
    records, _broken = run.records()
    return count(Summary(context.job, context.title, context.reason, run.path), records, context.hosts)


def _digest(run: Run, context: Context) -> str:
    text = json.dumps(asdict(context), sort_keys=True, default=str)
    return hashlib.sha256(f"{run.fingerprint()} {text}".encode()).hexdigest()


def _known(run: Run, digest: str) -> Summary | None:
    data = run.read_state(_STATE)
    if data is None:
        return None
    try:
        state = json.loads(data)
        return Summary.from_json(state["summary"]) if state["digest"] == digest else None
    except (ValueError, KeyError, TypeError):
        # Written by another version of the collection: the report is simply written anew.
        return None


def _write(
    run: Run,
    context: Context,
    records: list[HostRecord],
    targets: list[Target],
    summary: Summary,
    stacks: Stacks | None,
) -> Summary:
    views: list[View] = []
    pictures: list[Picture] = []
    written: set[str] = set()
    for number, (profile, group) in enumerate(by_kind(targets)):
        name = name_of("fleet", number, profile.kind)
        files = exports(profile, group)
        picture = _picture(profile, group, (f"{name}.svg", *(name + suffix for suffix in files)))
        graph = render(profile, Heading(summary.heading, (_fleet_line(summary, picture),)))
        for suffix, data in {".svg": with_script(graph).encode("utf-8", "replace"), **files}.items():
            run.write(name + suffix, data)
        tree = calls((target.worker, target.profile) for target in group)
        views.append(View(profile.kind, picture.measure, tree, graph))
        pictures.append(picture)
        written |= set(picture.files)
    run.remove(stale("fleet", (".svg", ".folded", ".pprof.gz", ".speedscope.json")) - written)
    summary = replace(summary, pictures=tuple(pictures), stacks=stacks.screen if stacks else None)
    manifest = _manifest(run, context, records, summary)
    if stacks is not None:
        manifest["stacks"] = _stacks_report.manifest(stacks)
    run.write("manifest.json", json.dumps(manifest, indent=1) + "\n")
    run.write("summary.md", summary.markdown())
    groups = {record.host: [name for name in record.groups if name != "ungrouped"] for record in records}
    versions = ", ".join(f"{name} {version}" for name, version in _versions(context, records).items())
    run.write("index.html", page(summary, records, views, context.hosts, stacks, groups, _asked(context), versions))
    return summary


def _asked(context: Context) -> str:
    """Who asked for what, as far as it is not the usual."""
    usual = {"process_role": "worker", "attach_policy": "auto"}
    wishes = [
        f"{name} {', '.join(map(str, value)) if isinstance(value, (list, tuple)) else value}".removesuffix(" True")
        for name, value in context.parameters.items()
        if value and name != "version" and usual.get(name) != value
    ]
    return f"{context.job} by {context.user}" + (f": {', '.join(wishes)}" if wishes else "")


def _versions(context: Context, records: Sequence[HostRecord]) -> dict[str, str]:
    found = sorted({value for record in records for key, value in record.facts if key == "py-spy"})
    return {**context.versions, **({"py-spy": ", ".join(found)} if found else {})}


def _picture(profile: Profile, targets: list[Target], files: tuple[str, ...]) -> Picture:
    seconds = profile.seconds
    rows = hottest(profile, _HOTTEST)
    return Picture(
        kind=profile.kind,
        measure=describe(profile.measures),
        samples=profile.samples,
        seconds=seconds,
        targets=len({target.key for target in targets}),
        hosts=len({target.host for target in targets}),
        files=files,
        hottest=tuple(hot(row.name, row.file, row.line, row.own / seconds) for row in rows),
    )


def _fleet_line(summary: Summary, picture: Picture) -> str:
    where = f"{plural(picture.targets, 'target')} on {plural(picture.hosts, 'host')}"
    return " · ".join(filter(None, (where, picture.measure, f"{picture.samples} samples", summary.window_text())))


def _manifest(run: Run, context: Context, records: list[HostRecord], summary: Summary) -> JsonObject:
    return {
        "run": run.name,
        "job": context.job,
        "title": context.title,
        "reason": context.reason,
        "user": context.user,
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "began": summary.began,
        "ended": summary.ended,
        "versions": _versions(context, records),
        "parameters": json.loads(json.dumps(context.parameters, default=str)),
        "hosts_of_the_play": list(context.hosts),
        "counts": {"hosts": dict(summary.hosts), "targets": dict(summary.targets)},
        "pictures": [asdict(picture) for picture in summary.pictures],
        "warnings": list(summary.warnings),
        "hosts": {record.host: _host(record) for record in records},
    }


def _host(record: HostRecord) -> JsonObject:
    data = record.to_json()
    del data["host"]
    # The manifest is what people hand on: command lines stay in the files of their host.
    captures = [{**asdict(capture), "command_line": None} for capture in record.captures]
    return {**data, "captures": captures, "coverage": coverage([record])}


def may_print(run: Run, host: str, batch: Sequence[str]) -> bool:
    """True for exactly one caller of each state of the report: the last of its batch to ask.

    So the summary comes after the lines of the other hosts, and before the recap.
    """
    run.claim(_question(run, host))
    return all(run.claimed(_question(run, name)) for name in batch) and run.claim(f"printed-{run.fingerprint()[:32]}")


def _question(run: Run, host: str) -> str:
    """Names that a host has asked since its record was last written."""
    return f"asked-{hashlib.sha256(host.encode()).hexdigest()[:32]}-{run.record_stamp(host)}"


def verdict(record: HostRecord | None, fail_on: str) -> ErrorText | None:
    """Why this host fails the play; ``None`` when it does not. ``fail_on`` is none, any or all."""
    if record is None:
        return ErrorText("Nothing is known of this host", "it has no record in this run", "look at the tasks above")
    if record.status in ("failed", "unreachable"):
        return record.error or ErrorText(f"The host {record.status}", "no reason was given", "run with -vvv")
    if record.status == "recording":
        return ErrorText(NOT_COLLECTED)
    bad = failures(record)
    good = [capture for capture in by_target(record) if capture.outcome != "failed"]
    if not bad or fail_on == "none" or (fail_on == "all" and good):
        return None
    profiled = not record.captures or any(not capture.is_dump for capture in record.captures)
    return ErrorText(
        f"{len(bad)} of {len(bad) + len(good)} targets could not be {'profiled' if profiled else 'dumped'}",
        bad[0],
        "see the report; pyspy_fail_on says whether this fails the play",
    )
