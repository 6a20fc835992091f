# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action "diff": two profiles compared, on the controller; no host is connected to."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.pyspy.fleet.plugins.modules.diff import ARGUMENT_SPEC
from ansible_collections.pyspy.fleet.plugins.plugin_utils._changes import limit
from ansible_collections.pyspy.fleet.plugins.plugin_utils._diff import Diff, diff, lines, verdict
from ansible_collections.pyspy.fleet.plugins.plugin_utils._diff_files import file_of, write
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run
from ansible_collections.pyspy.fleet.plugins.plugin_utils._sides import Where, sides
from ansible_collections.pyspy.fleet.plugins.plugin_utils._snapshots import give_back


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core carries no types
    """Reads what lies in the folders of runs."""

    _requires_connection = False
    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        try:
            above = limit(arguments["fail_above"])
            # In check mode rounds of snapshots are read, too, but what is made of them goes away again.
            with tempfile.TemporaryDirectory() as folder:
                found = _compared(arguments, variables, folder if self._task.check_mode else arguments["output_dir"])
            if not self._task.check_mode:
                write(found, above)
        except FleetError as error:
            return {**result, "failed": True, "changed": False, "msg": str(error)}
        display = Display()
        for line in lines(found, file_of(found), max(60, min(display.columns or 80, 120))):
            display.display(line)
        wrong = verdict(found, above)
        failure = {"failed": True, "msg": str(wrong)} if wrong is not None else {}
        return {**result, "changed": False, **_result(found), **failure}


def _compared(arguments: Mapping[str, Any], variables: Mapping[str, Any], restored: str) -> Diff:
    hosts = variables.get("hostvars") or {}

    def variable(host: str, name: str) -> str | None:
        value = hosts[host].get(name) if host in hosts else None
        return None if value is None else str(value)

    def restore(name: str) -> Run:
        return give_back(str(arguments["store"]), name, restored)

    wanted = (str(arguments["a"]), str(arguments["b"]))
    where = Where(str(arguments["output_dir"]), str(arguments["run"]), variable, restore)
    return diff(*sides(wanted, where))


def _result(found: Diff) -> dict[str, Any]:
    clear = []
    for change in found.clear:
        shift = change.shift
        error = None if shift.error is None else round(100 * shift.error, 2)
        clear.append({"name": change.name, "file": change.file, "change": round(100 * shift.change, 2), "error": error})
    return {"diff": file_of(found), "enough": found.comparison.enough, "clear_changes": clear}
