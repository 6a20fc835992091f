#!/usr/bin/python

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Face "report": documentation and argument spec; the work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Make the report of a run on the controller
version_added: 0.1.0
description:
  - Makes flame graphs, groups of stacks, tables and a page of what lies in the folder of the current run,
    prints a summary for people, and gives each host its verdict.
  - It runs on the controller and connects to no host.
  - Put it into the play of the hosts, after M(pyspy.fleet.collect) or M(pyspy.fleet.dump),
    without C(run_once) - it is called for every host and does its work once, whatever the strategy or C(serial).
extends_documentation_fragment:
  - pyspy.fleet._run
options:
  title:
    description: Heading of the report.
    type: str
    default: ""
  reason:
    description: Why this was run, for example a ticket. It goes into the manifest and the report.
    type: str
    default: ""
  fail_on:
    description:
      - When a host fails because of targets that could not be profiled.
      - With V(all), when none of its chosen targets could be profiled;
        with V(any), when one of them could not; with V(none), never.
      - A host that is unreachable, or on which nothing could be started, fails in any case.
    type: str
    choices: [none, any, all]
    default: all
  order:
    description:
      - In which order groups of stacks are shown. With V(rarest) the odd one out comes first, which is often the
        culprit.
    type: str
    choices: [largest, rarest]
    default: largest
  brief:
    description:
      - Print one line only, which says where the results lie; a second one where something could not be had.
    type: bool
    default: false
  had:
    description:
      - With O(brief), how many targets were C(dumped) and C(profiled) since the line before, which this one is to say.
        Left out, it speaks of the whole run.
    type: dict
    default: {}
  parameters:
    description: The parameters of the run, for the manifest.
    type: dict
    default: {}
  planned:
    description:
      - In check mode, the result of M(pyspy.fleet.record) or M(pyspy.fleet.dump) for each host.
        The plan for the fleet is printed from it, and nothing is written.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: Can run in check mode and prints what would be profiled. Writes nothing.
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
  - module: pyspy.fleet.collect
  - module: pyspy.fleet.dump
"""

EXAMPLES = r"""
- name: Make the report of this run
  pyspy.fleet.report:
    title: Checkout is slow
    reason: INC-4711

- name: Make the report, and fail each host on which a target could not be profiled
  pyspy.fleet.report:
    output_dir: /srv/profiles
    fail_on: any
"""

RETURN = r"""
run_dir:
  description: Folder of the run on the controller.
  returned: when not in check mode
  type: str
  sample: /home/me/pyspy-runs/20261122T093800Z-profile-web
report:
  description: Path of the report on the controller.
  returned: when not in check mode
  type: str
  sample: /home/me/pyspy-runs/20261122T093800Z-profile-web/index.html
summary:
  description: Path of the summary in Markdown.
  returned: when not in check mode
  type: str
  sample: /home/me/pyspy-runs/20261122T093800Z-profile-web/summary.md
hosts:
  description: How many hosts of the run had which outcome.
  returned: when not in check mode
  type: dict
  sample: {profiled: 19, unreachable: 1}
targets:
  description: How many targets of the run had which outcome.
  returned: when not in check mode
  type: dict
  sample: {profiled: 76, empty: 0, failed: 0, skipped: 40}
"""

from ansible.module_utils.basic import AnsibleModule

ARGUMENT_SPEC = {
    "output_dir": {"type": "path", "default": "pyspy-runs"},
    "job": {"type": "str", "default": "profile"},
    "title": {"type": "str", "default": ""},
    "reason": {"type": "str", "default": ""},
    "fail_on": {"type": "str", "choices": ["none", "any", "all"], "default": "all"},
    "order": {"type": "str", "choices": ["largest", "rarest"], "default": "largest"},
    "brief": {"type": "bool", "default": False},
    "had": {"type": "dict", "default": {}},
    "parameters": {"type": "dict", "default": {}},
    "planned": {"type": "dict", "default": {}},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    module.fail_json(msg="pyspy.fleet.report runs on the controller, through its action plugin of the same name.")


if __name__ == "__main__":
    main()
