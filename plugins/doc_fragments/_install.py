# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation fragment (private to the collection): which py-spy, and where."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of INSTALL_ARGUMENTS."""

    DOCUMENTATION = r"""
options:
  version:
    description:
      - The pinned release of py-spy to use, one of V(0.4.3), V(0.4.2), V(0.4.1), V(0.4.0).
      - Older ones are refused. When they are killed in mid-sample they leave their target stopped.
    type: str
    default: 0.4.3
  install_dir:
    description:
      - The directory on the host that py-spy is put in and executed from. It is made where it is missing.
      - Left out, it is C(/usr/local/libexec/pyspy-fleet) for root and C(~/.local/libexec/pyspy-fleet) for other users.
      - An absolute path without links. Every component has to belong to root (or to the user the task runs as)
        and must not be writable by group or others, and the file system must not be mounted C(noexec).
    type: str
  wheel_dir:
    description:
      - A directory on the controller that holds the wheels of py-spy, for sites without a package index.
        Wheels are recognised by their checksum, whatever their names are.
      - Left out, the controller gets the wheel with C(pip download), so that the settings of pip for the index,
        the proxy and certificates count. Either way the binary is cached in C(~/.cache/pyspy-fleet)
        (or below E(XDG_CACHE_HOME)), and nothing is needed that the cache holds already.
    type: path
  executable:
    description:
      - Use this py-spy, which is on the host already, and bring none. Its version has to be 0.4.0 or newer.
      - An absolute path of a program (not of a script), to which the rules of O(install_dir) apply.
      - O(version), O(install_dir) and O(wheel_dir) have no meaning then.
    type: str
notes:
  - The controller brings py-spy, compressed, and only where the checksum on the host differs. The host needs neither
    pip nor a way to the internet.
  - There are builds for x86_64, aarch64, armv7l and i686. The host gets the one for the Python that runs this task,
    because py-spy has to be of the same kind as its targets.
"""
