# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "render" of the controller wing (private to the collection): whose code a frame is, and its colour.

The colour says which package the code belongs to; the shade changes from
neighbour to neighbour. The tints stay apart for colour-blind readers, all are light enough for
black text, and nothing is told by colour alone.
"""

from __future__ import annotations

import hashlib
import re

#: Light tints (Paul Tol's "light" scheme).
_PACKAGES = ("#77aadd", "#ee8866", "#eedd88", "#99ddff", "#44bb99", "#bbcc33")
_SPECIAL = {"": "#eeeeee", "standard library": "#dddddd", "native": "#ffaabb"}

_INSTALLED = re.compile(r".*/(?:site|dist)-packages/([^/]+)")
_STANDARD = re.compile(r".*/lib(?:64|32)?/(?:python|pypy)\d[^/]*/|<frozen |.*/python\d+\.zip/")


def package_of(file: str) -> str:
    """The package a file belongs to; the directory of an application's own file; "" when there is no file."""
    if not file:
        return ""
    installed = _INSTALLED.match(file)
    if installed:
        return installed[1].removesuffix(".py")
    if _STANDARD.match(file):
        return "standard library"
    if not file.startswith("<") and not file.endswith((".py", ".pyc", ".pyx", ".pyi")):
        return "native"
    directory, _slash, name = file.rpartition("/")
    return directory.rpartition("/")[2] or name


def colour(package: str, shade: int = 0) -> str:
    """``#rrggbb``; the same package always gets the same tint; shades 1 and 2 are lighter."""
    tint = _SPECIAL.get(package)
    if tint is None:
        tint = _PACKAGES[hashlib.sha256(package.encode("utf-8", "replace")).digest()[0] % len(_PACKAGES)]
    parts = (int(tint[start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{part + (255 - part) * shade // 4:02x}" for part in parts)
