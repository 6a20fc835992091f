# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "errand" of the host wing (private to the collection): what a recording and a dump have in common at first.

Their arguments, validated; py-spy on the host; targets chosen and judged. What comes after is theirs.
"""

from __future__ import annotations

import os
import sys
from typing import Callable, Dict, NamedTuple, Optional, Tuple, Union

from ._admission import Admission, admit
from ._binary import Found, Wanted, check_place, find, machine, put
from ._credentials import Terms, policy_from_wire
from ._errors import HostError
from ._guardrails import Limits, judge, read
from ._selection import Selection, look
from ._selectors import Selectors
from ._state import base_path

Answer = Dict[str, object]
#: Leaves targets out of a selection, for reasons of the caller's own.
Narrow = Callable[[Selection], Selection]


class Errand(NamedTuple):
    """The arguments that both have; ``reason``, ``by`` and ``run`` are for people."""

    selectors: Selectors
    binary: Wanted
    policy: str
    limits: Limits
    size: int
    run: str
    reason: str
    by: str
    check: bool

    @classmethod
    def from_wire(cls, data: Dict[str, object]) -> Errand:
        return cls(
            selectors=Selectors.from_wire(part(data, "selectors")),
            binary=wanted(data),
            policy=policy_from_wire(data.get("attach_policy")),
            limits=Limits.from_wire(part(data, "limits")),
            size=int(str(data.get("size", 0))),
            run=str(data.get("run", ""))[:200],
            reason=str(data.get("reason", ""))[:500],
            by=str(data.get("by", ""))[:200],
            check=data.get("check") is True,
        )


class Arrival(NamedTuple):
    """py-spy is here, and these are meant. ``found`` is held open by whoever has this."""

    found: Found
    brought: bool
    selection: Selection


def wanted(data: Dict[str, object]) -> Wanted:
    """The part ``binary`` of an operation's arguments: which py-spy is meant."""
    binary = part(data, "binary")
    sums = binary.get("sha256")
    return Wanted(
        version=str(binary.get("version", "")),
        sha256={str(key): str(value) for key, value in sums.items()} if isinstance(sums, dict) else {},
        directory=str(binary.get("directory", "")),
        executable=str(binary.get("executable", "")),
    )


def part(data: Dict[str, object], name: str) -> Dict[str, object]:
    value = data.get(name, {})
    if not isinstance(value, dict):
        raise HostError("The argument %s is not an object" % name, repr(value)[:80], "see the architecture page")
    return value


def arrive(errand: Errand, payload: bytes, narrow: Narrow) -> Union[Arrival, Answer]:
    """See that py-spy is there, and select; or what to answer, where nothing can or need be done.

    Such as ``need_binary`` when py-spy has to be brought first: the same call is then repeated with it as payload.
    """
    found, brought = bring(errand.binary, errand.size, payload)
    if found is None:
        nothing = _nothing_to_sample(errand)
        if nothing is not None:
            return answer(nothing, False)
        refuse_if_strained(errand.limits)
        return {"need_binary": {"architecture": machine()}}
    selection = narrow(look(errand.selectors, pyspy=found.version))
    if not selection.targets:
        os.close(found.fd)
        return answer(selection, brought)
    refuse_if_strained(errand.limits)
    return Arrival(found, brought, selection)


def rehearse(errand: Errand, blocking: bool, enters: bool, narrow: Narrow) -> Answer:
    """Check mode: the selection that there would be, or the HostError with which it would fail."""
    selection = narrow(look(errand.selectors, pyspy=errand.binary.version))
    if not selection.targets:
        return answer(selection, False)
    refuse_if_strained(errand.limits)
    admission = judged(errand, selection, blocking, enters)
    nowhere = admission.nowhere()
    if nowhere is not None:
        raise nowhere
    return answer(admission.selection, False)


def judged(errand: Errand, selection: Selection, blocking: bool, enters: bool) -> Admission:
    return admit(selection, Terms.here(errand.policy), blocking, enters, errand.limits)


def refuse_if_strained(limits: Limits) -> None:
    """HostError where the guardrails say so; results go where the state directory is or will be."""
    strained = judge(limits, read(os.path.dirname(base_path())))
    if strained is not None:
        raise strained


def _nothing_to_sample(errand: Errand) -> Optional[Selection]:
    """The selection where it holds no target, so that nothing is brought; a first look does without CPU times."""
    if look(errand.selectors, 0, errand.binary.version).targets:
        return None
    selection = look(errand.selectors, pyspy=errand.binary.version)
    return None if selection.targets else selection


def bring(binary: Wanted, size: int, payload: bytes) -> Tuple[Optional[Found], bool]:
    """The right py-spy on this host, and whether it was put there now; (None, False) when it has to be brought."""
    found = find(binary)
    if found is not None:
        return found, False
    check_place(binary, size)
    if not payload:
        return None, False
    return put(binary, payload), True


def answer(selection: Selection, brought: bool) -> Answer:
    """What both answer."""
    return {
        "selection": selection.to_wire(),
        "warnings": [],
        "facts": {
            "architecture": os.uname().machine,
            "kernel": os.uname().release,
            "python": "%d.%d.%d" % sys.version_info[:3],
        },
        "binary_changed": brought,
    }
