# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation fragment (private to the collection): how targets are sampled."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of SAMPLING_ARGUMENTS."""

    DOCUMENTATION = r"""
options:
  duration:
    description:
      - Length of the window in seconds, 1 to 3600. It is wall-clock time.
    type: int
    default: 30
  rate:
    description:
      - The most samples per second, 1 to 1000. A target with many threads gets fewer, and the capture says why.
    type: int
    default: 100
  native:
    description:
      - Include frames of C, C++ and Rust code. The target is stopped for each sample; excludes O(nonblocking).
      - They are left out where they cannot be had without harm - a thread of the target in uninterruptible sleep
        (state D), or a target in a container that is profiled from its host without O(enter_namespaces).
    type: bool
    default: false
  gil:
    description:
      - Only the thread that holds the GIL. C code that has released it is not seen. Excludes O(idle).
    type: bool
    default: false
  idle:
    description:
      - Include threads that wait. The measure is wall-clock time then, and not CPU time.
    type: bool
    default: false
  subprocesses:
    description:
      - Follow the child processes of each target, also those that are born in the window.
    type: bool
    default: false
  nonblocking:
    description:
      - Read the target without stopping it. Left out, the plan decides - yes, unless O(native) is set.
      - With V(false) the target is stopped for each sample, which slows targets with many threads a lot.
        It is not done to a target with a thread in uninterruptible sleep (state D), which would stop for good.
    type: bool
  function:
    description:
      - Aggregate by function, without line numbers.
    type: bool
    default: false
  enter_namespaces:
    description:
      - Sample targets in containers from inside, where O(native) works and threads that sleep can be told from others.
      - A container in which anybody holds CAP_SYS_PTRACE, or could gain it, is not entered, nor one with a user
        namespace of its own. Its targets then fail, with the reason; without this option they are sampled from outside.
    type: bool
    default: false
"""
