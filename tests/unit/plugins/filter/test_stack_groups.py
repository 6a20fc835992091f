# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the filter "stack_groups", through Ansible's own templating of a playbook, and of its documentation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.errors import AnsibleTemplatePluginError
from ansible_collections.pyspy.fleet.plugins.filter.stack_groups import FilterModule

BIN = Path(sys.executable).parent
COLLECTIONS = os.path.abspath(__file__).partition("/tests/")[0] + "/.collections"

PLAYBOOK = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    frame: {name: connect, filename: /srv/shop/db.py, short_filename: db.py, line: 7, locals: null}
    thread: {thread_id: 1, thread_name: a, os_thread_id: 2, active: false, owns_gil: true, frames: ["{{ frame }}"]}
    dumps:
      - {host: web-01, pid: 7, threads: ["{{ thread }}"]}
      - {host: web-02, pid: 7, looks: [{at: 0, threads: ["{{ thread }}"]}, {at: 1, threads: ["{{ thread }}"]}]}
      - {host: web-03, pid: 7, threads: [], name: idle}
  tasks:
    - ansible.builtin.assert:
        that:
          - found | length == 1
          - found[0].hosts == ['web-01', 'web-02']
          - found[0].culprit.function == 'connect' and found[0].culprit.file == 'shop/db.py'
          - found[0].states['moving'] == 1 and found[0].states['seen once'] == 1
          - found[0].gil | map(attribute='host') == ['web-01', 'web-02']
          - found[0].members | map(attribute='thread') == ['a', 'a']
      vars:
        found: "{{ dumps | pyspy.fleet.stack_groups(order='rarest') }}"
"""


def run(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / tool), *arguments],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_playbook_groups_dumps(tmp_path: Path) -> None:
    (tmp_path / "groups.yml").write_text(PLAYBOOK)
    done = run("ansible-playbook", "-i", "localhost,", str(tmp_path / "groups.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_is_documented() -> None:
    done = run("ansible-doc", "-t", "filter", "pyspy.fleet.stack_groups")
    assert done.returncode == 0 and "rarest" in done.stdout and "culprit" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(("dumps", "order"), [("text", "largest"), ([{"host": "a"}], "largest"), ([], "loudest")])
def test_what_cannot_be_grouped_is_refused_in_one_line(dumps: object, order: str) -> None:
    with pytest.raises(AnsibleTemplatePluginError) as caught:
        FilterModule().filters()["stack_groups"](dumps, order)
    assert "\n" not in str(caught.value)
