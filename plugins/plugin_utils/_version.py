# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "version" of the controller wing (private to the collection): which version of the collection this is."""

from __future__ import annotations

import json
import os
import re

_ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def collection_version() -> str:
    """From the installed collection's manifest, or a checkout's galaxy.yml; "" where neither can be read."""
    try:
        with open(os.path.join(_ROOT, "MANIFEST.json"), encoding="utf-8") as file:
            return str(json.load(file)["collection_info"]["version"])
    except (OSError, ValueError, KeyError):
        pass
    try:
        with open(os.path.join(_ROOT, "galaxy.yml"), encoding="utf-8") as file:
            match = re.search(r"^version: *(\S+)", file.read(), re.MULTILINE)
    except OSError:
        return ""
    return match[1] if match else ""
