# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "formats" of the controller wing (private to the collection): speedscope, what py-spy records and we keep.

What is read comes from a host and is untrusted: :func:`parse` checks every
type, index, weight and size, and raises :class:`FleetError` on anything else.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from .._errors import FleetError
from .._fields import printable
from .._profile import Frame, Profile, Stack, collapse
from .._wire import Measure

SCHEMA = "https://www.speedscope.app/file-format-schema.json"

MAX_BYTES = 256 * 1024 * 1024
MAX_FRAMES = 1_000_000
MAX_THREADS = 20_000
MAX_SAMPLES = 20_000_000
MAX_DEPTH = 10_000
#: What one sample may weigh (seconds): py-spy gives each the time between two, and rates are 1 to 1000 Hz; twice that
#: either way is no rounding any more. What weighs nothing has no shares, and a sample of a year hides the fleet.
_LIGHTEST, _HEAVIEST = 0.0005, 2.0
#: Longest name or path that is taken over; longer ones are cut.
MAX_NAME = 1000

#: Frames that py-spy makes up: with ``--subprocesses`` they carry the full
#: command line, which may hold secrets, so that only the PID is kept.
_PROCESS_FRAME = re.compile(r"process (\d+):")
_THREAD_FRAME = re.compile(r"thread \([^)]*\): ")
#: A PID has at most ten digits: so many a stored profile may have.
_THREAD_NAME = re.compile(r'(?:Process ([0-9]{1,10}) )?Thread \S+(?: "(.*)")?', re.DOTALL)


