#!/usr/bin/python
# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: install
short_description: A pinned, checksummed py-spy is present on a host, or absent
version_added: 0.1.0
description:
  - Puts the pinned py-spy in its place on a host, or removes it.
  - M(pyspy.fleet.record) brings py-spy by itself. This is for sites that separate installing from profiling.
  - The wheel and the binary in it are verified on the controller, and the binary again on the host,
    against checksums that are part of this collection.
author:
  - The pyspy.fleet developers (@pyspy)
extends_documentation_fragment:
  - pyspy.fleet._attributes
  - pyspy.fleet._install
attributes:
  check_mode:
    support: full
    details:
      - Nothing is fetched on the controller and nothing changes on the host.
options:
  state:
    description:
      - V(present) puts py-spy there where its checksum differs.
      - V(absent) removes all versions that were put into the directory, and the directory itself when it is called
        C(pyspy-fleet) and holds nothing else. What this collection did not put there stays, and so does
        O(executable).
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: pyspy.fleet.record
"""

EXAMPLES = r"""
- name: Put the newest pinned py-spy in its place
  pyspy.fleet.install:
  become: true

- name: At a site without a package index, in a directory of choice
  pyspy.fleet.install:
    install_dir: /opt/pyspy-fleet
    wheel_dir: /srv/wheels
  become: true

- name: Check a py-spy that is there already
  pyspy.fleet.install:
    executable: /opt/tools/bin/py-spy
  become: true

- name: Remove it again
  pyspy.fleet.install:
    state: absent
  become: true
"""

RETURN = r"""
path:
  description: Where py-spy is on the host.
  returned: when O(state=present), and in check mode only when nothing has to be brought
  type: str
  sample: /usr/local/libexec/pyspy-fleet/py-spy-0.4.3
version:
  description: The version of py-spy.
  returned: when O(state=present)
  type: str
  sample: 0.4.3
sha256:
  description: The checksum of the binary on the host.
  returned: when O(state=present), and in check mode only when nothing has to be brought
  type: str
  sample: a41205d4925beafd108e1ace85e66c0a1a7adbfcbebcd4441f07848b608886c0
removed:
  description: The paths that were removed, or would be in check mode.
  returned: when O(state=absent)
  type: list
  elements: str
  sample: [/usr/local/libexec/pyspy-fleet/py-spy-0.4.3, /usr/local/libexec/pyspy-fleet]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyspy.fleet.plugins.module_utils._arguments import INSTALL_ARGUMENTS


def main() -> None:
    """Documentation and argument spec; the work is done by the action plugin of the same name."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            **INSTALL_ARGUMENTS,
        },
        supports_check_mode=True,
    )
    module.fail_json(msg="pyspy.fleet.install runs through its action plugin on the controller")


if __name__ == "__main__":
    main()
