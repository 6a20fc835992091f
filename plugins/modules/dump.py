#!/usr/bin/python
# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dump
short_description: The stacks of all threads of the Python processes of a host
version_added: 0.1.0
description:
  - Selects Python processes and reads the stacks of all their threads from outside with py-spy, several times, so that
    threads that are stuck can be told from others. Nothing is restarted, and nothing stays on the host but the pinned
    binary.
  - Brings py-spy to the host by itself where its checksum differs from the pinned one.
  - Threads with the same stack are one group. The groups are in the result; the whole dumps are files on the
    controller, and M(pyspy.fleet.report) makes one picture of the dumps of all hosts.
author:
  - The pyspy.fleet developers (@pyspy)
extends_documentation_fragment:
  - pyspy.fleet._attributes
  - pyspy.fleet._selectors
  - pyspy.fleet._attach
  - pyspy.fleet._guardrails
  - pyspy.fleet._install
  - pyspy.fleet._visit
attributes:
  check_mode:
    support: full
    details:
      - Selects and says what would be dumped. Nothing is brought to the host and no folder is made on the controller.
options:
  count:
    description:
      - How often each target is dumped, 1 to 100. From two dumps on it can be told what is stuck.
    type: int
    default: 3
  interval:
    description:
      - Seconds from one dump to the next, 0 to 60.
    type: float
    default: 1.0
  native:
    description:
      - Include frames of C, C++ and Rust code. The target is stopped for each dump; excludes O(nonblocking).
    type: bool
    default: false
  nonblocking:
    description:
      - Read the target without stopping it. Left out, the plan decides - yes, unless O(native) is set.
    type: bool
  locals:
    description:
      - Read local variables too. They hold secrets. What looks like one, or is called like one, is withheld, which is a
        net and no promise. They are in the files only, never in the result.
    type: bool
    default: false
  command_lines:
    description:
      - Bring the whole command lines of the targets, redacted in the same way. They are in the files only.
    type: bool
    default: false
  enter_namespaces:
    description:
      - Dump targets in containers from inside, where O(native) works.
      - A container in which anybody holds CAP_SYS_PTRACE, or could gain it, is not entered, nor one with a user
        namespace of its own. Its targets then fail, with the reason; without this option they are dumped from outside.
    type: bool
    default: false
  deadline:
    description:
      - No further dump is begun after so many seconds, 1 to 600. What there is by then is the result.
    type: int
    default: 60
  output_dir:
    description:
      - The directory on the controller in which each run gets a folder. Relative to where Ansible was started.
    type: path
    default: pyspy-runs
  job:
    description:
      - What the run is called in its folder's name.
    type: str
    default: dump
seealso:
  - module: pyspy.fleet.record
  - module: pyspy.fleet.report
  - plugin: pyspy.fleet.stack_groups
    plugin_type: filter
"""

EXAMPLES = r"""
- name: What is the service stuck on?
  pyspy.fleet.dump:
    unit: shop

- name: All processes of a container, five times in two seconds
  pyspy.fleet.dump:
    container: api
    process_role: any
    count: 5
    interval: 0.5

# Ad hoc: ansible web -b -m pyspy.fleet.dump -a 'container=api'
"""

RETURN = r"""
run_dir:
  description: The run's folder on the controller.
  returned: when not in check mode
  type: str
  sample: /home/ann/pyspy-runs/20261122T093800Z-dump-web
groups:
  description:
    - Where the threads of this host are, as lines to read - first what matters most, then the largest groups of threads
      with the same stack, each innermost frame first. No local variables.
  returned: when not in check mode
  type: list
  elements: str
  sample: ["3 of 12 threads stuck in `acquire` (shop/stock.py:81)."]
dumps:
  description: Paths of the whole dumps on the controller (as text; a C(.json) lies beside each).
  returned: when not in check mode
  type: list
  elements: str
  sample: [/home/ann/pyspy-runs/latest/hosts/web-01/4711-gunicorn.txt]
dumped:
  description: How many targets were dumped.
  returned: when not in check mode
  type: int
  sample: 4
failed_targets:
  description: Targets that could not be dumped, with the reason.
  returned: when not in check mode
  type: list
  elements: str
  sample: []
targets:
  description: How many processes were chosen; in check mode the processes themselves, each with the reason why.
  returned: success
  type: raw
  sample: 4
skipped_processes:
  description: How many Python processes were skipped; in check mode the processes themselves, each with the reason why.
  returned: success
  type: raw
  sample: 2
found:
  description: How many Python processes the host has.
  returned: success
  type: int
  sample: 6
notes:
  description: Which selector matched how many processes, and what went otherwise than asked for.
  returned: success
  type: list
  elements: str
  sample: ["pattern 'gunicorn' matched 5 of 212 processes"]
evidence:
  description: How each target was left, one line each.
  returned: when not in check mode
  type: list
  elements: str
  sample: ["PID 4711: state S before, S after, tracer none"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyspy.fleet.plugins.module_utils._arguments import (
    ATTACH_ARGUMENTS,
    DUMP_ARGUMENTS,
    DUMP_RUN_ARGUMENTS,
    GUARDRAIL_ARGUMENTS,
    INSTALL_ARGUMENTS,
    SELECTOR_ARGUMENTS,
    VISIT_ARGUMENTS,
)


def main() -> None:
    """Documentation and argument spec; the work is done by the action plugin of the same name."""
    module = AnsibleModule(
        argument_spec={
            **SELECTOR_ARGUMENTS,
            **DUMP_ARGUMENTS,
            **ATTACH_ARGUMENTS,
            **GUARDRAIL_ARGUMENTS,
            **INSTALL_ARGUMENTS,
            **DUMP_RUN_ARGUMENTS,
            **VISIT_ARGUMENTS,
        },
        supports_check_mode=True,
    )
    module.fail_json(msg="pyspy.fleet.dump runs through its action plugin on the controller")


if __name__ == "__main__":
    main()
