#!/usr/bin/python

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Face "diff": documentation and argument spec; the work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: diff
short_description: Compare two profiles, and say which changes are more than noise
version_added: 0.1.0
description:
  - Compares two runs of M(pyspy.fleet.record), or two parts of one run, function by function, and says of each change
    whether it is clear or within noise.
  - It runs on the controller and connects to no host. Use it with C(run_once).
options:
  a:
    description:
      - The baseline. A run (its folder, its name below O(output_dir), V(latest)), rounds of snapshots (C(round=) and
        a round's name, C(latest), a day as in C(round=2026-11-17), an hour as in C(round=2026-11-17T09), or the first
        and last of several as in C(round=2026-11-10..2026-11-17)), or within the run O(run) an inventory group, or
        C(label=value).
      - V(latest) is the run of this very C(ansible-playbook), where it has one, else the newest.
      - Labels are C(group), C(host), C(service), C(version), C(unit), C(container), C(image), C(pod), C(namespace),
        C(user), C(python) and C(name) of a process. Any other is one of the recording's labels, or a variable of
        the host.
    type: str
    required: true
  b:
    description:
      - What is compared with it, named in the same way. Changes are from O(a) to this one.
      - Workers that both sides would have belong to the smaller one.
    type: str
    required: true
  run:
    description: The run, or the rounds of snapshots, in which groups and labels are looked for.
    type: str
    default: latest
  output_dir:
    description: The directory on the controller in which runs are kept. Relative to where Ansible was started.
    type: path
    default: pyspy-runs
  store:
    description: The file on the controller in which snapshots are kept.
    type: path
    default: pyspy-runs/snapshots.sqlite3
  fail_above:
    description:
      - Fail when the share of a function has clearly grown by more than so many percentage points.
        Left out, nothing that is found is a failure.
      - A change that is within noise, or that too few workers were seen for, never fails.
    type: float
attributes:
  check_mode:
    support: full
    description: Can run in check mode, where the files are not written.
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
  - module: pyspy.fleet.record
  - module: pyspy.fleet.report
"""

EXAMPLES = r"""
- name: What is different since the last release
  pyspy.fleet.diff:
    a: 20261122T093800Z-profile-web
    b: latest
  run_once: true

- name: Stop the rollout when the canary spends 5 percentage points more anywhere
  pyspy.fleet.diff:
    a: web
    b: canary
    fail_above: 5
  run_once: true
"""

RETURN = r"""
diff:
  description:
    - Path of the comparison's page, beside the report of the second side.
    - Its JSON, its Markdown and two flame graphs lie beside it, and have the same beginning of their names.
  returned: when both sides could be compared
  type: str
  sample: /home/me/pyspy-runs/20261122T093800Z-profile-web/diff-web-canary.html
enough:
  description: Were there enough workers to tell changes from noise?
  returned: when both sides could be compared
  type: bool
  sample: true
clear_changes:
  description: The functions that have clearly changed.
  returned: when both sides could be compared
  type: list
  elements: dict
  contains:
    name:
      description: Name of the function.
      type: str
    file:
      description: Path of its file, without what a release or an installation does to it.
      type: str
    change:
      description: Percentage points by which its own share, or else its total, has changed.
      type: float
    error:
      description: Noise may have moved this change by so much.
      type: float
  sample:
    - {name: price, file: shop/price.py, change: 5.1, error: 1.2}
"""

from ansible.module_utils.basic import AnsibleModule

ARGUMENT_SPEC = {
    "a": {"type": "str", "required": True},
    "b": {"type": "str", "required": True},
    "run": {"type": "str", "default": "latest"},
    "output_dir": {"type": "path", "default": "pyspy-runs"},
    "store": {"type": "path", "default": "pyspy-runs/snapshots.sqlite3"},
    "fail_above": {"type": "float"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    module.fail_json(msg="pyspy.fleet.diff runs on the controller, through its action plugin of the same name.")


if __name__ == "__main__":
    main()
