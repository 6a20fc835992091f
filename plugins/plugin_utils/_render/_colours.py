# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "render" of the controller wing (private to the collection): whose code a frame is, and its colour.

The colour says which package the code belongs to; the shade changes from
neighbour to neighbour. The tints stay apart for colour-blind readers, all are light enough for
black text, and nothing is told by colour alone.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable

#: Light tints (Paul Tol's "light" scheme).
_PACKAGES = ("#77aadd", "#ee8866", "#eedd88", "#99ddff", "#44bb99", "#bbcc33")
_SPECIAL = {"": "#eeeeee", "standard library": "#dddddd", "native": "#ffaabb"}

_INSTALLED = re.compile(r".*/(?:site|dist)-packages/([^/]+)")
_NATIVE = re.compile(r".*(?:\.so(?:\.[\d.]+)?|\.(?:c|cc|cpp|cxx|h|hpp|rs|S))|.*/(?:python|pypy)[\d.]*")
_STANDARD = re.compile(r".*/lib(?:64|32)?/(?:python|pypy)\d[^/]*/|<frozen |.*/python\d+\.zip/")


@functools.lru_cache(maxsize=10_000)
def package_of(file: str) -> str:
    """The package a file belongs to; the directory of an application's own file; "" when there is no file."""
    if not file:
        return ""
    installed = _INSTALLED.match(file)
    if installed:
        return installed[1].removesuffix(".py")
    if _STANDARD.match(file):
        return "standard library"
    if is_native(file):
        return "native"
    directory, _slash, name = file.rpartition("/")
    inner = directory.rpartition("/")[2]
    return name if inner in ("", "bin") else inner


def is_native(file: str) -> bool:
    """Is it code of C and the like, as far as its file tells?"""
    return bool(_NATIVE.fullmatch(file))


def palette(packages: Iterable[str]) -> dict[str, str]:
    """A tint for each package, given in the order of their weight.

    A package gets the tint of its name in every picture, unless a heavier one took it and another is free.
    """
    tints: dict[str, str] = {}
    for package in packages:
        start = hashlib.sha256(package.encode("utf-8", "replace")).digest()[0] % len(_PACKAGES)
        order = (*_PACKAGES[start:], *_PACKAGES[:start])
        taken = set(tints.values())
        tints[package] = _SPECIAL.get(package) or next((tint for tint in order if tint not in taken), order[0])
    return tints


def shaded(tint: str, shade: int) -> str:
    """``#rrggbb``; shades 1 and 2 are lighter."""
    parts = (int(tint[start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{part + (255 - part) * shade // 4:02x}" for part in parts)
