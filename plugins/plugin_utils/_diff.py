# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "diff" of the controller wing (private to the collection): a comparison for people and for machines.

What is found, in words for a terminal, as Markdown, and as figures; ``_diff_files`` puts them into files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ._calls import calls
from ._changes import change_data, growth, sentence, table
from ._compare import CLEAR, Change, Comparison, compare, observations
from ._errors import FleetError
from ._graphs import Target
from ._profile import KINDS, Profile, describe
from ._render._text import cut, markdown, plural, row
from ._sides import Side
from ._stacks import normal_path
from ._wire import JsonObject, Measure

#: Rows on the first screen and in the Markdown; the JSON has all.
_MOST_LINES, MOST_ROWS = 10, 100


@dataclass(frozen=True)
class Diff:
    """``a`` is the baseline: changes are from it to ``b``. ``kind`` is the measure that both were compared by."""

    a: Side
    b: Side
    kind: str
    measures: tuple[str, str]
    comparison: Comparison
    notes: tuple[str, ...]

    @property
    def clear(self) -> list[Change]:
        return [change for change in self.comparison.changes if change.verdict == CLEAR]

    def above(self, points: float) -> list[Change]:
        """Functions whose share clearly grew by more than so many percentage points."""
        return [change for change in self.clear if growth(change) > points]


def diff(a: Side, b: Side) -> Diff:
    """Compared by the measure of which both have most samples; FleetError where they share none."""
    of_each = [{target.profile.kind for target in side.targets} for side in (a, b)]
    kinds = of_each[0] & of_each[1]
    if not kinds:
        raise FleetError(
            "Profiles of different measures are not compared",
            f"{a.name}: {_kinds(a.targets)}; {b.name}: {_kinds(b.targets)}",
            "profile both with the same pyspy_gil and pyspy_idle",
        )
    kind = max(
        sorted(kinds), key=lambda one: sum(t.profile.samples for t in (*a.targets, *b.targets) if t.profile.kind == one)
    )
    picked = [[target for target in side.targets if target.profile.kind == kind] for side in (a, b)]
    before, after = (observations(calls((t.worker, normalised(t.profile)) for t in targets)) for targets in picked)
    measures = [list(dict.fromkeys(one for t in targets for one in t.profile.measures)) for targets in picked]
    texts = (describe(measures[0]), describe(measures[1]))
    notes = [*a.notes, *b.notes, *_mixed(measures[0], measures[1], texts)]
    sides = (replace(a, targets=tuple(picked[0])), replace(b, targets=tuple(picked[1])))
    if len(of_each[0] | of_each[1]) > 1:
        left_out = _left_out(a, sides[0]) + _left_out(b, sides[1])
        notes.append(f"compared by {KINDS[kind]} alone{left_out}")
    return Diff(*sides, kind, texts, compare(before, after), tuple(notes))


def _left_out(whole: Side, compared: Side) -> str:
    """Whom another measure keeps out of it."""
    left = whole.workers - compared.workers
    return f"; {left} of {plural(whole.workers, 'worker')} of {whole.name} left out, measured otherwise" if left else ""


def _kinds(targets: Sequence[Target]) -> str:
    return ", ".join(sorted({KINDS[target.profile.kind] for target in targets}))


def _mixed(before: Sequence[Measure], after: Sequence[Measure], texts: tuple[str, str]) -> list[str]:
    """What differs in how both were sampled, beside the rate, which changes no share."""
    ways = [{(measure.blocking, measure.native) for measure in side} for side in (before, after)]
    if ways[0] == ways[1]:
        return []
    return [f"the sides were sampled differently, which alone changes shares: {texts[0]}; {texts[1]}"]


def normalised(profile: Profile) -> Profile:
    """Without what a release, a version or an installation does to the paths of files."""
    stacks = (
        stack._replace(frames=tuple(frame._replace(file=normal_path(frame.file)) for frame in stack.frames))
        for stack in profile.stacks
    )
    return Profile(profile.measures, tuple(stacks))


