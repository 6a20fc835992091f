# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "fields" of the controller wing (private to the collection): decoded JSON of a host, field by field.

What a host answers is untrusted: every field's type is checked, text is bounded and made printable, and anything else
is a :class:`WireError`. What the fields mean is in the room "wire".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ._errors import FleetError

Record = TypeVar("Record")

#: Longest text that is taken over from a host in one field (characters).
MAX_TEXT = 2000
#: Most rows of one list (skipped processes, captures) that are taken over.
MAX_ROWS = 5000
#: Times from here on are none (seconds since the epoch; the year 2242): nanoseconds to it fit into 63 bits, which is
#: what pprof has for them.
LATEST = 2**33


class WireError(FleetError):
    """A host answered something that is not what its program answers."""


class Fields:
    """Typed access to one decoded JSON object; every refusal names the record and the field."""

    def __init__(self, data: object, what: str) -> None:
        if not isinstance(data, dict):
            raise WireError(f"A host sent a {what} that is not an object", type(data).__name__)
        self._data: dict[object, object] = data
        self._what = what

    def value(self, name: str) -> object:
        return self._data.get(name)

    def _refuse(self, name: str) -> WireError:
        return WireError(
            f"A host sent a {self._what} with a bad field",
            f"{name}: {type(self._data.get(name)).__name__}",
            "run the same collection version on all controllers; "
            "if the host may be compromised, look at it by other means",
        )

    def text(self, name: str, default: str | None = None) -> str:
        value = self._data.get(name, default)
        if not isinstance(value, str):
            raise self._refuse(name)
        return bounded(value)

    def optional_text(self, name: str) -> str | None:
        return None if self._data.get(name) is None else self.text(name)

    def integer(self, name: str) -> int:
        value = self._data.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
            raise self._refuse(name)
        return value

    def optional_integer(self, name: str) -> int | None:
        return None if self._data.get(name) is None else self.integer(name)

    def optional(self, name: str, read: Callable[[object], Record]) -> Record | None:
        """An inner record; ``None`` where there is none."""
        return None if self._data.get(name) is None else read(self._data[name])

    def number(self, name: str) -> float:
        value = self._data.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**63:
            raise self._refuse(name)
        return float(value)

    def optional_number(self, name: str) -> float | None:
        return None if self._data.get(name) is None else self.number(name)

    def moment(self, name: str) -> float:
        """Seconds since the epoch, before :data:`LATEST`."""
        value = self.number(name)
        if value >= LATEST:
            raise self._refuse(name)
        return value

    def optional_moment(self, name: str) -> float | None:
        return None if self._data.get(name) is None else self.moment(name)

    def boolean(self, name: str) -> bool:
        value = self._data.get(name)
        if not isinstance(value, bool):
            raise self._refuse(name)
        return value

    def rows(self, name: str) -> list[object]:
        value = self._data.get(name, [])
        if not isinstance(value, (list, tuple)) or len(value) > MAX_ROWS:
            raise self._refuse(name)
        return list(value)

    def texts(self, name: str) -> tuple[str, ...]:
        rows = self.rows(name)
        if not all(isinstance(row, str) for row in rows):
            raise self._refuse(name)
        return tuple(printable(str(row))[:MAX_TEXT] for row in rows)

    def mapping(self, name: str) -> dict[object, object]:
        value = self._data.get(name, {})
        if not isinstance(value, dict) or len(value) > MAX_ROWS:
            raise self._refuse(name)
        return value


def bounded(text: str) -> str:
    """``text`` as it comes back from a record: printable, and no longer than one may be."""
    return printable(text)[:MAX_TEXT]


def printable(text: str) -> str:
    """``text`` without what could steer a terminal or break a line: each such character becomes ``?``."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)
