# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "selectors" of the host wing (private to the collection): what the user asked for, validated."""

from __future__ import annotations

import re
from typing import Mapping, NamedTuple, Optional, Tuple

from ._errors import HostError
from ._procfs import user_id
from ._workers import MASTER, WORKER

#: What ``process_role`` may be. Workers are those of a master, and processes that stand alone.
PROCESS_ROLES = (WORKER, MASTER, "any")
_MOST_PID = 2**31 - 1


class Selectors(NamedTuple):
    """What the user asked for; given together they narrow. Empty, or 0, means not given.

    ``unit`` is a full name, with wildcards as systemctl takes them, as ``container``, ``kube_pod`` and
    ``kube_namespace`` may have; ``min_cpu`` is per cent of one core. ``hot`` is not for the user to say:
    where nothing is named a profile is of what is busy, but a dump is of everybody, for who hangs is not.
    """

    pids: Tuple[int, ...] = ()
    pattern: str = ""
    user: str = ""
    unit: str = ""
    port: int = 0
    container: str = ""
    container_pids: Tuple[int, ...] = ()
    kube_pod: str = ""
    kube_namespace: str = ""
    children_of: int = 0
    process_role: str = WORKER
    min_cpu: float = 0.0
    exclude: str = ""
    max_targets: int = 8
    hot: bool = True

    @classmethod
    def from_wire(cls, data: Mapping[str, object]) -> Selectors:
        found = cls(
            pids=_pids("pids", data.get("pids")),
            pattern=_expression("pattern", data.get("pattern")),
            user=_text("user", data.get("user")),
            unit=_unit(data.get("unit")),
            port=_number("port", data.get("port"), 2**16 - 1),
            container=_container(data.get("container")),
            container_pids=_pids("container_pids", data.get("container_pids")),
            kube_pod=_text("kube_pod", data.get("kube_pod")),
            kube_namespace=_text("kube_namespace", data.get("kube_namespace")),
            children_of=_number("children_of", data.get("children_of"), _MOST_PID),
            process_role=_process_role(data.get("process_role")),
            min_cpu=_min_cpu(data.get("min_cpu")),
            exclude=_expression("exclude", data.get("exclude")),
            max_targets=_max_targets(data.get("max_targets")),
        )
        if found.container_pids and not (found.container or found.kube_pod):
            raise HostError(
                "container_pids alone does not say in which container",
                "the same numbers are in every container",
                "name the container, or with kube_pod the pod; numbers of the host go into pids",
            )
        return found

    def names_some(self) -> bool:
        """Were processes named in any way, or is it "whatever is hot"?"""
        named = (self.pids, self.pattern, self.user, self.unit, self.port, self.children_of)
        return any(named) or self.goes_by_container()

    def goes_by_container(self) -> bool:
        return bool(self.container or self.kube_pod or self.kube_namespace)

    def where(self) -> str:
        """What was said of the container, in words."""
        said = [("container", self.container), ("pod", self.kube_pod), ("namespace", self.kube_namespace)]
        return ", ".join("%s %s" % pair for pair in said if pair[1])

    def uid(self) -> Optional[int]:
        """The user's number on this host, None when no user was asked for; HostError when there is no such user."""
        if not self.user:
            return None
        uid = user_id(self.user)
        if uid is None:
            raise HostError("No user '%s' on this host" % self.user, "", "check the name; a number (UID) will do too")
        return uid


def _pids(name: str, value: object) -> Tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise _refusal(name, "a list of numbers", value)
    for pid in value:
        if not _is_number(pid, 1, _MOST_PID):
            raise _refusal(name, "a list of numbers above 0", pid)
    return tuple(value)


def _number(name: str, value: object, most: int) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or not _is_number(value, 1, most):
        raise _refusal(name, "a number from 1 to %d" % most, value)
    return value


def _process_role(value: object) -> str:
    if value is None:
        return WORKER
    if not isinstance(value, str) or value not in PROCESS_ROLES:
        raise _refusal("process_role", "one of " + ", ".join(PROCESS_ROLES), value)
    return value


def _min_cpu(value: object) -> float:
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise _refusal("min_cpu", "a number from 0 (per cent of one core)", value)
    return float(value)


def _max_targets(value: object) -> int:
    if value is None:
        return Selectors().max_targets
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _refusal("max_targets", "a whole number from 1", value)
    return value


def _is_number(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _unit(value: object) -> str:
    text = _text("unit", value)
    if not text:
        return ""
    from ._cgroups import full_name

    try:
        return full_name(text)
    except ValueError:
        raise _refusal("unit", "the name of a systemd unit", value) from None


def _container(value: object) -> str:
    """A leading slash is Docker's own way to write its names."""
    return _text("container", value).lstrip("/")


def _text(name: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _refusal(name, "a text", value)
    return value


def _expression(name: str, value: object) -> str:
    text = _text(name, value)
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise HostError(
            "The selector %s is not a regular expression" % name,
            "'%s': %s" % (text[:200], error),
            "write a literal ( [ * + ? . with a backslash before it",
        ) from error
    return text


def _refusal(name: str, wanted: str, value: object) -> HostError:
    remedy = "`ansible-doc pyspy.fleet.python_process_info` describes the selectors"
    return HostError("The selector %s is not %s" % (name, wanted), "got %s" % repr(value)[:200], remedy)
