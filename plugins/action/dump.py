# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action of the face ``dump``: the stacks of all threads of the targets, in one pass."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyspy.fleet.plugins.module_utils._arguments import (
    ATTACH_ARGUMENTS,
    DUMP_ARGUMENTS,
    DUMP_RUN_ARGUMENTS,
    GUARDRAIL_ARGUMENTS,
    INSTALL_ARGUMENTS,
    SELECTOR_ARGUMENTS,
    VISIT_ARGUMENTS,
)
from ansible_collections.pyspy.fleet.plugins.plugin_utils._dumped import ENDING, store
from ansible_collections.pyspy.fleet.plugins.plugin_utils._dumps import Dump
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run
from ansible_collections.pyspy.fleet.plugins.plugin_utils._stacks import groups
from ansible_collections.pyspy.fleet.plugins.plugin_utils._stacks_text import screen
from ansible_collections.pyspy.fleet.plugins.plugin_utils._visit import VisitAction
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import HostRecord, JsonObject

#: Lines of text in the result, and how wide they are.
_LINES, _WIDTH = 40, 100


class ActionModule(VisitAction):
    """One host: select, bring py-spy where it is missing, look, and write what was seen."""

    operation = "dump"
    parts = {"selectors": SELECTOR_ARGUMENTS, "options": DUMP_ARGUMENTS, "limits": GUARDRAIL_ARGUMENTS}
    places = DUMP_RUN_ARGUMENTS
    arguments = {
        **SELECTOR_ARGUMENTS,
        **DUMP_ARGUMENTS,
        **ATTACH_ARGUMENTS,
        **GUARDRAIL_ARGUMENTS,
        **INSTALL_ARGUMENTS,
        **DUMP_RUN_ARGUMENTS,
        **VISIT_ARGUMENTS,
    }

    def visit(self, options: dict[str, Any], run: Run) -> JsonObject:
        with self.losses_recorded(run, self.fresh()), self.patience.kept():
            record, dumps = self._look(options, run)
        self.keep(run, record)
        result = self.found(run, record)
        result["dumped"] = result.pop("profiled")
        del result["captures"]
        texts = [path.removesuffix(ENDING) + ".txt" for path in self.paths(run, record)]
        rows = groups(dumps)
        lines = screen(rows).lines(_WIDTH, _LINES)[:_LINES] if rows else []
        # Under "warnings" Ansible would show them as its own.
        result["notes"] = [*record.selection.notes, *record.warnings]
        return {**result, "dumps": texts, "groups": lines}

    def _look(self, options: dict[str, Any], run: Run) -> tuple[HostRecord, list[Dump]]:
        fields = self.order(options, run)
        evidence = fields.value("evidence")
        record = self.record(
            "collected" if fields.rows("captures") else "nothing",
            fields,
            options["version"],
            began=fields.moment("began"),
            ended=fields.moment("ended"),
            evidence=evidence,
        )
        return store(run, record, fields.value("data"))
