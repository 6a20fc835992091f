# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "bodies" of the controller wing (private to the collection): captures as they come, and the files they become.

A host is not trusted: everything has a bound, before and after it is unpacked.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Collection

from ._fields import WireError
from ._run import stem
from ._wire import Capture

#: Compressed captures of one host beyond this are not taken (bytes): 8 busy targets over an hour stay far below it.
MAX_HOST_BYTES = 128 * 1024 * 1024
#: One capture unpacked (bytes).
MAX_CAPTURE_BYTES = 128 * 1024 * 1024
#: All captures of one host unpacked (bytes): what is a megabyte on the wire may be a thousand of them here.
MAX_UNPACKED_BYTES = 4 * MAX_CAPTURE_BYTES


def decoded(data: object) -> bytes:
    """The bytes of a piece, which come as base64."""
    try:
        chunk = base64.b64decode(data if isinstance(data, str) else "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise WireError("A host sent a capture that is not base64", str(error), "record again") from error
    if not chunk:
        raise WireError("A host sent an empty piece of a capture", "", "record again")
    return chunk


def unpacked(body: bytes, room: int) -> bytes:
    """What was compressed, where that is no more than ``room`` and what one capture may be."""
    inflater = zlib.decompressobj()
    try:
        document = inflater.decompress(body, max(1, min(room, MAX_CAPTURE_BYTES)))
    except zlib.error as error:
        raise WireError("A host sent a capture that cannot be unpacked", str(error), "record again") from error
    if not inflater.eof:
        raise WireError("A host sent a capture that is cut off or too large", f"{len(body)} bytes", "record again")
    return document


def free_name(capture: Capture, ending: str, taken: Collection[str], recording: str = "") -> str:
    """A name for the target's file: its first segment has the plain one, unless another pass over the host has it."""
    whole = stem(capture.process) + (f"-{capture.segment}" if capture.segment > 1 else "")
    if whole + ending in taken and recording:
        whole += f"-{recording}"
    name, number = whole, 1
    while name + ending in taken:
        number += 1
        name = f"{whole}-{number}"
    return name + ending
