# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action "history": the report of rounds of snapshots, on the controller; no host is connected to."""

from __future__ import annotations

import tempfile
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.release import __version__ as ansible_version
from ansible.utils.display import Display
from ansible_collections.pyspy.fleet.plugins.modules.history import ARGUMENT_SPEC
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._report import Context, build
from ansible_collections.pyspy.fleet.plugins.plugin_utils._snapshots import give_back
from ansible_collections.pyspy.fleet.plugins.plugin_utils._version import collection_version


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core carries no types
    """In check mode the report is made where it goes away again: what is said of the rounds is the same."""

    _requires_connection = False
    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        versions = {"pyspy.fleet": collection_version(), "ansible-core": ansible_version}
        context = Context(job="snapshot", title=f"Snapshots of {arguments['rounds']}", versions=versions)
        display = Display()
        width = max(60, min(display.columns or 80, 120))
        try:
            with tempfile.TemporaryDirectory() as folder:
                place = folder if self._task.check_mode else str(arguments["output_dir"])
                summary = build(give_back(str(arguments["store"]), str(arguments["rounds"]), place), context)
        except FleetError as error:
            return {**result, "failed": True, "changed": False, "msg": str(error)}
        for line in summary.screen(width) if self._task.check_mode else summary.lines(width):
            display.display(line)
        if self._task.check_mode:
            return {**result, "changed": False}
        return {**result, "changed": False, "run_dir": summary.run_dir, "report": summary.report}
