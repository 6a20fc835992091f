# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action of the face ``cleanup``: end recordings on the host and remove what they left."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyspy.fleet.plugins.module_utils._arguments import CLEANUP_ARGUMENTS
from ansible_collections.pyspy.fleet.plugins.plugin_utils._fields import Fields
from ansible_collections.pyspy.fleet.plugins.plugin_utils._host import HostAction
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import JsonObject


class ActionModule(HostAction):
    """Safe at any time: healthy recordings are left alone unless told otherwise."""

    arguments = CLEANUP_ARGUMENTS

    def perform(self, options: dict[str, Any]) -> JsonObject:
        answer = self.ask("cleanup", {"force": options["force"], "check": self.check_mode})
        fields = Fields(answer, "answer to cleanup")
        found = list(fields.texts("found"))
        return {
            "changed": fields.boolean("changed"),
            "found": found,
            "msg": "; ".join(found) or "nothing of pyspy.fleet is here",
        }
