# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action of the face ``ptrace_scope``: take, prolong and give back the lease on the sysctl of a host."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyspy.fleet.plugins.module_utils._arguments import LEASE_ARGUMENTS
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._fields import Fields
from ansible_collections.pyspy.fleet.plugins.plugin_utils._host import HostAction
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import JsonObject


class ActionModule(HostAction):
    """The host program does it and leaves behind what puts the value back."""

    arguments = LEASE_ARGUMENTS

    def perform(self, options: dict[str, Any]) -> JsonObject:
        held = options["state"] == "held"
        if not held and not options["holder"]:
            raise FleetError(
                "state=released needs holder", "", "give the name that the task which took the lease returned"
            )
        answer = self.ask(
            "lease", {**options, "holder": options["holder"] or "", "by": self.asker, "check": self.check_mode}
        )
        fields = Fields(answer, "answer to lease")
        before, after = (None if fields.value(key) is None else fields.integer(key) for key in ("before", "after"))
        notes = list(fields.texts("notes"))
        value = [] if after is None else [f"ptrace_scope is {after}"]
        result: JsonObject = {
            "changed": before != after,
            "holder": fields.text("holder"),
            "before": before,
            "after": after,
            "notes": notes,
            "diff": {"before": _shown(before), "after": _shown(after)},
            "msg": "; ".join([*value, *notes]),
        }
        if held:
            original = None if fields.value("original") is None else fields.integer("original")
            result.update(original=original, seconds_left=fields.number("seconds_left"))
        return result


def _shown(value: int | None) -> str:
    return "" if value is None else f"kernel.yama.ptrace_scope = {value}\n"
