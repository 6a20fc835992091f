#!/usr/bin/python
# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cleanup
short_description: End recordings on a host and remove what they left
version_added: 0.1.0
description:
  - Removes recordings whose keeper is gone or whose captures are past their keep deadline, and resumes targets that a
    recording left stopped.
  - Safe at any time. Recordings that are in their window, or that wait for their controller, are left alone
    unless O(force) is set. Recordings of other users are not touched.
author:
  - The pyspy.fleet developers (@pyspy)
extends_documentation_fragment:
  - pyspy.fleet._attributes
attributes:
  check_mode:
    support: full
options:
  force:
    description:
      - Also end healthy recordings and remove captures that nobody has collected yet.
    type: bool
    default: false
seealso:
  - module: pyspy.fleet.collect
"""

EXAMPLES = r"""
- name: Remove what a crash left
  pyspy.fleet.cleanup:

- name: End every recording now
  pyspy.fleet.cleanup:
    force: true
"""

RETURN = r"""
found:
  description: One line for each recording on the host and what became of it.
  returned: success
  type: list
  elements: str
  sample: ["recording 5f2c9a7e11d04b63: past its keep deadline; ended and removed"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyspy.fleet.plugins.module_utils._arguments import CLEANUP_ARGUMENTS


def main() -> None:
    """Documentation and argument spec; the work is done by the action plugin of the same name."""
    module = AnsibleModule(argument_spec=CLEANUP_ARGUMENTS, supports_check_mode=True)
    module.fail_json(msg="pyspy.fleet.cleanup runs through its action plugin on the controller")


if __name__ == "__main__":
    main()
