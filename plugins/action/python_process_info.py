# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action of the face ``python_process_info``: what the selectors choose on a host, and why."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyspy.fleet.plugins.module_utils._arguments import SELECTOR_ARGUMENTS
from ansible_collections.pyspy.fleet.plugins.plugin_utils._host import HostAction
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import JsonObject, Selection


class ActionModule(HostAction):
    """Reads and changes nothing, in check mode too."""

    arguments = SELECTOR_ARGUMENTS

    def perform(self, options: dict[str, Any]) -> JsonObject:
        answer = self.ask("info", {"selectors": options})
        selection = Selection.from_wire(answer.get("selection"))
        return {"changed": False, **selection.to_result()}