@dataclass(frozen=True)
class ThreadSamples:
    """One thread's samples in the order they were taken: indices into the frames, outermost first; seconds."""

    name: str
    samples: tuple[tuple[int, ...], ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Document:
    """One speedscope file."""

    frames: tuple[Frame, ...]
    threads: tuple[ThreadSamples, ...]


def parse(data: bytes) -> Document:
    """Untrusted bytes to a document in which every index and weight is sound."""
    if len(data) > MAX_BYTES:
        raise _broken(f"{len(data)} bytes; at most {MAX_BYTES} are read")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _broken(f"not JSON: {error}") from error
    shared = _object(content, "the document").get("shared")
    frame_rows = _rows(_object(shared, "shared").get("frames"), "shared.frames", MAX_FRAMES)
    frames = tuple(_frame(row) for row in frame_rows)
    thread_rows = _rows(_object(content, "the document").get("profiles"), "profiles", MAX_THREADS)
    threads = tuple(_thread(row, len(frames)) for row in thread_rows)
    if sum(len(thread.samples) for thread in threads) > MAX_SAMPLES:
        raise _broken(f"more than {MAX_SAMPLES} samples")
    return Document(frames, threads)


def _broken(detail: str) -> FleetError:
    return FleetError(
        "A capture is not a sound speedscope file",
        printable(detail)[:300],
        "profile this process again; if it happens again, look at the host by other means",
    )


def _object(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _broken(f"{what} is not an object")
    return value


def _rows(value: object, what: str, most: int) -> list[object]:
    if not isinstance(value, list):
        raise _broken(f"{what} is not a list")
    if len(value) > most:
        raise _broken(f"{what} has {len(value)} entries; at most {most} are read")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise _broken(f"{what} is not text")
    return printable(value[:MAX_NAME])


def _frame(row: object) -> Frame:
    fields = _object(row, "a frame")
    line = fields.get("line") or 0
    if isinstance(line, bool) or not isinstance(line, int) or not 0 <= line < 2**31:
        raise _broken("a frame's line is not a line number")
    name = _text(fields.get("name"), "a frame's name")
    made_up = _PROCESS_FRAME.match(name)
    return Frame(f"process {made_up[1]}:" if made_up else name, _text(fields.get("file") or "", "a frame's file"), line)


def _thread(row: object, frames: int) -> ThreadSamples:
    fields = _object(row, "a profile")
    name = _text(fields.get("name"), "a profile's name")
    if fields.get("type") != "sampled" or fields.get("unit") != "seconds":
        raise _broken(f"profile {name!r} is not of type sampled in seconds")
    samples = _rows(fields.get("samples"), "samples", MAX_SAMPLES)
    weights = _rows(fields.get("weights"), "weights", MAX_SAMPLES)
    if len(samples) != len(weights):
        raise _broken(f"{len(samples)} samples, but {len(weights)} weights")
    return ThreadSamples(name, tuple(_indices(sample, frames) for sample in samples), tuple(map(_weight, weights)))


def _indices(sample: object, frames: int) -> tuple[int, ...]:
    indices = _rows(sample, "a sample", MAX_DEPTH)
    # Three passes in C: this runs for every sample of the fleet.
    if indices and (set(map(type, indices)) != {int} or min(indices) < 0 or max(indices) >= frames):  # type: ignore[type-var, operator]
        raise _broken(f"a sample names a frame that is not among the {frames}")
    return tuple(indices)  # type: ignore[arg-type]


def _weight(value: object) -> float:
    if type(value) not in (int, float) or not isinstance(value, (int, float)) or not _LIGHTEST <= value <= _HEAVIEST:
        raise _broken("a weight is not the time between two samples")
    return float(value)


def profile(document: Document, measure: Measure) -> Profile:
    """The document's samples added up. Threads and processes become attributes of the stacks."""
    made_up = _made_up(document)
    stacks = chain.from_iterable(_stacks(document.frames, thread, made_up) for thread in document.threads)
    return Profile((measure,), collapse(stacks))


def is_empty(document: Document) -> bool:
    """Has no sample a stack? Then there is nothing that a profile could be made of."""
    made_up = _made_up(document)
    return all(made_up.issuperset(sample) for thread in document.threads for sample in thread.samples)


def _made_up(document: Document) -> set[int]:
    return {index for index, frame in enumerate(document.frames) if _is_made_up(frame)}


def _is_made_up(frame: Frame) -> bool:
    return not frame.file and bool(_PROCESS_FRAME.match(frame.name) or _THREAD_FRAME.match(frame.name))


def _stacks(frames: Sequence[Frame], thread: ThreadSamples, made_up: set[int]) -> Iterable[Stack]:
    match = _THREAD_NAME.fullmatch(thread.name)
    process, name = (int(match[1] or 0), match[2] or "") if match else (0, thread.name)
    sums: dict[tuple[int, ...], list[float]] = {}
    for sample, weight in zip(thread.samples, thread.weights, strict=True):
        entry = sums.setdefault(sample, [0.0, 0])
        entry[0] += weight
        entry[1] += 1
    for sample, (seconds, count) in sums.items():
        stack = tuple(frames[index] for index in sample if index not in made_up)
        if stack:
            yield Stack(stack, seconds, int(count), name, process)


def joined(profiles: Iterable[tuple[str, Profile]]) -> Document:
    """One document with an entry for each of these, by name: equal stacks are one sample, as heavy as they were.

    The order of samples in time, which means nothing between processes, is lost.
    """
    frames: dict[Frame, int] = {}
    threads = []
    for name, one in profiles:
        samples = tuple(tuple(frames.setdefault(frame, len(frames)) for frame in stack.frames) for stack in one.stacks)
        threads.append(ThreadSamples(name, samples, tuple(stack.seconds for stack in one.stacks)))
    return Document(tuple(frames), tuple(threads))


def spread(one: Profile) -> Document:
    """A target's profile as a document that :func:`profile` reads back; the order of samples in time is lost."""
    frames: dict[Frame, int] = {}
    threads: dict[tuple[int, str], list[Stack]] = {}
    for stack in one.stacks:
        threads.setdefault((stack.process, stack.thread), []).append(stack)
    rows = []
    for (process, thread), stacks in threads.items():
        name = (f"Process {process} " if process else "") + "Thread 0" + (f' "{thread}"' if thread else "")
        places = [tuple(frames.setdefault(frame, len(frames)) for frame in stack.frames) for stack in stacks]
        samples = [place for stack, place in zip(stacks, places, strict=True) for _each in range(stack.samples)]
        weights = [stack.seconds / stack.samples for stack in stacks for _each in range(stack.samples)]
        rows.append(ThreadSamples(name, tuple(samples), tuple(weights)))
    return Document(tuple(frames), tuple(rows))


def write(document: Document, name: str = "pyspy.fleet") -> bytes:
    """The document as a file that speedscope opens; equal documents give equal bytes."""
    content = {
        "$schema": SCHEMA,
        "name": name,
        "exporter": "pyspy.fleet",
        "shared": {"frames": [_frame_json(frame) for frame in document.frames]},
        "profiles": [_thread_json(thread) for thread in document.threads],
    }
    return json.dumps(content, separators=(",", ":")).encode()


def _frame_json(frame: Frame) -> dict[str, object]:
    fields: dict[str, object] = {"name": frame.name}
    if frame.file:
        fields["file"] = frame.file
    if frame.line:
        fields["line"] = frame.line
    return fields


def _thread_json(thread: ThreadSamples) -> dict[str, object]:
    return {
        "type": "sampled",
        "name": thread.name,
        "unit": "seconds",
        "startValue": 0,
        "endValue": math.fsum(thread.weights),
        "samples": thread.samples,
        "weights": thread.weights,
    }
