# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation fragment (private to the collection): where results go on the controller."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of RUN_ARGUMENTS."""

    DOCUMENTATION = r"""
options:
  output_dir:
    description:
      - The directory on the controller in which each run gets a folder. Relative to where Ansible was started.
    type: path
    default: pyspy-runs
  job:
    description:
      - What the run is called in its folder's name.
    type: str
    default: profile
"""
