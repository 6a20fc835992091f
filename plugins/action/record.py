# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action of the face ``record``: start a recording, and by default wait for it and bring it back."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from ansible_collections.pyspy.fleet.plugins.module_utils._arguments import (
    ATTACH_ARGUMENTS,
    GUARDRAIL_ARGUMENTS,
    INSTALL_ARGUMENTS,
    RECORD_ARGUMENTS,
    RUN_ARGUMENTS,
    SAMPLING_ARGUMENTS,
    SELECTOR_ARGUMENTS,
)
from ansible_collections.pyspy.fleet.plugins.plugin_utils._collect import collect, require_result, wait_for_window
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._host import HostAction
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import (
    Fields,
    HostRecord,
    JsonObject,
    Selection,
)


class ActionModule(HostAction):
    """One host: select, bring py-spy where it is missing, leave the keeper behind."""

    arguments = {
        **SELECTOR_ARGUMENTS,
        **SAMPLING_ARGUMENTS,
        **ATTACH_ARGUMENTS,
        **GUARDRAIL_ARGUMENTS,
        **INSTALL_ARGUMENTS,
        **RUN_ARGUMENTS,
        **RECORD_ARGUMENTS,
    }

    def refused(self, error: FleetError) -> None:
        """The report speaks of this host, too; where it goes is known without the option that is wrong."""
        if not self.check_mode:
            where = {name: self._task.args.get(name) or spec["default"] for name, spec in RUN_ARGUMENTS.items()}
            self.write_failure(self.open_run(where), HostRecord(self.host, "failed", self.groups), error)

    def perform(self, options: dict[str, Any]) -> JsonObject:
        if self.check_mode:
            return self._plan(options)
        run = self.open_run(options)
        record = HostRecord(host=self.host, status="opted_out", groups=self.groups)
        if not options["enabled"]:
            run.write_host(record)
            return {
                "changed": False,
                "skipped": True,
                "msg": f"{self.host} is opted out: pyspy_enabled is false for it",
            }
        with self.losses_recorded(run, record):
            record, ends_in = self._start(options, run)
        run.write_host(record)
        ends = time.time() + ends_in
        if options["wait"] and record.recording:
            wait_for_window(run, ends)
            with self.losses_recorded(run, record):
                record = collect(self, run, record)
            require_result(record)
        return self._result(run, record, ends)

    def _plan(self, options: dict[str, Any]) -> JsonObject:
        if not options["enabled"]:
            return {
                "changed": False,
                "skipped": True,
                "msg": f"{self.host} is opted out: pyspy_enabled is false for it",
            }
        answer = self.ask_with_binary("start", {**self._order(options, ""), "check": True}, options)
        selection = Selection.from_wire(answer.get("selection"))
        return {"changed": False, **selection.to_result()}

    def _order(self, options: dict[str, Any], run: str) -> JsonObject:
        return {
            "selectors": {name: options[name] for name in SELECTOR_ARGUMENTS},
            "options": {name: options[name] for name in SAMPLING_ARGUMENTS},
            "attach_policy": options["attach_policy"],
            "limits": {name: options[name] for name in GUARDRAIL_ARGUMENTS},
            "keep": options["keep"],
            "reason": options["reason"],
            "by": self.asker,
            "run": run,
        }

    def _start(self, options: dict[str, Any], run: Run) -> tuple[HostRecord, float]:
        answer = self.ask_with_binary("start", self._order(options, run.path.rpartition("/")[2]), options)
        fields = Fields(answer, "answer to start")
        started = fields.value("recording")
        identity, ends_in = "", 0.0
        if started is not None:
            inner = Fields(started, "recording")
            identity, ends_in = inner.text("id"), inner.number("ends_in")
        refused = fields.rows("captures")
        record = HostRecord.from_wire(
            {
                "host": self.host,
                "status": "recording" if identity else "collected" if refused else "nothing",
                "groups": list(self.groups),
                "recording": identity,
                "selection": fields.value("selection"),
                "captures": refused,
                "evidence": None,
                "warnings": list(fields.texts("warnings")),
                "facts": {**fields.mapping("facts"), "py-spy": options["version"]},
                "binary_changed": fields.boolean("binary_changed"),
            }
        )
        # Where nothing was started, nothing can have been profiled, whatever the host says.
        failed = tuple(replace(capture, outcome="failed", file="") for capture in record.captures)
        return replace(record, captures=failed), ends_in

    def _result(self, run: Run, record: HostRecord, ends: float) -> JsonObject:
        result: JsonObject = {
            "changed": record.binary_changed,
            "run_dir": run.path,
            "recording": record.recording,
            "ends": ends,
            "targets": len(record.selection.targets),
            "skipped_processes": record.selection.considered - len(record.selection.targets),
            "found": record.selection.considered,
            "notes": list(record.selection.notes),
        }
        result.update(self.outcome(run, record))
        return result
