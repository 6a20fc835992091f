# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation fragment (private to the collection): on what terms py-spy attaches."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of ATTACH_ARGUMENTS."""

    DOCUMENTATION = r"""
options:
  attach_policy:
    description:
      - With V(auto) py-spy runs as the target's user and group and holds C(CAP_SYS_PTRACE) and nothing else, where
        the connection has it (with become). No kernel setting is touched. Without that capability it attaches where
        the kernel allows it anyway.
      - With V(relax) nothing that samples holds a capability. Where C(kernel.yama.ptrace_scope) is 1 or 2 it is lowered
        for the window, and every process of the host may then attach to others of its user. Targets that run as
        root, hold capabilities or changed their user without running a new program cannot be reached like this.
      - A target that the kernel would refuse is told beforehand, with the rule and what would help.
    type: str
    choices: [auto, relax]
    default: auto
"""
