#!/usr/bin/python
# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: python_process_info
short_description: List the Python processes of a host, and what the selectors choose
version_added: 0.1.0
description:
  - Lists the running Python processes of a host with their version, their role in the process tree and their CPU usage.
  - Says which of them M(pyspy.fleet.record) would sample with the same selectors, and why each other one is left out.
  - Reads C(/proc) only. Nothing is run, attached to or changed.
  - Without root the executables of other users' processes cannot be read. Such processes are judged
    by their names, and a note in the result says so.
author:
  - The pyspy.fleet developers (@pyspy)
extends_documentation_fragment:
  - pyspy.fleet._attributes
  - pyspy.fleet._selectors
attributes:
  check_mode:
    support: full
    details:
      - Nothing is changed, in check mode or out of it.
seealso:
  - module: pyspy.fleet.record
"""

EXAMPLES = r"""
- name: See what would be profiled on this host
  pyspy.fleet.python_process_info:
  become: true

- name: See the workers of the shop that run as www-data
  pyspy.fleet.python_process_info:
    pattern: gunicorn.*shop
    user: www-data
  become: true
  register: processes

- name: See the workers of the service web that listen on port 8000
  pyspy.fleet.python_process_info:
    unit: web
    port: 8000
  become: true

- name: Show why the others are left out
  ansible.builtin.debug:
    msg: "{{ processes.skipped_processes | map(attribute='reason') | list }}"
"""

RETURN = r"""
targets:
  description: The chosen processes, the hottest first.
  returned: success
  type: list
  elements: dict
  contains:
    pid:
      description: The process's PID on the host.
      type: int
      sample: 4711
    start:
      description: When it was started, in clock ticks since boot. With the PID it names one process and no other.
      type: int
      sample: 174890
    user:
      description: Its effective user, as a number where that has no name.
      type: str
      sample: www-data
    name:
      description:
        - Its executable, script or module, or its process title.
        - Never its arguments, for they may hold secrets.
      type: str
      sample: 'gunicorn: worker [shop]'
    role:
      description: What it is in its process tree.
      type: str
      sample: worker
    python:
      description: The version of Python that runs it, V(null) when unknown.
      type: str
      sample: '3.11'
    cpu:
      description: Per cent of one core over half a second, V(null) when not measured.
      type: float
      sample: 97.9
    container:
      description: The container it is in, V(null) when it is in none. What is not known is an empty text.
      type: dict
      contains:
        runtime:
          description:
            - What made it. V(namespace) is a PID namespace that no known runtime made.
          type: str
          sample: docker
        id:
          description: Its id; of LXC and systemd-nspawn its name, of a bare namespace what the kernel calls that.
          type: str
          sample: 4f1a0be4c2a9d81e4b7d2f1c05f5a0c2e0cbf5f0a3d7e1b6c9a8d7e6f5a4b3c2
        name:
          description: Its name, on Kubernetes that in its pod.
          type: str
          sample: api
        image:
          description: The image it was made from, as far as the runtime leaves that on disk.
          type: str
          sample: registry.example/shop:1.4
        pod:
          description: The name of its Kubernetes pod.
          type: str
          sample: ''
        namespace:
          description: The Kubernetes namespace of its pod.
          type: str
          sample: ''
        claim:
          description: Whose word the rest is, where anybody but root could have said it.
          type: str
          sample: ''
    container_pid:
      description: Its PID as seen inside the container, V(null) when it is in none.
      type: int
      sample: 7
    reason:
      description: Why it was chosen, in one line.
      type: str
      sample: gunicorn worker, 97.9 % CPU
skipped_processes:
  description:
    - All other Python processes, with the same keys as RV(targets). RV(skipped_processes[].reason) says why not.
    - At most 500. A note says how many more there are.
  returned: success
  type: list
  elements: dict
  contains:
    reason:
      description: Why it was not chosen, in one line.
      type: str
      sample: gunicorn master of 4 workers
found:
  description: How many Python processes the host has; all of them are in the two lists, but for skips beyond 500.
  returned: success
  type: int
  sample: 14
notes:
  description: Which selector matched how many processes, and what else is worth knowing.
  returned: success
  type: list
  elements: str
  sample:
    - pattern 'gunicron' matched 0 of 212 processes (14 are Python)
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyspy.fleet.plugins.module_utils._arguments import SELECTOR_ARGUMENTS


def main() -> None:
    """Documentation and argument spec; the work is done by the action plugin of the same name."""
    module = AnsibleModule(argument_spec=SELECTOR_ARGUMENTS, supports_check_mode=True)
    module.fail_json(msg="pyspy.fleet.python_process_info runs through its action plugin on the controller")


if __name__ == "__main__":
    main()
