# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "arguments" of the host wing (private to the collection): the options that several faces share, as data."""

from __future__ import annotations

from typing import Dict

ArgumentSpec = Dict[str, Dict[str, object]]

#: Which py-spy, and where. ``wheel_dir`` is on the controller; ``install_dir`` and ``executable`` are paths on
#: the host, so they are texts here: the type ``path`` would expand ``~`` and variables with the controller's.
INSTALL_ARGUMENTS: ArgumentSpec = {
    "version": {"type": "str", "default": "0.4.3"},
    "install_dir": {"type": "str"},
    "wheel_dir": {"type": "path"},
    "executable": {"type": "str"},
}

#: Which processes are meant; ``_selectors.Selectors`` takes them as they are.
SELECTOR_ARGUMENTS: ArgumentSpec = {
    "pids": {"type": "list", "elements": "int"},
    "pattern": {"type": "str"},
    "user": {"type": "str"},
    "exclude": {"type": "str"},
    "max_targets": {"type": "int", "default": 8},
}
