# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action of the face ``install``: a pinned, checksummed py-spy is present or absent on the host."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyspy.fleet.plugins.module_utils._arguments import INSTALL_ARGUMENTS
from ansible_collections.pyspy.fleet.plugins.plugin_utils._fields import Fields
from ansible_collections.pyspy.fleet.plugins.plugin_utils._host import HostAction
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import JsonObject


class ActionModule(HostAction):
    """The controller brings the binary; the host needs neither pip nor a way out."""

    arguments = {
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        **INSTALL_ARGUMENTS,
    }

    def perform(self, options: dict[str, Any]) -> JsonObject:
        check: JsonObject = {"check": self.check_mode}
        if options["state"] == "absent":
            answer = self.ask("remove", {**check, "binary": {"directory": options["install_dir"] or ""}})
            removed = Fields(answer, "answer to remove").texts("removed")
            return {"changed": bool(removed), "removed": list(removed)}
        fields = Fields(self.ask_with_binary("install", check, options), "answer to install")
        if fields.value("need_binary") is not None:
            return {"changed": True, "version": options["version"], "msg": "py-spy would be brought"}
        return {
            "changed": fields.boolean("binary_changed"),
            "path": fields.text("path"),
            "version": fields.text("version"),
            "sha256": fields.text("sha256"),
        }
