# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "controller" of the lab (private to the collection): a host of a fleet that can run playbooks itself."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import ansible
from ansible_collections.pyspy.fleet.plugins.plugin_utils import _fetch, _releases

from .hosts import CHECKOUT, Host

#: What ansible-core needs, as it is called in this environment. The lab's hosts have the same Python as Debian's.
PACKAGES = ("ansible", "cffi", "cryptography", "jinja2", "markupsafe", "packaging", "pycparser", "resolvelib", "yaml")
PARTS = ("_cffi_backend.*", "*.dist-info/METADATA")
PROGRAM = "/usr/local/bin/ansible-playbook"
CACHE = "home/deploy/.cache/pyspy-fleet"
COLLECTION = "home/deploy/.ansible/collections/ansible_collections/pyspy/fleet"


def make_controller(host: Host) -> None:
    """Everybody on ``host`` has ``ansible-playbook``; ``deploy`` alone has the collection, and py-spy in its cache."""
    ours = Path(ansible.__file__).parents[1]
    theirs = host.root / "opt" / "ansible"
    for name in PACKAGES:
        shutil.copytree(ours / name, theirs / name, ignore=shutil.ignore_patterns("__pycache__"))
    for part in [path for pattern in PARTS for path in ours.glob(pattern)]:
        target = theirs / part.relative_to(ours)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(part, target)
    program = host.root / PROGRAM[1:]
    program.write_text(
        "#!/usr/bin/python3\nimport sys\nsys.path.insert(0, '/opt/ansible')\n"
        "from ansible.cli.playbook import main\nmain()\n"
    )
    program.chmod(0o755)
    for name in ("galaxy.yml", "meta", "playbooks", "plugins", "roles"):
        source, target = CHECKOUT / name, host.root / COLLECTION / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    cache = host.root / CACHE
    cache.mkdir(parents=True)
    shutil.copy(_fetch.binary(_releases.NEWEST, os.uname().machine), cache)
    host.run("chown -R deploy: /home/deploy/.ansible /home/deploy/.cache")
