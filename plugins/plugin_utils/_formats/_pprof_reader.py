# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "formats" of the controller wing (private to the collection): pprof as the writer beside this one wrote it.

Anything else is a FleetError, never another exception: what is read here may have lain on a disk for months.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

from .._errors import FleetError
from .._profile import Frame, Profile, Stack, collapse
from .._wire import Measure

#: As many bytes may come out of one profile.
MAX_UNPACKED = 256 * 1024 * 1024
_SAMPLE, _LOCATION, _FUNCTION, _STRING = 2, 4, 5, 6
_NANOSECONDS = 1e9
_GZIP = 16 + zlib.MAX_WBITS

Entry = TypeVar("Entry")


class _Malformed(ValueError):
    """What is not pprof, in a few words."""


def profile(data: bytes, measure: Measure) -> Profile:
    """One target's stacks. How it was measured is not in the file."""
    try:
        return Profile((measure,), collapse(_Tables(_unpacked(data)).stacks()))
    except (_Malformed, zlib.error) as error:
        raise FleetError("A stored profile cannot be read", str(error), "take the store from a backup") from error


def _unpacked(data: bytes) -> bytes:
    unzip = zlib.decompressobj(_GZIP)
    found = unzip.decompress(data, MAX_UNPACKED)
    if not unzip.eof:
        raise _Malformed("it is cut, or far too large" if unzip.unconsumed_tail else "it is cut")
    return found


class _Tables:
    """The tables of a message Profile (profile.proto in github.com/google/pprof)."""

    def __init__(self, message: bytes) -> None:
        self._texts: list[str] = []
        self._samples: list[bytes] = []
        functions: dict[int, tuple[int, int]] = {}
        places: dict[int, tuple[int, int]] = {}
        for field, value in _fields(message):
            if field == _STRING:
                self._texts.append(_body(value).decode("utf-8", "replace"))
            elif field == _SAMPLE:
                self._samples.append(_body(value))
            elif field == _FUNCTION:
                row = _numbers(_body(value))
                functions[row.get(1, 0)] = row.get(2, 0), row.get(4, 0)
            elif field == _LOCATION:
                number, line = _place(_body(value))
                places[number] = line
        self._frames = {
            number: self._frame(_known(functions, function), line) for number, (function, line) in places.items()
        }

    def _frame(self, function: tuple[int, int], line: int) -> Frame:
        name, file = function
        return Frame(self._text(name), self._text(file), line)

    def stacks(self) -> Iterator[Stack]:
        for sample in self._samples:
            places: Sequence[int] = ()
            values: Sequence[int] = ()
            thread, process = "", 0
            for field, value in _fields(sample):
                if field == 1:
                    places = _packed(_body(value))
                elif field == 2:
                    values = _packed(_body(value))
                elif field == 3:
                    label = _numbers(_body(value))
                    key, text = self._text(label.get(1, 0)), self._text(label.get(2, 0))
                    thread = text if key == "thread" else thread
                    process = _whole(text) if key == "pid" else process
            if len(values) != 2:
                raise _Malformed("a sample has not two values")
            if not all(values):
                raise _Malformed("a sample counts or weighs nothing")
            frames = tuple(_known(self._frames, number) for number in reversed(places))
            yield Stack(frames, values[1] / _NANOSECONDS, values[0], thread, process)

    def _text(self, number: int) -> str:
        if number >= len(self._texts):
            raise _Malformed(f"there is no text {number}")
        return self._texts[number]


def _known(table: dict[int, Entry], number: int) -> Entry:
    if number not in table:
        raise _Malformed(f"there is no entry {number}")
    return table[number]


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        raise _Malformed("a PID is not a number")
    return int(text)


def _place(body: bytes) -> tuple[int, tuple[int, int]]:
    number, line = 0, {}
    for field, value in _fields(body):
        if field == 1 and isinstance(value, int):
            number = value
        elif field == 4:
            line = _numbers(_body(value))
    return number, (line.get(1, 0), line.get(2, 0))


def _numbers(body: bytes) -> dict[int, int]:
    return {field: value for field, value in _fields(body) if isinstance(value, int)}


def _body(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise _Malformed("a number where a message should be")
    return value


def _fields(body: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and bodies of a message, with the numbers of their fields."""
    at = 0
    while at < len(body):
        key, at = _varint(body, at)
        if key & 7 == 0:
            value, at = _varint(body, at)
            yield key >> 3, value
        elif key & 7 == 2:
            length, at = _varint(body, at)
            if at + length > len(body):
                raise _Malformed("it is cut within a field")
            yield key >> 3, body[at : at + length]
            at += length
        else:
            raise _Malformed(f"a field has the wire type {key & 7}")


def _packed(body: bytes) -> list[int]:
    found, at = [], 0
    while at < len(body):
        value, at = _varint(body, at)
        found.append(value)
    return found


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(body) and shift < 64:
        value |= (body[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not body[at - 1] & 0x80:
            return value, at
    raise _Malformed("a number does not end")
