# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation fragment (private to the collection): when a host or a process is left alone."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of GUARDRAIL_ARGUMENTS."""

    DOCUMENTATION = r"""
options:
  max_load:
    description:
      - Above this load average (of the last minute, divided by the number of CPUs) the host is left alone.
      - The defaults of these limits refuse only a host that is about to fall over. V(0) turns a limit off.
        A refusal names the limit and what was measured.
    type: float
    default: 10.0
  max_memory_pressure:
    description:
      - Above this memory pressure (per cent of the last ten seconds in which some task waited for memory) the host is
        left alone. Kernels without pressure stall information refuse nothing by it.
    type: float
    default: 40.0
  max_io_pressure:
    description:
      - Above this disk pressure (per cent of the last ten seconds in which some task waited for a disk) the host is
        left alone.
    type: float
    default: 80.0
  min_free_memory:
    description:
      - With less available memory than this (MiB) the host is left alone.
    type: float
    default: 128.0
  min_free_space:
    description:
      - With less free space than this (MiB) where results wait to be collected the host is left alone. For root that is
        C(/run).
    type: float
    default: 32.0
  allow_traced:
    description:
      - Also sample processes that a debugger or another tracer has. They are left alone otherwise.
    type: bool
    default: false
  allow_stopped:
    description:
      - Also sample processes that are stopped. They are left alone otherwise, for every sample would be the same.
    type: bool
    default: false
"""
