# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room "drift" of the controller wing (private to the collection): what drifted, for people and for machines.

In words for a terminal, as Markdown, as figures, and as a reason to fail. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from ._changes import change_data, growth, points, sentence, table
from ._compare import CLEAR, FEW, Change
from ._drift import AS_USUAL, DRIFTED, FEW_ROUNDS, ONCE, Drift
from ._errors import FleetError
from ._fields import printable
from ._render._text import clock, cut, day, markdown, names, plural, row
from ._wire import JsonObject

#: Services on the first screen with so many functions of each; of a service in the Markdown; in a module's result.
_MOST_SERVICES, _MOST_LINES, _MOST_ROWS, _MOST_RESULTS = 10, 3, 20, 20
_MOST_NAME = 30


def ordered(drifts: Sequence[Drift]) -> list[Drift]:
    """What drifted most comes first: what grew before what shrank, and the unconfirmed after the rest."""
    return sorted(drifts, key=_importance)


def _importance(one: Drift) -> tuple[int, float, float, str, str, str]:
    shown = one.clear or one.unconfirmed
    states = (DRIFTED, ONCE, AS_USUAL, FEW, FEW_ROUNDS)
    grown = max(map(growth, shown), default=0.0)
    size = max((abs(change.shift.change) for change in shown), default=0.0)
    return states.index(one.state), -grown, -size, one.service, one.version, one.now.kind


def lines(drifts: Sequence[Drift], width: int) -> list[str]:
    """The first screen."""
    found = ordered(drifts)
    text = ["", cut(f"Drift of {plural(len(found), 'service')}", width), ""]
    clear = [one for one in found if one.state == DRIFTED]
    for one in clear[:_MOST_SERVICES]:
        text += _service_lines(one, width)
    more = len(clear) - _MOST_SERVICES
    text += (
        row("", f"{more} more services drifted" if more > 1 else "1 more service drifted", width) if more > 0 else []
    )
    text += [] if clear else row("Drifted", "nothing drifted", width)
    for label, what in _rest(found):
        text += row(label, what, width)
    return [printable(line) for line in text]


def _service_lines(one: Drift, width: int) -> list[str]:
    text = row("Drifted", f"{_name(one)}, {_beside(one)}", width)
    for change in one.clear[:_MOST_LINES]:
        text += row("", sentence(change), width)
    more = len(one.clear) - _MOST_LINES
    text += row("", f"{plural(more, 'more clear change')}", width) if more > 0 else []
    since = _since(one, one.clear[0])
    return text + (row("", since, width) if since else [])


def _name(one: Drift) -> str:
    """A service and its version, short enough for what follows."""
    parts = [cut(" ".join(text.split()), _MOST_NAME) for text in (one.service, one.version)]
    return " ".join(filter(None, parts)) or "a service without a name"


def _beside(one: Drift) -> str:
    if one.too_few and one.previous is not None:
        version = cut(one.previous.version, _MOST_NAME)
        return f"beside version {version or 'unknown'} alone ({one.too_few} of this time of day)"
    return f"beside {plural(len(one.rounds), 'round')} of this time of day"


def _since(one: Drift, change: Change) -> str:
    """What the comparison with the previous version says of the same function."""
    if one.release is None or one.previous is None or one.too_few:
        return ""
    version = cut(one.previous.version, _MOST_NAME) or "unknown"
    for other in one.release.changes:
        if (other.name, other.file) == (change.name, change.file):
            shift = other.own if change.shift is change.own else other.total
            return f"{points(shift)} in {change.name} from version {version} on: {shift.verdict}"
    return ""


def _rest(found: Sequence[Drift]) -> list[tuple[str, str]]:
    """One line for each kind of service that did not drift."""
    rows = []
    once = [one for one in found if one.state == ONCE]
    if once:
        rows.append(("Once", f"{_named(once)}: clear in this round, not in the one before; look again after the next"))
    released = [one for one in found if one.state == AS_USUAL and _released(one)]
    if released:
        rows.append(("Release", f"{_named(released)}: as usual, but clearly unlike the previous version"))
    usual = sum(one.state == AS_USUAL for one in found)
    if usual:
        rows.append(("As usual", plural(usual, "service")))
    few = [f"{plural(count, 'service')} with {what}" for what, count in _too_few(found)]
    return [*rows, ("Unjudged", ", ".join(few))] if few else rows


def _named(some: Sequence[Drift]) -> str:
    return f"{plural(len(some), 'service')} ({names([_name(one) for one in some])})"


def _released(one: Drift) -> bool:
    return one.release is not None and any(change.verdict == CLEAR for change in one.release.changes)


