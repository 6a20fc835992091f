# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation fragment (private to the collection): what all faces that work on hosts support."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes; a module overrides the details it knows better."""

    DOCUMENTATION = r"""
options: {}
requirements:
  - Python 3.8 or newer on the host
attributes:
  check_mode:
    description: Can run in C(check_mode) and return what would be done without changing the host.
  diff_mode:
    description: Returns details on what has changed when in diff mode.
    support: none
  action:
    description: Has a corresponding action plugin, so that some of the work is done on the controller.
    support: full
  platform:
    description: Target systems that are supported.
    support: full
    platforms: linux
"""
