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
    VISIT_ARGUMENTS,
)
from ansible_collections.pyspy.fleet.plugins.plugin_utils._collect import collect, require_result, wait_for_window
from ansible_collections.pyspy.fleet.plugins.plugin_utils._fields import Fields
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run
from ansible_collections.pyspy.fleet.plugins.plugin_utils._visit import VisitAction
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import HostRecord, JsonObject


class ActionModule(VisitAction):
    """One host: select, bring py-spy where it is missing, leave the keeper behind."""

    operation = "start"
    parts = {"selectors": SELECTOR_ARGUMENTS, "options": SAMPLING_ARGUMENTS, "limits": GUARDRAIL_ARGUMENTS}
    places = RUN_ARGUMENTS
    arguments = {
        **SELECTOR_ARGUMENTS,
        **SAMPLING_ARGUMENTS,
        **ATTACH_ARGUMENTS,
        **GUARDRAIL_ARGUMENTS,
        **INSTALL_ARGUMENTS,
        **RUN_ARGUMENTS,
        **VISIT_ARGUMENTS,
        **RECORD_ARGUMENTS,
    }

    def visit(self, options: dict[str, Any], run: Run) -> JsonObject:
        with self.losses_recorded(run, self.fresh()), self.patience.kept():
            record, ends_in = self._start(options, run)
        self.keep(run, record)
        ends = time.time() + ends_in
        if options["wait"] and record.recording:
            with self.patience.kept():
                wait_for_window(run, ends)
            with self.losses_recorded(run, record), self.patience.kept():
                record = collect(self, run, record)
            require_result(record)
        return {"recording": record.recording, "ends": ends, **self.found(run, record)}

    def _start(self, options: dict[str, Any], run: Run) -> tuple[HostRecord, float]:
        fields = self.order(options, run, keep=options["keep"])
        started = fields.value("recording")
        identity, ends_in = "", 0.0
        if started is not None:
            inner = Fields(started, "recording")
            identity, ends_in = inner.text("id"), inner.number("ends_in")
        status = "recording" if identity else "collected" if fields.rows("captures") else "nothing"
        labels = {str(key): str(value) for key, value in options["labels"].items() if value not in (None, "")}
        record = self.record(status, fields, options["version"], recording=identity, labels=labels)
        # Where nothing was started, nothing can have been profiled, whatever the host says.
        failed = tuple(replace(capture, outcome="failed") for capture in record.captures)
        return replace(record, captures=failed), ends_in