def lines(found: Diff, file: str, width: int) -> list[str]:
    """The first screen."""
    text = ["", cut(f"Changes from {found.a.name} to {found.b.name}", width), ""]
    text += row("Before", who(found.a, found.measures[0]), width) + row("After", who(found.b, found.measures[1]), width)
    text += row("Noise", noise(found), width)
    text += [line for note in found.notes for line in row("Note", note, width)]
    label = "Clear"
    for change in found.clear[:_MOST_LINES]:
        text += row(label, sentence(change), width)
        label = ""
    more = len(found.clear) - _MOST_LINES
    text += row("", f"{more} more clear changes", width) if more > 0 else []
    if not found.clear:
        text += row("Clear", "nothing" if found.comparison.enough else "no verdict", width)
        largest = [change for change in found.comparison.changes[:3] if change.verdict != CLEAR]
        text += [line for one in largest for line in row("Largest" if one is largest[0] else "", sentence(one), width)]
    return [*text, *row("Diff", file, width)]


def who(side: Side, measure: str) -> str:
    samples = sum(target.profile.samples for target in side.targets)
    who = f"{plural(side.workers, 'worker')} on {plural(side.hosts, 'host')}, {samples} samples"
    return f"{side.name}: {who}; {measure}"


def noise(found: Diff) -> str:
    """What chance was judged by."""
    comparison = found.comparison
    (a, b), hosts = comparison.workers, comparison.hosts
    among = f"{a} and {plural(b, 'worker')}"
    if not comparison.enough:
        return f"{among} are too few to tell a change from noise; profile more of them at once"
    if comparison.by_hosts:
        return f"judged by how {among} differ among each other, and the hosts of each side ({hosts[0]} and {hosts[1]})"
    same = {target.host for target in found.a.targets} == {target.host for target in found.b.targets}
    what = "" if same else "; what differs between the two hosts anyway counts as change"
    return f"judged by how {among} differ among each other{what}"


def text(found: Diff) -> str:
    """As Markdown, to paste."""
    parts = [
        f"# {markdown(f'Changes from {found.a.name} to {found.b.name}')}",
        "",
        f"- **Before**: {markdown(who(found.a, found.measures[0]))}",
        f"- **After**: {markdown(who(found.b, found.measures[1]))}",
        f"- **Noise**: {markdown(noise(found))}",
        *(f"- **Note**: {markdown(note)}" for note in found.notes),
        "",
        *table([(one, one.verdict) for one in found.comparison.changes[:MOST_ROWS]]),
    ]
    return "\n".join(parts) + "\n"


def data(found: Diff, fail_above: float | None) -> JsonObject:
    """For machines. Shares are of 1, ``error`` is null where nothing tells it."""
    return {
        "a": _side_data(found.a, found.measures[0]),
        "b": _side_data(found.b, found.measures[1]),
        "measure": found.kind,
        "by_hosts": found.comparison.by_hosts,
        "enough": found.comparison.enough,
        "clear": len(found.clear),
        "fail_above": fail_above,
        "above": [change.name for change in found.above(fail_above)] if fail_above is not None else [],
        "notes": list(found.notes),
        "functions": [change_data(change) for change in found.comparison.changes],
    }


def _side_data(side: Side, measure: str) -> JsonObject:
    samples = sum(target.profile.samples for target in side.targets)
    began, ended = window(side)
    return {
        "name": side.name,
        "run": side.run.name,
        "workers": side.workers,
        "hosts": side.hosts,
        "samples": samples,
        "measure": measure,
        "began": began,
        "ended": ended,
    }


def window(side: Side) -> tuple[float | None, float | None]:
    """From the first to the last second of a side, by the clocks of its hosts."""
    began = min((target.capture.began for target in side.targets), default=None)
    ended = max((target.capture.ended for target in side.targets), default=None)
    return began, ended


def verdict(found: Diff, fail_above: float | None) -> FleetError | None:
    """Why a rollout should stop; None where it need not, or where nothing can be told."""
    if fail_above is None:
        return None
    above = found.above(fail_above)
    if not above:
        return None
    worst = max(above, key=growth)
    rest = f"; and {plural(len(above) - 1, 'other')}" if len(above) > 1 else ""
    return FleetError(
        f"Clearly slower: the share of {worst.name} grew by more than {fail_above:g} percentage points",
        sentence(worst) + rest,
        "look at the report; roll back, or accept it with a higher pyspy_diff_fail_above",
    )
