#!/usr/bin/python
# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: record
short_description: Sample the hot Python processes of a host for one window
version_added: 0.1.0
description:
  - Selects Python processes, samples them from outside with py-spy for one window and brings the flame graphs back.
    Nothing is restarted, and nothing stays on the host but the pinned binary.
  - Brings py-spy to the host by itself where its checksum differs from the pinned one.
  - The window is kept by a process on the host that outlives the connection. It ends by the wall clock.
author:
  - The pyspy.fleet developers (@pyspy)
extends_documentation_fragment:
  - pyspy.fleet._attributes
  - pyspy.fleet._selectors
  - pyspy.fleet._sampling
  - pyspy.fleet._attach
  - pyspy.fleet._guardrails
  - pyspy.fleet._install
  - pyspy.fleet._run
  - pyspy.fleet._visit
attributes:
  check_mode:
    support: full
    details:
      - Selects and says what would be sampled. Nothing is brought to the host and no folder is made on the controller.
options:
  wait:
    description:
      - Wait for the end of the window and collect. With V(false) the recording is left on the host
        for M(pyspy.fleet.collect), so that the windows of many hosts are open at the same time.
    type: bool
    default: true
  keep:
    description:
      - Captures that nobody collected are deleted by the host itself this many seconds after the window (10 to 86400).
    type: int
    default: 900
  labels:
    description:
      - What this host, or what runs on it, is called in other places, such as C(version) or C(zone).
      - Kept with the result. M(pyspy.fleet.diff) can compare by them, and files for pprof carry them.
        Those with an empty value are left out.
    type: dict
    default: {}
seealso:
  - module: pyspy.fleet.collect
  - module: pyspy.fleet.python_process_info
"""

EXAMPLES = r"""
- name: The hottest Python workers of the host, for 30 seconds
  pyspy.fleet.record:

- name: Start a window on all hosts and go on at once
  pyspy.fleet.record:
    pattern: gunicorn
    duration: 10
    wait: false
  register: recording

# Ad hoc: ansible web -b -m pyspy.fleet.record -a 'pattern=gunicorn duration=5'
"""

RETURN = r"""
run_dir:
  description: The run's folder on the controller.
  returned: when not in check mode
  type: str
  sample: /home/ann/pyspy-runs/20261122T093800Z-profile-web
recording:
  description: The recording's name on the host, for M(pyspy.fleet.collect). Empty when there was no target.
  returned: when not in check mode
  type: str
  sample: 5f2c9a7e11d04b63
ends:
  description: When the window ends, in seconds since the epoch by the controller's clock.
  returned: when not in check mode
  type: float
  sample: 1795340280.4
targets:
  description: How many processes are sampled; in check mode the processes themselves, each with the reason why.
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
  description: Which selector matched how many processes.
  returned: success
  type: list
  elements: str
  sample: ["pattern 'gunicorn' matched 5 of 212 processes"]
profiled:
  description: How many targets gave a usable profile. 0 until the recording is collected.
  returned: when not in check mode
  type: int
  sample: 4
failed_targets:
  description: Targets that could not be profiled, with the reason.
  returned: when not in check mode
  type: list
  elements: str
  sample: []
captures:
  description: Paths of the captures on the controller (speedscope documents; a flame graph lies beside each).
  returned: when not in check mode
  type: list
  elements: str
  sample: [/home/ann/pyspy-runs/latest/hosts/web-01/4711-gunicorn.speedscope.json]
evidence:
  description: How each target was left, one line each.
  returned: when not in check mode
  type: list
  elements: str
  sample: ["PID 4711: state R before, S after, tracer none"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyspy.fleet.plugins.module_utils._arguments import (
    ATTACH_ARGUMENTS,
    GUARDRAIL_ARGUMENTS,
    INSTALL_ARGUMENTS,
    RECORD_ARGUMENTS,
    RUN_ARGUMENTS,
    SAMPLING_ARGUMENTS,
    SELECTOR_ARGUMENTS,
    VISIT_ARGUMENTS,
)


def main() -> None:
    """Documentation and argument spec; the work is done by the action plugin of the same name."""
    module = AnsibleModule(
        argument_spec={
            **SELECTOR_ARGUMENTS,
            **SAMPLING_ARGUMENTS,
            **ATTACH_ARGUMENTS,
            **GUARDRAIL_ARGUMENTS,
            **INSTALL_ARGUMENTS,
            **RUN_ARGUMENTS,
            **VISIT_ARGUMENTS,
            **RECORD_ARGUMENTS,
        },
        supports_check_mode=True,
    )
    module.fail_json(msg="pyspy.fleet.record runs through its action plugin on the controller")


if __name__ == "__main__":
    main()
