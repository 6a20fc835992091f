# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "faults" of the lab (private to the collection): ``dump.yml`` on a service of this machine, once it stands."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.pyspy.fleet.tests.lab.host_program import Host
from ansible_collections.pyspy.fleet.tests.lab.hosts import CHECKOUT, ansible_command, ansible_environment
from ansible_collections.pyspy.fleet.tests.lab.managers import Running
from ansible_collections.pyspy.fleet.tests.lab.runs import Outcome, outcome
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

#: The name that this machine has in the inventory.
HERE = "web-07"


class Diagnosis(NamedTuple):
    """What a run of ``dump.yml`` says."""

    run: Outcome

    @property
    def first(self) -> str:
        """The first sentence, which the terminal shows too."""
        sentence = str(self.run.manifest["stacks"]["sentences"][0])
        assert sentence in self.run.words, self.run.text
        return sentence

    @property
    def groups(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.run.manifest["stacks"]["groups"]
        return found

    @property
    def states(self) -> Counter[str]:
        return sum((Counter(group["states"]) for group in self.groups), Counter())

    def culprits(self, state: str) -> dict[str, int]:
        """How many threads of this state are where, as a person is told."""
        return Counter(
            place(culprit["function"], culprit["file"], member["lines"][culprit["depth"]])
            for group in self.groups
            if (culprit := group["culprit"]) is not None
            for member in group["members"]
            if member["state"] == state
        )


def place(function: str, file: str, line: int) -> str:
    """A line of code in the words of a summary."""
    return f"`{function}` ({file}:{line})"


def diagnose(directory: str, here: Running, results: Path, **variables: object) -> Diagnosis:
    """Run the playbook on the workers of a service; py-spy is kept in ``directory``, which only root can write to."""
    results.mkdir(exist_ok=True)
    inventory = results / "inventory"
    inventory.write_text(f"{HERE} ansible_connection=local ansible_python_interpreter={sys.executable}\n")
    runs = results / "runs"
    settings = {"children_of": here.shell, "install_dir": directory, "output_dir": runs, "max_targets": 64, **variables}
    words = [part for name, value in settings.items() for part in ("-e", f"pyspy_{name}={value}")]
    done = subprocess.run(
        ansible_command("ansible-playbook", inventory, "pyspy.fleet.dump", *words),
        cwd=CHECKOUT,
        env=ansible_environment(results),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    run = outcome(done, runs)
    assert run.code == 0, run.text
    return Diagnosis(run)


def await_threads(host: Host, pids: list[int], standing: Mapping[tuple[str, int], int]) -> None:
    """Wait until so many threads of these processes have a frame of this function on this line."""

    def there() -> bool:
        answer, bodies = host.dump(pids, count=1)
        assert {head["outcome"] for head in answer["captures"]} == {"profiled"}, answer["captures"]
        frames = [frame for body in bodies for thread in body["looks"][0]["threads"] for frame in thread["frames"]]
        seen = Counter((frame["name"], frame["line"]) for frame in frames)
        return all(seen[where] >= number for where, number in standing.items())

    await_condition(f"{dict(standing)}", there)