def _too_few(found: Sequence[Drift]) -> list[tuple[str, int]]:
    counted = [(what, sum(one.state == what for one in found)) for what in (FEW_ROUNDS, FEW)]
    return [(what, count) for what, count in counted if count]


def text(drifts: Sequence[Drift]) -> str:
    """As Markdown, to paste."""
    found = ordered(drifts)
    clear = [one for one in found if one.state == DRIFTED]
    parts = [f"# Drift of {plural(len(found), 'service')}", ""]
    parts += [f"- **{label}**: {markdown(printable(what))}" for label, what in _rest(found)]
    parts += [] if clear else ["- **Drifted**: nothing drifted"]
    for one in clear:
        when = f"{day(one.now.began)} {clock(one.now.began)} UTC"
        parts += ["", f"## {markdown(printable(_name(one)))}", ""]
        parts += [f"- **Round**: {markdown(printable(f'{one.now.round}; {when}'))}"]
        parts += [f"- **Judged**: {markdown(printable(_beside(one)))}"]
        since = _since(one, one.clear[0])
        parts += [f"- **Release**: {markdown(printable(since))}"] if since else []
        rows = [(_safe(change), one.verdict_of(change)) for change in one.changes[:_MOST_ROWS]]
        parts += ["", *table(rows)]
    return "\n".join(parts) + "\n"


def _safe(change: Change) -> Change:
    return change._replace(name=printable(change.name), file=printable(change.file))


def data(drifts: Sequence[Drift], fail_above: float | None) -> JsonObject:
    """For machines. Shares are of 1, ``error`` is null where nothing tells it."""
    found = ordered(drifts)
    above = [] if fail_above is None else [(one, change) for one in found for change in one.above(fail_above)]
    return {
        "fail_above": fail_above,
        "above": [{"service": one.service, "version": one.version, "name": change.name} for one, change in above],
        "services": [_service_data(one) for one in found],
    }


def _service_data(one: Drift) -> JsonObject:
    release: JsonObject | None = None
    if one.release is not None and one.previous is not None:
        release = {
            "version": one.previous.version,
            "round": one.previous.round,
            "began": one.previous.began,
            "enough": one.release.enough,
            "functions": [change_data(change) for change in one.release.changes],
        }
    few = one.too_few
    once = {(change.name, change.file) for change in one.unconfirmed} if not few else set()
    usual = [
        {**change_data(change), "verdict": few or (ONCE if (change.name, change.file) in once else change.verdict)}
        for change in one.usual.changes
    ]
    return {
        "service": one.service,
        "version": one.version,
        "measure": one.now.kind,
        "round": one.now.round,
        "began": one.now.began,
        "workers": one.now.workers,
        "hosts": one.now.hosts,
        "verdict": one.state,
        "judged_by": "none" if one.alarming is None else "release" if few else "usual",
        "rounds": [slice_.round for slice_ in one.rounds],
        "functions": usual,
        "release": release,
    }


def result(drifts: Sequence[Drift]) -> JsonObject:
    """What a module returns: small, as results go to logs."""
    found = ordered(drifts)
    clear = [(one, change) for one in found for change in one.clear]
    return {
        "drifted_services": sum(one.state == DRIFTED for one in found),
        "unconfirmed_services": sum(one.state == ONCE for one in found),
        "usual_services": sum(one.state == AS_USUAL for one in found),
        "unjudged_services": sum(one.alarming is None for one in found),
        "clear_changes": [_result(one, change) for one, change in clear[:_MOST_RESULTS]],
    }


def _result(one: Drift, change: Change) -> JsonObject:
    shift = change.shift
    return {
        "service": one.service,
        "version": one.version,
        "name": change.name,
        "file": change.file,
        "change": round(100 * shift.change, 2),
        "error": None if shift.error is None else round(100 * shift.error, 2),
    }


def verdict(drifts: Sequence[Drift], fail_above: float | None) -> FleetError | None:
    """Why a scheduler should alert; None where it need not, or where nothing can be told."""
    if fail_above is None:
        return None
    above = [(one, change) for one in drifts for change in one.above(fail_above)]
    if not above:
        return None
    service, worst = max(above, key=lambda pair: (growth(pair[1]), pair[0].service, pair[1].name))
    others = len({(one.service, one.version, one.now.kind) for one, _change in above}) - 1
    rest = f"; and {plural(others, 'other service')}" if others else ""
    return FleetError(
        printable(f"{_name(service)} drifted: the share of {worst.name} grew by more than {fail_above:g} points"),
        printable(f"{sentence(worst)}, {_beside(service)}{rest}"),
        "look at the time line and the release; accept it with a higher pyspy_snapshot_fail_above",
    )
