# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "lookout" of the lab (private to the collection): laying out ``lookout_program.py`` and hearing its words."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from .vm import Machine
from .waiting import await_condition

PROGRAM = Path(__file__).with_name("lookout_program.py")
#: Where it lies on the machine, the list of what lay there before, and where it finds its order.
HERE, BASELINE, ORDER = "/opt/lookout.py", "/opt/lookout.files", "/opt/lookout.order"
_MARK = "@lookout@"

Seen = dict[str, Any]


class Lookout:
    """One machine's lookout. Its words come by the machine's console, so that no fault can hold them up."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._console = machine.directory / "console"
        self._from = 0

    def lay(self) -> None:
        """Put it there; what lies on the machine from now on is what is expected to lie there afterwards."""
        self._machine.write(HERE, PROGRAM.read_bytes())
        self._machine.run(f"dmesg -n 1; python3 {HERE} files > {BASELINE}")

    def new_files(self) -> list[str]:
        """What lies on the machine now that did not when it was laid."""
        return self._machine.run(f"python3 {HERE} new").stdout.splitlines()

    def begin(self, **wish: object) -> None:
        """Let it wait for a window; see ``watch`` in the program for what can be wished."""
        self.listen()
        words = f"python3 {HERE} watch {shlex.quote(json.dumps(wish))}"
        self._machine.run(f"{self._machine.apart()} setsid {words} </dev/null >/dev/null 2>&1 &")

    def listen(self) -> None:
        """Forget what was said before."""
        self._from = self._console.stat().st_size

    def order(self, fault: str) -> None:
        """Have the fault done that a waiting lookout was not told of yet."""
        self._machine.run(f"cat > {ORDER}.new; mv {ORDER}.new {ORDER}", stdin=fault.encode())

    def heard(self) -> list[Seen]:
        """All that it said since it began."""
        with self._console.open("rb") as console:
            console.seek(self._from)
            text = console.read().decode("utf-8", "replace")
        lines = text[: text.rfind("\n") + 1].splitlines()
        return [json.loads(line.removeprefix(_MARK)) for line in lines if line.startswith(_MARK)]

    def hear(self, kind: str, seconds: float = 120) -> Seen:
        """Wait for the first word of this kind."""
        found: list[Seen] = []

        def said() -> bool:
            words = self.heard()
            assert all(one["kind"] != "failed" for one in words), words
            found[:] = [one for one in words if one["kind"] == kind]
            return bool(found)

        await_condition(f"the lookout's word: {kind}", said, seconds)
        return found[0]
