# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "incidents" of the lab (private to the collection): the runbook as a person uses it, who types what it says."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from ansible_collections.pyspy.fleet.tests.lab.hosts import CHECKOUT, ansible_environment
from ansible_collections.pyspy.fleet.tests.lab.runs import Outcome, outcome

PAGE = CHECKOUT / "docs" / "runbook.md"
RUNS = "pyspy-runs"


class Scenario(NamedTuple):
    """A section of the page: the commands that it says, each as it is to be typed, and the output that it shows."""

    commands: list[str]
    shown: list[str]


def scenario(title: str) -> Scenario:
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    [section] = [text for text in sections if text.partition("\n")[0] == title]
    consoles = re.findall(r"^```console\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    # A backslash at the end goes on in the next line.
    lines = re.findall(r"^\$ (.*(?:(?<=\\)\n.*)*)", "\n".join(consoles), re.MULTILINE)
    blocks = re.findall(r"^```text\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return Scenario(lines, [line for block in blocks for line in block.splitlines() if line.strip() not in ("", "…")])


class Desk(NamedTuple):
    """Where a person sits: a folder, and Ansible set up for these hosts, logged in as ``user``.

    Each command has a folder of its own there, so that its results are still the latest when the next has run.
    """

    folder: Path
    home: Path
    inventory: Path
    user: str = "deploy"

    def types(self, command: str, where: Path | None = None) -> Outcome:
        environment = {
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_INVENTORY": str(self.inventory),
            "ANSIBLE_REMOTE_USER": self.user,
            # An emulated sudo takes its time.
            "ANSIBLE_TIMEOUT": "120",
        }
        here = where or Path(tempfile.mkdtemp(dir=self.folder))
        done = subprocess.run(
            command,
            shell=True,
            cwd=here,
            env={**ansible_environment(self.home), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        return outcome(done, here / RUNS)


def not_shown(scenario: Scenario, *runs: Outcome) -> list[str]:
    """Lines of the page that none of the outputs has, whatever the numbers are, and where they make a line break."""
    seen = _shape(" ".join(run.text + dumps(run) for run in runs))
    return [line for line in scenario.shown if _shape(line) not in seen]


def _shape(text: str) -> str:
    return " ".join(re.sub(r"\d+(\.\d+)?", "0", text).split())


def dumps(run: Outcome) -> str:
    """The text of all dumps of a run; "" when it has none."""
    if not run.runs.is_dir():
        return ""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(run.folder.glob("hosts/*/*.txt")))
