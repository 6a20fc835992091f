#!/usr/bin/python

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Face "history": documentation and argument spec; the work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: history
short_description: The report of rounds of snapshots that were kept
version_added: 0.1.0
description:
  - Takes rounds out of the store that M(pyspy.fleet.snapshot) keeps, and writes the same report as for a run
    of M(pyspy.fleet.record), of all of them together.
  - It runs on the controller and connects to no host. Use it with C(run_once).
options:
  rounds:
    description:
      - A round's name, V(latest), a day as in V(2026-11-17), an hour as in V(2026-11-17T09), a minute as
        in V(2026-11-17T09:30), or the first and last of several as in V(2026-11-10..2026-11-17). Times are UTC.
    type: str
    default: latest
  store:
    description: The file on the controller in which snapshots are kept. Relative to where Ansible was started.
    type: path
    default: pyspy-runs/snapshots.sqlite3
  output_dir:
    description: The directory on the controller in which the report gets a folder.
    type: path
    default: pyspy-runs
attributes:
  check_mode:
    support: full
    description: Can run in check mode, where nothing is written.
  diff_mode:
    support: none
    description: Can return details on what has changed, when in diff mode.
  platform:
    support: full
    platforms: posix
    description: Target OS or families that can be operated against. The controller is meant here.
author:
  - The pyspy.fleet developers (@pyspy)
seealso:
  - module: pyspy.fleet.snapshot
  - module: pyspy.fleet.diff
"""

EXAMPLES = r"""
- name: What was it like last Tuesday
  pyspy.fleet.history:
    rounds: 2026-11-17
  run_once: true
"""

RETURN = r"""
run_dir:
  description: The folder with the report.
  returned: when not in check mode
  type: str
  sample: /home/me/pyspy-runs/20261117T093800Z-snapshot
report:
  description: Path of the report's page.
  returned: when not in check mode
  type: str
  sample: /home/me/pyspy-runs/20261117T093800Z-snapshot/index.html
"""

from ansible.module_utils.basic import AnsibleModule

ARGUMENT_SPEC = {
    "rounds": {"type": "str", "default": "latest"},
    "store": {"type": "path", "default": "pyspy-runs/snapshots.sqlite3"},
    "output_dir": {"type": "path", "default": "pyspy-runs"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    module.fail_json(msg="pyspy.fleet.history runs on the controller, through its action plugin of the same name.")


if __name__ == "__main__":
    main()
