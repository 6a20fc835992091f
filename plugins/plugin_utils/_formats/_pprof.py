# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "formats" of the controller wing (private to the collection): pprof, for Go's tools, Pyroscope and others.

The encoding is protobuf's (numbers in groups of seven bits, fields with a number and a length); the numbers of the
fields are those of ``profile.proto`` in github.com/google/pprof. Equal input gives equal bytes.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .._profile import Frame, Profile, Stack

#: Fields of the message Profile.
_SAMPLE_TYPE, _SAMPLE, _MAPPING, _LOCATION, _FUNCTION, _STRING = 1, 2, 3, 4, 5, 6
_TIME, _DURATION, _PERIOD_TYPE, _PERIOD, _DEFAULT_TYPE = 9, 10, 11, 12, 14
_NANOSECONDS = 1e9
#: Longest text that a label may carry; storages refuse longer ones.
_MAX_LABEL = 1024

#: A key may occur more than once: a host is in several groups.
Labels = tuple[tuple[str, str], ...]


class Part(NamedTuple):
    """What one target did, and who it is. The thread of each stack is added to the labels."""

    profile: Profile
    labels: Labels


def write(parts: Iterable[Part], began: float | None = None, ended: float | None = None) -> bytes:
    """Profiles of one kind of measure as one file; ``began`` and ``ended`` are seconds since the epoch.

    Each sample has a number of samples and nanoseconds; both add up to those of the captures.
    """
    message = _Message()
    for part in parts:
        for stack in part.profile.stacks:
            message.add(stack, part.labels)
        message.measured(part.profile)
    return gzip.compress(message.packed(began, ended), mtime=0)


class _Message:
    """A profile while it is put together: tables of texts, functions and places, each numbered from 1 without gaps."""

    def __init__(self) -> None:
        self._texts: dict[str, int] = {"": 0}
        self._functions: dict[tuple[str, str], int] = {}
        self._places: dict[Frame, int] = {}
        self._tables = bytearray()
        self._samples = bytearray()
        self._kind, self._rate = "cpu", 0.0

    def measured(self, profile: Profile) -> None:
        self._kind, self._rate = profile.kind, max(self._rate, profile.rate)

    def add(self, stack: Stack, labels: Labels) -> None:
        places = [self._place(frame) for frame in reversed(stack.frames)]
        values = [stack.samples, round(stack.seconds * _NANOSECONDS)]
        body = _packed(1, places) + _packed(2, values)
        for key, text in _labels(stack, labels):
            body += _field(3, _number(1, self._text(key)) + _number(2, self._text(text[:_MAX_LABEL])))
        self._samples += _field(_SAMPLE, body)

    def packed(self, began: float | None, ended: float | None) -> bytes:
        counted = self._type("samples", "count")
        timed = self._type(self._kind, "nanoseconds")
        body = _field(_SAMPLE_TYPE, counted) + _field(_SAMPLE_TYPE, timed)
        body += self._samples + self._mapping() + self._tables
        if began is not None and ended is not None:
            body += _number(_TIME, round(began * _NANOSECONDS))
            body += _number(_DURATION, round(max(0.0, ended - began) * _NANOSECONDS))
        body += _field(_PERIOD_TYPE, timed)
        body += _number(_PERIOD, round(_NANOSECONDS / self._rate) if self._rate else 0)
        body += _number(_DEFAULT_TYPE, self._text(self._kind))
        return bytes(body + b"".join(_field(_STRING, text.encode("utf-8", "replace")) for text in self._texts))

    def _type(self, name: str, unit: str) -> bytes:
        return _number(1, self._text(name)) + _number(2, self._text(unit))

    def _mapping(self) -> bytes:
        """One for all: it says that names, files and lines are known, so that no tool looks for a binary."""
        return _field(
            _MAPPING, _number(1, 1) + _number(5, self._text("python")) + b"".join(_number(n, 1) for n in (7, 8, 9))
        )

    def _text(self, text: str) -> int:
        return self._texts.setdefault(text, len(self._texts))

    def _place(self, frame: Frame) -> int:
        number = self._places.get(frame)
        if number is None:
            number = self._places[frame] = len(self._places) + 1
            line = _number(1, self._function(frame)) + _number(2, frame.line)
            self._tables += _field(_LOCATION, _number(1, number) + _number(2, 1) + _field(4, line))
        return number

    def _function(self, frame: Frame) -> int:
        key = (frame.name, frame.file)
        number = self._functions.get(key)
        if number is None:
            number = self._functions[key] = len(self._functions) + 1
            name = self._text(frame.name)
            body = _number(1, number) + _number(2, name) + _number(3, name) + _number(4, self._text(frame.file))
            self._tables += _field(_FUNCTION, body)
        return number


def _labels(stack: Stack, labels: Labels) -> Labels:
    more = [("thread", stack.thread)] if stack.thread else []
    if stack.process:
        # A child that was sampled with its parent has a PID of its own.
        labels = tuple(label for label in labels if label[0] != "pid")
        more.append(("pid", str(stack.process)))
    return (*(label for label in labels if label[1]), *more)


def _varint(value: int) -> bytes:
    """A number in groups of seven bits, the lowest first; all but the last have their highest bit set."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value) if value else b""


def _field(field: int, body: bytes) -> bytes:
    """A text, a message or packed numbers: anything with a length."""
    return _varint(field << 3 | 2) + _varint(len(body)) + body


def _packed(field: int, values: Sequence[int]) -> bytes:
    return _field(field, b"".join(map(_varint, values)))
