#!/usr/bin/python

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Face "snapshot": documentation and argument spec; the work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: snapshot
short_description: A round of snapshots, kept on the controller and compared with earlier ones
version_added: 0.1.0
description:
  - What a round does on the controller, before the windows of its hosts and after them. M(pyspy.fleet.record) and
    M(pyspy.fleet.collect) do the rest; the entry point C(snapshot) of the role C(pyspy) puts them together, and the
    playbook C(pyspy.fleet.snapshot) runs it.
  - It connects to no host. Use it with C(run_once), and with the strategy C(linear).
options:
  step:
    description:
      - With V(begin) the store is opened, made when it is not there, or refused, before any host is asked; hosts are
        chosen, and what rounds left that did not end is taken over.
      - With V(plan) the chosen hosts are put into waves.
      - With V(end) everything that was collected goes into the store, old rounds go out of it, each service is set
        beside what is usual for it, and the page is written.
    type: str
    choices: [begin, plan, end]
    required: true
  store:
    description:
      - The file on the controller in which snapshots are kept. Relative to where Ansible was started.
        The page and the files of drift lie beside it.
    type: path
    default: pyspy-runs/snapshots.sqlite3
  share:
    description:
      - Which part of the play's hosts is visited (V(1) is all). The same hosts each time, chosen by a hash of their
        names, so that they have nothing in common. Each stands for others; with how much weight is kept.
    type: float
    default: 1.0
  at_once:
    description:
      - Never record on more than this part of the hosts of any service at the same time. One host is always allowed.
    type: float
    default: 0.5
  jitter:
    description: Wait for a random time of up to so many seconds first, so that rounds keep step with nothing else.
    type: float
    default: 0
  services:
    description: For V(plan), the name of the service on each host, where the inventory says it.
    type: dict
    default: {}
  surveys:
    description: For V(plan), what M(pyspy.fleet.python_process_info) said of each host.
    type: dict
    default: {}
  planned:
    description: For V(end) in check mode, what M(pyspy.fleet.record) said of each host.
    type: dict
    default: {}
  keep_days:
    description: Rounds older than this go. The newest one always stays. Left out, age does not matter.
    type: float
  keep_rounds:
    description: So many rounds stay. Left out, there may be any number.
    type: int
  keep_size:
    description: The store may have so many MiB; the oldest rounds go first. Left out, it may have any size.
    type: int
  usual_rounds:
    description: How many earlier rounds of the same hour of the day say what is usual.
    type: int
    default: 14
  usual_since:
    description:
      - Only rounds from then on say what is usual. A round's name, a day as in V(2026-11-17), or an hour as
        in V(2026-11-17T09), in UTC. So a change is accepted.
    type: str
    default: ""
  zone:
    description: Whose clock says which hour of the day it is, as in V(Europe/Vienna).
    type: str
    default: UTC
  confirm:
    description: A change counts when so many rounds before had it too.
    type: int
    default: 1
  fail_above:
    description:
      - Fail when the share of a function of any service has clearly grown by more than so many percentage points.
        Left out, no drift is a failure.
    type: float
  fail_on:
    description:
      - With V(all) a round fails that brought nothing although there was something to record, with V(any) one in which
        any host failed or could not be reached, with V(none) neither. Hosts that a limit left alone are no failure.
    type: str
    choices: [none, any, all]
    default: all
  reason:
    description: A ticket or a few words, kept with the round.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    description: Can run in check mode, where it says what would be recorded. Nothing is written.
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
  - module: pyspy.fleet.diff
"""

EXAMPLES = r"""
- name: A round of snapshots
  ansible.builtin.include_role:
    name: pyspy.fleet.pyspy
    tasks_from: snapshot
  vars:
    pyspy_snapshot_share: 0.1
"""

RETURN = r"""
round:
  description: The name of the round.
  returned: always
  type: str
  sample: 20261122T093800Z-snapshot
chosen:
  description: The hosts to visit.
  returned: for begin
  type: list
  elements: str
  sample: [web-03, web-11]
output_dir:
  description: Where M(pyspy.fleet.record) and M(pyspy.fleet.collect) shall put what they bring, on the controller.
  returned: for begin
  type: str
  sample: /home/me/pyspy-runs/snapshots.rounds
waves:
  description: The hosts to visit at the same time, one list for each wave.
  returned: for plan
  type: list
  elements: list
  sample: [[web-03], [web-11]]
store:
  description: Path of the store.
  returned: for end
  type: str
  sample: /home/me/pyspy-runs/snapshots.sqlite3
page:
  description: Path of the page with the time line.
  returned: for end
  type: str
  sample: /home/me/pyspy-runs/snapshots.html
snapshots:
  description: How many captures were kept.
  returned: for end
  type: int
  sample: 16
drifted_services:
  description: How many services are clearly not as usual.
  returned: for end
  type: int
  sample: 1
unconfirmed_services:
  description: How many services are so in this round, and were not in the one before.
  returned: for end
  type: int
  sample: 0
usual_services:
  description: How many services are as usual.
  returned: for end
  type: int
  sample: 38
unjudged_services:
  description: How many services have too few rounds or workers for a verdict.
  returned: for end
  type: int
  sample: 1
clear_changes:
  description: The functions that are clearly not as usual.
  returned: for end
  type: list
  elements: dict
  contains:
    service:
      description: The service.
      type: str
    version:
      description: Its version now.
      type: str
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
    - {service: shop, version: "2.14", name: price, file: shop/price.py, change: 6.2, error: 3.2}
"""

from ansible.module_utils.basic import AnsibleModule

ARGUMENT_SPEC = {
    "step": {"type": "str", "choices": ["begin", "plan", "end"], "required": True},
    "store": {"type": "path", "default": "pyspy-runs/snapshots.sqlite3"},
    "share": {"type": "float", "default": 1.0},
    "at_once": {"type": "float", "default": 0.5},
    "jitter": {"type": "float", "default": 0},
    "services": {"type": "dict", "default": {}},
    "surveys": {"type": "dict", "default": {}},
    "planned": {"type": "dict", "default": {}},
    "keep_days": {"type": "float"},
    "keep_rounds": {"type": "int"},
    "keep_size": {"type": "int"},
    "usual_rounds": {"type": "int", "default": 14},
    "usual_since": {"type": "str", "default": ""},
    "zone": {"type": "str", "default": "UTC"},
    "confirm": {"type": "int", "default": 1},
    "fail_above": {"type": "float"},
    "fail_on": {"type": "str", "choices": ["none", "any", "all"], "default": "all"},
    "reason": {"type": "str", "default": ""},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    module.fail_json(msg="pyspy.fleet.snapshot runs on the controller, through its action plugin of the same name.")


if __name__ == "__main__":
    main()
