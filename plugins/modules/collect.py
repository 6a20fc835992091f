#!/usr/bin/python
# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: collect
short_description: Wait for a recording and bring its captures back
version_added: 0.1.0
description:
  - Waits on the controller, without a connection, until the window is over. Then one light pass reads what the host
    has packed, writes it into the run's folder, and lets the host forget it.
  - Without O(recording), fetches what a controller that died left on the host.
author:
  - The pyspy.fleet developers (@pyspy)
extends_documentation_fragment:
  - pyspy.fleet._attributes
  - pyspy.fleet._run
attributes:
  check_mode:
    support: full
    details:
      - Fetches nothing and says what would be fetched, and what would be left alone.
options:
  recording:
    description:
      - The recording's name, as M(pyspy.fleet.record) returned it.
      - Empty collects every recording of the user that has waited for 30 seconds or longer.
    type: str
    default: ""
  run:
    description:
      - Without O(recording), only recordings that this run started, however young. The name of the run's folder.
    type: str
    default: ""
  patience:
    description:
      - Give the host up when it has not answered after so many seconds, however the connection hangs. The captures stay
        there as long as C(keep) said. With V(0) it is as patient as the connection is.
    type: int
    default: 0
  not_before:
    description:
      - When the window ends, in seconds since the epoch, as M(pyspy.fleet.record) returned it.
    type: float
    default: 0.0
seealso:
  - module: pyspy.fleet.record
"""

EXAMPLES = r"""
- name: Bring back what was started before
  pyspy.fleet.collect:
    recording: "{{ recording.recording }}"
    not_before: "{{ recording.ends }}"

- name: Bring back what an interrupted run left
  pyspy.fleet.collect:
    run: 20261122T093800Z-profile-web
"""

RETURN = r"""
run_dir:
  description: The run's folder on the controller.
  returned: when not in check mode
  type: str
  sample: /home/ann/pyspy-runs/20261122T093800Z-profile-web
profiled:
  description: How many targets gave a usable profile.
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
waiting:
  description: Recordings on the host that would be fetched.
  returned: in check mode
  type: list
  elements: str
  sample: [5f2c9a7e11d04b63]
left:
  description: Recordings that were left alone because their own controller may still come.
  returned: when O(recording) is empty
  type: list
  elements: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyspy.fleet.plugins.module_utils._arguments import COLLECT_ARGUMENTS, RUN_ARGUMENTS


def main() -> None:
    """Documentation and argument spec; the work is done by the action plugin of the same name."""
    module = AnsibleModule(argument_spec={**COLLECT_ARGUMENTS, **RUN_ARGUMENTS}, supports_check_mode=True)
    module.fail_json(msg="pyspy.fleet.collect runs through its action plugin on the controller")


if __name__ == "__main__":
    main()
