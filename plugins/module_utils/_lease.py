# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "lease" of the host wing (private to the collection): taking ``kernel.yama.ptrace_scope`` down for a while.

Holders are counted in one file of the state directory, so that two runs do not undo each other. The order is: the
file, the dead-man, then the value; and the other way round when the last holder leaves. So whatever
ends in between, either nothing was lowered yet or something is there that puts it back.
"""

from __future__ import annotations

import os
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from ._arm import arm, disarm
from ._errors import HostError
from ._lowering import NOT_LOGGED, log_hold, lower, put_back, refuse
from ._procfs import ProcessDir, user_name
from ._scope import Bounds, Decision, Holder, Mine, State, fall, leave, take
from ._state import base_path, locked
from ._syslog import one_line
from ._yama import SYSCTL, Site, alive, log_change

LONGEST = 3600
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_NO_YAMA = "this kernel has no Yama, so there is no ptrace_scope and nothing to lower"

_Decide = Callable[[Optional[State], int], Decision]


class Wish(NamedTuple):
    """Who asks for what: the value at ``scope`` or lower for ``seconds``, under a name of its own."""

    name: str
    scope: int
    seconds: float
    by: str = ""
    reason: str = ""

    @classmethod
    def from_wire(cls, data: Dict[str, object]) -> Wish:
        scope, seconds = data.get("scope", 0), data.get("seconds", 60)
        if isinstance(scope, bool) or scope not in (0, 1):
            raise HostError(
                "scope is not 0 or 1", "got %r" % (scope,), "0 lets a user's processes attach to each other"
            )
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 1 <= seconds <= LONGEST:
            raise HostError(
                "seconds is not from 1 to %d" % LONGEST, "got %r" % (seconds,), "take it again to prolong it"
            )
        name = checked_name(str(data.get("holder") or os.urandom(8).hex()))
        by, reason = asker(str(data.get("by", ""))), one_line(str(data.get("reason", ""))[:500])
        return cls(name, int(str(scope)), float(seconds), by, reason)


class Lease(NamedTuple):
    """What was taken: ``before`` and ``scope`` are the value then and now (None: no Yama), ``original`` returns.

    ``mine`` is None when nothing had to be lowered, so nothing will be put back.
    """

    name: str
    before: Optional[int]
    scope: Optional[int]
    original: Optional[int]
    since: float
    mine: Optional[Mine]
    guard: Tuple[int, int]
    notes: List[str]


class Ended(NamedTuple):
    """What came of giving back: the value before and after, as read back, and remarks."""

    before: Optional[int]
    scope: Optional[int]
    notes: List[str]


def checked_name(name: str) -> str:
    """HostError unless a holder may be called so."""
    if not name or len(name) > 64 or not _NAME.issuperset(name):
        raise HostError(
            "A holder's name is at most 64 letters, digits, dots, underscores and hyphens",
            repr(name)[:80],
            "choose another",
        )
    return name


def asker(by: str) -> str:
    """Who is behind this process: ``by`` as the controller says, and whom this host knows."""
    words = [one_line(by)[:200]] if by else []
    try:
        with open("/proc/self/loginuid") as handle:
            login = int(handle.read())
        if login != 0xFFFFFFFF:
            words.append("logged in as %s" % user_name(login))
    except (OSError, ValueError):
        pass  # a kernel without audit, or none of its numbers
    if os.environ.get("SUDO_USER"):
        words.append("sudo of %s" % one_line(os.environ["SUDO_USER"])[:100])
    return ", ".join(words) or user_name(os.geteuid())


def here() -> Site:
    """The value and the state directory of this host."""
    return Site(SYSCTL, base_path())


def hold(wish: Wish, pid: int = 0, dry_run: bool = False, site: Optional[Site] = None) -> Lease:
    """Take the lease, or take it again under the same name to prolong it. It ends with the process ``pid`` too.

    HostError where that cannot be done; then nothing is lowered and nothing is left. ``pid`` 0: there is no process.
    """
    site = site or here()
    current = site.read()
    if current is None:
        return Lease(wish.name, None, None, None, time.time(), None, (0, 0), [_NO_YAMA])
    if current > wish.scope:
        refuse(site, current)
    if dry_run or (current <= wish.scope and site.state() is None):
        return _lease(wish, current, take(site.state(), current, _holder(wish, pid), "", time.monotonic(), alive))
    with locked():
        before = site.state()
        lease = _hold(site, wish, pid)
        after = site.state()
    _disarm_dropped(before, after)
    return lease


def _disarm_dropped(before: Optional[State], after: Optional[State]) -> None:
    """The dead-men of holders that are no more: such a one would put back a value that somebody has set since."""
    staying = {one.arming for one in after.holders} if after else set()
    for one in before.holders if before else ():
        if one.arming not in staying:
            disarm(one.arming, one.guard_pid, one.guard_start)


def _hold(site: Site, wish: Wish, pid: int) -> Lease:
    """With the lock held."""
    state, current = site.state(), _read(site)
    holder = _holder(wish, pid)
    decision = take(state, current, holder, os.urandom(8).hex(), time.monotonic(), alive)
    lease = _lease(wish, current, decision)
    if decision.state is None:
        if state is not None:
            site.remember(None)
        return lease
    mine = Mine(decision.state.epoch, decision.state.original, wish.scope, holder.arming)
    guard = (0, 0)
    try:
        site.remember(decision.state)
        guard = arm(site, mine, Bounds(holder.deadline, holder.pid, holder.start))
        armed = holder._replace(guard_pid=guard[0], guard_start=guard[1])
        others = tuple(one for one in decision.state.holders if one != holder)
        site.remember(decision.state._replace(holders=others + (armed,)))
        if decision.write is not None:
            lease.notes.extend(lower(site, current, decision.write, holder))
        else:
            lease.notes.extend(log_hold(current, current, holder))
    except (HostError, OSError) as error:
        _remember_if_possible(site, state)
        disarm(mine.arming, *guard)
        raise error if isinstance(error, HostError) else _unwritable(error) from None
    return lease._replace(mine=mine, guard=guard)


def give_back(name: str, dry_run: bool = False, site: Optional[Site] = None) -> Ended:
    """The holder of this name goes. That it holds nothing (any more) is no failure."""
    site = site or here()

    def decide(state: Optional[State], current: int) -> Decision:
        if state is None:
            return Decision(None, None, False)
        return leave(state, current, name, time.monotonic(), alive)

    if site.read() is None:
        return Ended(None, None, [_NO_YAMA])
    if dry_run or site.state() is None:
        current, state = _read(site), site.state()
        decision = decide(state, current)
        after = current if decision.write is None else decision.write
        return Ended(current, after, _remarks(name, state, decision, current))
    return _end(site, name, decide)


def acquire(name: str, seconds: float, reason: str, by: str, site: Optional[Site] = None) -> Lease:
    """The lease of a recording, for the keeper that calls this: it ends with the keeper too."""
    return hold(Wish(checked_name(name), 0, seconds, by, one_line(reason)), pid=os.getpid(), site=site)


def release(lease: Lease, site: Optional[Site] = None) -> Ended:
    """The recording is over; gives what is there then. Works also when the lease's file is gone."""
    if lease.scope is None or lease.mine is None:
        return Ended(lease.scope, (site or here()).read(), list(lease.notes))
    mine = lease.mine
    site = site or here()

    def decide(state: Optional[State], current: int) -> Decision:
        return fall(state, current, mine, time.monotonic(), alive)

    ended = _end(site, lease.name, decide)
    disarm(mine.arming, *lease.guard)
    return ended._replace(notes=list(dict.fromkeys(lease.notes + ended.notes)))


