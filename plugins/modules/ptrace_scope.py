#!/usr/bin/python
# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ptrace_scope
short_description: Lower kernel.yama.ptrace_scope on a host for a limited time
version_added: 0.1.0
description:
  - Takes, prolongs and gives back a lease on the sysctl C(kernel.yama.ptrace_scope), for any debugger or profiler that
    runs without the capability C(CAP_SYS_PTRACE).
  - While it is lowered to V(0) every process on the host may attach to the others of its user.
  - Leases are counted. The value from before comes back when the last holder gives its lease back, and in any case when
    its time is over, whatever happened to the controller, the connection or the processes on the host. What puts it
    back is armed before the value is lowered.
  - A value that somebody else sets in the meantime is respected and reported, not overwritten.
  - Each lowering and restoring is an entry in the journal or syslog of the host, with O(reason).
author:
  - The pyspy.fleet developers (@pyspy)
extends_documentation_fragment:
  - pyspy.fleet._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  state:
    description:
      - V(held) takes the lease, or prolongs it when O(holder) has it already.
      - V(released) gives it back. Having none any more is fine.
    type: str
    choices: [held, released]
    default: held
  seconds:
    description:
      - The lease ends after this time, counted from now, at the latest. From V(1) to V(3600).
    type: int
    default: 60
  scope:
    description:
      - The value that is needed. The sysctl is never raised, and not touched when it is this low already.
    type: int
    choices: [0, 1]
    default: 0
  holder:
    description:
      - The name of who holds the lease, of at most 64 letters, digits, dots, underscores and hyphens.
      - Needed with O(state=released), and to prolong a lease. Left out otherwise, a name is made up and returned.
    type: str
  reason:
    description:
      - Why; a ticket or a text for the journal of the host.
    type: str
    default: ""
notes:
  - Needs root with C(CAP_SYS_PTRACE) on the host itself, so normally C(become).
  - V(3) cannot be lowered before a reboot, and is refused. In a container the sysctl is the host's, and is refused.
  - On a kernel without Yama there is nothing to do, and nothing changes.
seealso:
  - module: pyspy.fleet.record
"""

EXAMPLES = r"""
- name: Let processes attach to each other for five minutes
  pyspy.fleet.ptrace_scope:
    seconds: 300
    reason: INC-4711
  become: true
  register: lease

- name: Give it back
  pyspy.fleet.ptrace_scope:
    state: released
    holder: "{{ lease.holder }}"
  become: true
"""

RETURN = r"""
holder:
  description: The name of the holder, to prolong the lease or to give it back.
  returned: success
  type: str
  sample: 3fb7e9372cc17930
before:
  description: The value before the task. Null on a kernel without Yama.
  returned: success
  type: int
  sample: 1
after:
  description: The value after the task, as read back; in check mode as it would be. Null on a kernel without Yama.
  returned: success
  type: int
  sample: 0
original:
  description: The value that comes back in the end. Null on a kernel without Yama.
  returned: when O(state=held)
  type: int
  sample: 1
seconds_left:
  description: After this time the lease ends at the latest.
  returned: when O(state=held)
  type: float
  sample: 300.0
notes:
  description: Remarks, such as that somebody else set the value in the meantime, or who still holds the lease.
  returned: success
  type: list
  elements: str
  sample: ["still held by 9a0c1d2e3f405162"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyspy.fleet.plugins.module_utils._arguments import LEASE_ARGUMENTS


def main() -> None:
    """Documentation and argument spec; the work is done by the action plugin of the same name."""
    module = AnsibleModule(argument_spec=LEASE_ARGUMENTS, supports_check_mode=True)
    module.fail_json(msg="pyspy.fleet.ptrace_scope runs through its action plugin on the controller")


if __name__ == "__main__":
    main()
