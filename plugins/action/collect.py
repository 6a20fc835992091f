# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action of the face ``collect``: wait on the controller for a window to end, then bring the captures back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.pyspy.fleet.plugins.module_utils._arguments import COLLECT_ARGUMENTS, RUN_ARGUMENTS
from ansible_collections.pyspy.fleet.plugins.plugin_utils._collect import (
    ORPHANED_AFTER,
    collect,
    require_result,
    wait_for_window,
)
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._fields import Fields
from ansible_collections.pyspy.fleet.plugins.plugin_utils._host import HostAction
from ansible_collections.pyspy.fleet.plugins.plugin_utils._patience import Patience
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import HostRecord, JsonObject, Selection


class ActionModule(HostAction):
    """One recording that this run started, or whatever a dead controller left on the host."""

    arguments = {**COLLECT_ARGUMENTS, **RUN_ARGUMENTS}

    def perform(self, options: dict[str, Any]) -> JsonObject:
        if self.check_mode:
            waiting, left = ([options["recording"]], []) if options["recording"] else self._waiting(options["run"])
            lines = [f"would be collected: {one}" for one in waiting] + left
            text = "; ".join(lines) or "no recording waits on this host"
            return {"changed": False, "waiting": waiting, "left": left, "msg": text}
        run = self.open_run(options)
        if options["recording"]:
            patience = Patience(options["patience"])
            record = HostRecord(self.host, "recording", self.groups, recording=options["recording"])
            with patience.kept():
                wait_for_window(run, options["not_before"])
            with self.losses_recorded(run, record), patience.kept():
                record = collect(self, run, record)
            require_result(record)
            # Those that were refused when it started belong to it.
            whole = self.outcome(run, run.before(self.host) or record)
            return {"changed": False, **whole, "profiled": len(self.paths(run, record))}
        return self._collect_left(run, options["run"])

    def _collect_left(self, run: Run, wanted: str) -> JsonObject:
        record = HostRecord(self.host, "nothing", self.groups)
        with self.losses_recorded(run, record):
            recordings, left = self._waiting(wanted)
            note = "its recordings may still have a controller" if left else "no recording waits on this host"
            record = replace(record, warnings=tuple(left), selection=Selection(notes=(note,)))
            self.keep(run, record)
            for recording in recordings:
                record = collect(self, run, replace(record, recording=recording))
        require_result(record)
        return {"changed": False, "left": left, **self.outcome(run, record)}

    def _waiting(self, wanted: str) -> tuple[list[str], list[str]]:
        """Recordings to fetch, and a line for each that is left alone because its controller may still come."""
        take, left = [], []
        for row in Fields(self.ask("list", {}), "answer to list").rows("recordings"):
            fields = Fields(row, "recording")
            identity, run = fields.text("id"), fields.text("run")
            if run == wanted or (not wanted and fields.number("ended_ago") >= ORPHANED_AFTER):
                take.append(identity)
            elif not wanted:
                left.append(f"recording {identity} of run {run} is too young; name it: pyspy_collect_run={run}")
        if wanted and not take:
            raise FleetError(
                f"This host has no recording of run {wanted}",
                "it was collected already, or deleted at its keep deadline",
                "leave pyspy_collect_run out to fetch whatever is there",
            )
        return take, left
