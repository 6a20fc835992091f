# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Face "stack_groups": a filter for playbooks of users' own; the work is done in the room "stacks"."""

from __future__ import annotations

from collections.abc import Callable

from ansible.errors import AnsibleTemplatePluginError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._dumps import Dump
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._stacks import groups, plain

DOCUMENTATION = r"""
name: stack_groups
author:
  - The pyspy.fleet developers (@pyspy)
version_added: 0.1.0
short_description: Group dumps of threads by identical stack
description:
  - Groups all threads of all given dumps by identical stack, across processes and hosts.
    Stacks are compared by function and file; lines, addresses, release folders and versions are left out.
  - A thread is C(stuck) when neither its stack nor its CPU time moved over all dumps, C(moving) when they did,
    and C(idle) when it waits where idle threads wait. With one dump of a process, a thread that is not idle is
    C(seen once).
positional: _input
options:
  _input:
    description:
      - A list of dumps, one for each process. Each has C(host), C(pid), optionally C(name), and either C(threads), as
        C(py-spy dump --json) gives them, or C(looks), a list of such dumps over time, each with C(at) (seconds) and
        C(threads).
      - A thread may have C(cpu), the seconds of CPU time that it ever used.
    type: list
    elements: dict
    required: true
  order:
    description: Which group comes first.
    type: str
    choices: [largest, rarest]
    default: largest
"""

EXAMPLES = r"""
- name: Dump one process
  ansible.builtin.command: py-spy dump --json --nonblocking --pid 4711
  register: dumped
  changed_when: false

- name: Show which stack most threads share
  ansible.builtin.debug:
    msg: "{{ ([{'host': inventory_hostname, 'pid': 4711, 'threads': dumped.stdout | from_json}]
      | pyspy.fleet.stack_groups | first).culprit }}"

- name: Show the odd one out of the fleet
  ansible.builtin.debug:
    msg: "{{ (all_dumps | pyspy.fleet.stack_groups(order='rarest') | first).members }}"
"""

RETURN = r"""
_value:
  description:
    - The groups. Each has C(threads) and C(processes) (counts), C(hosts) (names) and C(states) (how many threads are in
      which).
    - C(stack) is innermost first, with C(function), C(file) and C(lines). C(culprit) is the frame to look at first,
      with its C(depth), or null where there is no Python frame. C(asker) is the same for the innermost frame that is of
      no installed package, where the culprit is of one, else null.
    - C(members) are the threads, and C(gil) those that held the GIL.
  type: list
  elements: dict
"""


def stack_groups(dumps: object, order: str = "largest") -> list[dict[str, object]]:
    if not isinstance(dumps, list | tuple):
        raise AnsibleTemplatePluginError(f"pyspy.fleet.stack_groups takes a list of dumps, not {type(dumps).__name__}.")
    try:
        return [plain(group) for group in groups((Dump.from_wire(dump) for dump in dumps), order)]
    except FleetError as error:
        raise AnsibleTemplatePluginError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., list[dict[str, object]]]]:
        return {"stack_groups": stack_groups}
