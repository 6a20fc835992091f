# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation fragment (private to the collection): what all faces have that look at targets."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of VISIT_ARGUMENTS."""

    DOCUMENTATION = r"""
options:
  reason:
    description:
      - A ticket or a few words. Kept with the result, and in the journal of the host where something was changed there.
    type: str
    default: ""
  enabled:
    description:
      - V(false) leaves the host alone and lists it as opted out in the run.
    type: bool
    default: true
  patience:
    description:
      - Give the host up when it has not answered after so many seconds, however the connection hangs.
        With V(0) it is as patient as the connection is. What was begun on the host still ends there by itself.
    type: int
    default: 0
  too_late:
    description:
      - V(true) leaves the host alone and says in the run that no time was left for it.
        It is what the entry point C(evidence) does with hosts whose turn comes after its deadline.
    type: bool
    default: false
"""