def operate(data: Dict[str, object]) -> Dict[str, object]:
    """The operation ``lease`` of the host program."""
    dry_run = data.get("check") is True
    if data.get("state") == "released":
        name = checked_name(str(data.get("holder") or ""))
        ended = give_back(name, dry_run)
        return {"holder": name, "before": ended.before, "after": ended.scope, "notes": ended.notes, "seconds_left": 0}
    wish = Wish.from_wire(data)
    lease = hold(wish, dry_run=dry_run)
    return {
        "holder": wish.name,
        "before": lease.before,
        "after": lease.scope,
        "original": lease.original,
        "notes": lease.notes,
        "seconds_left": wish.seconds,
    }


def sweep(force: bool, dry_run: bool, site: Optional[Site] = None) -> List[str]:
    """For the clean-up: end holders whose time is over (all of them with ``force``); one line for each."""
    site = site or here()
    state = site.state()
    found = []
    for one in state.holders if state else ():
        over = one.deadline <= time.monotonic() or (one.pid and not alive(one.pid, one.start))
        text = "lease %s on ptrace_scope: %s" % (one.name, "its time is over" if over else "in force")
        if not over and not force:
            found.append(text + "; left alone")
        elif dry_run:
            found.append(text + "; would be ended")
        else:
            ended = give_back(one.name, site=site)
            found.append("; ".join([text, "ended", "ptrace_scope is %s" % ended.scope] + ended.notes))
    return found


