# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "visit" of the controller wing (private to the collection): what ``record`` and ``dump`` have in common.

Both select on the host, bring py-spy where it is missing, leave hosts alone that opted out, and only tell the plan in
check mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ._errors import FleetError
from ._fields import Fields
from ._host import HostAction
from ._patience import Patience
from ._run import Run
from ._wire import HostRecord, JsonObject, Selection


class VisitAction(HostAction):
    """A subclass sets these and writes :meth:`visit`.

    ``operation`` is that of the host program; ``parts`` names the options that go to it, as they are grouped there;
    ``places`` are the options (with their spec) that say where results go.
    """

    operation = ""
    parts: Mapping[str, Iterable[str]] = {}
    places: Mapping[str, Mapping[str, object]] = {}

    def refused(self, error: FleetError) -> None:
        """The report speaks of this host, too; where it goes is known without the option that is wrong."""
        if not self.check_mode:
            where = {name: self._task.args.get(name) or spec["default"] for name, spec in self.places.items()}
            self.write_failure(self.open_run(where), HostRecord(self.host, "failed", self.groups), error)

    def perform(self, options: dict[str, Any]) -> JsonObject:
        if not options["enabled"]:
            if not self.check_mode:
                self.keep(self.open_run(options), HostRecord(self.host, "opted_out", self.groups))
            message = f"{self.host} is opted out: pyspy_enabled is false for it"
            return {"changed": False, "skipped": True, "msg": message}
        if options["too_late"]:
            error = FleetError("no time was left for it", "others took all of it", "allow more time, or raise forks")
            if not self.check_mode:
                self.write_failure(self.open_run(options), self.fresh(), error)
            raise error
        self.patience = Patience(options["patience"])
        if self.check_mode:
            with self.patience.kept():
                answer = self.ask_with_binary(self.operation, {**self._order(options, ""), "check": True}, options)
            return {"changed": False, **Selection.from_wire(answer.get("selection")).to_result()}
        return self.visit(options, self.open_run(options))

    def visit(self, options: dict[str, Any], run: Run) -> JsonObject:
        """Do the work on the host and keep what comes of it; the result's keys."""
        raise NotImplementedError

    def fresh(self) -> HostRecord:
        """What is known of the host before it has answered."""
        return HostRecord(self.host, "failed", self.groups)

    def _order(self, options: dict[str, Any], run: str) -> JsonObject:
        return {
            **{part: {name: options[name] for name in names} for part, names in self.parts.items()},
            "attach_policy": options["attach_policy"],
            "reason": options["reason"],
            "by": self.asker,
            "run": run,
        }

    def order(self, options: dict[str, Any], run: Run, **more: object) -> Fields:
        """Run the operation; its answer."""
        arguments = {**self._order(options, run.name), **more}
        answer = self.ask_with_binary(self.operation, arguments, options)
        return Fields(answer, f"answer to {self.operation}")

    def record(self, status: str, fields: Fields, version: str, **more: object) -> HostRecord:
        """What the operation found, as the run keeps it."""
        known = {
            "host": self.host,
            "status": status,
            "groups": list(self.groups),
            "selection": fields.value("selection"),
            "captures": fields.rows("captures"),
            "evidence": None,
            "warnings": list(fields.texts("warnings")),
            "facts": {**fields.mapping("facts"), "py-spy": version},
            "binary_changed": fields.boolean("binary_changed"),
        }
        record = HostRecord.from_wire({**known, **more})
        # Files and labels are ours to name.
        return replace(record, captures=tuple(replace(capture, file="", labels=()) for capture in record.captures))

    def found(self, run: Run, record: HostRecord) -> JsonObject:
        """What was chosen, as counts, and what became of it."""
        return {
            "changed": record.binary_changed,
            "targets": len(record.selection.targets),
            "skipped_processes": record.selection.considered - len(record.selection.targets),
            "found": record.selection.considered,
            "notes": list(record.selection.notes),
            **self.outcome(run, record),
        }