def _end(site: Site, name: str, decide: _Decide) -> Ended:
    with locked():
        state, current = site.state(), _read(site)
        decision = decide(state, current)
        holder = next((one for one in state.holders if one.name == name), None) if state else None
        after, notes = current, _remarks(name, state, decision, current)
        if decision.write is not None:
            after = put_back(site, decision.write)
            if not log_change(current, after, "given back by %s" % name, holder.by if holder else "", ""):
                notes.append(NOT_LOGGED)
        try:
            site.remember(decision.state)
        except OSError as error:
            raise _unwritable(error) from None
    _disarm_dropped(state, decision.state)
    return Ended(current, after, notes)


def _remarks(name: str, state: Optional[State], decision: Decision, current: int) -> List[str]:
    if state is None and decision.foreign:
        return ["somebody else set it to %d in the meantime; left alone" % current]
    if state is None or all(one.name != name for one in state.holders):
        return ["%s holds no lease (any more)" % name]
    notes = []
    if decision.foreign:
        notes.append("somebody else set it to %d in the meantime; left alone" % current)
    if decision.state is not None:
        notes.append("still held by %s" % ", ".join(one.name for one in decision.state.holders))
    return notes


def _lease(wish: Wish, current: int, decision: Decision) -> Lease:
    after = current if decision.write is None else decision.write
    original = decision.state.original if decision.state else current
    notes = ["low enough by itself: nothing was lowered"] if decision.state is None else []
    if decision.foreign:
        notes.append("somebody else had set it to %d: that is what will be put back" % current)
    return Lease(wish.name, current, after, original, time.time(), None, (0, 0), notes)


def _holder(wish: Wish, pid: int) -> Holder:
    deadline = time.monotonic() + wish.seconds
    start = _start_of(pid) if pid else 0
    return Holder(wish.name, wish.scope, deadline, os.urandom(8).hex(), pid, start, 0, 0, wish.by, wish.reason)


def _start_of(pid: int) -> int:
    with ProcessDir(pid) as process:
        return process.start


def _read(site: Site) -> int:
    found = site.read()
    if found is None:
        raise HostError("ptrace_scope is gone from this kernel", site.sysctl, "look at the host")
    return found


def _unwritable(error: OSError) -> HostError:
    return HostError("The lease cannot be written down", str(error), "free space below /run")


def _remember_if_possible(site: Site, state: Optional[State]) -> None:
    try:
        site.remember(state)
    except OSError:
        pass  # what is written there names a holder whose dead-man is gone; its deadline ends it
