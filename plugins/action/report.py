# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action "report": the run's folder made into a report, on the controller; no host is connected to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.release import __version__ as ansible_version
from ansible.utils.display import Display
from ansible_collections.pyspy.fleet.plugins.modules.report import ARGUMENT_SPEC
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError, one_line
from ansible_collections.pyspy.fleet.plugins.plugin_utils._fields import bounded
from ansible_collections.pyspy.fleet.plugins.plugin_utils._preview import plan_lines
from ansible_collections.pyspy.fleet.plugins.plugin_utils._report import (
    Context,
    build,
    may_print,
    outline,
    verdict,
)
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import open_run, process_key
from ansible_collections.pyspy.fleet.plugins.plugin_utils._summary import verb
from ansible_collections.pyspy.fleet.plugins.plugin_utils._version import collection_version


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core carries no types
    """Called for every host of the play: builds the report once, prints it once, and judges its own host."""

    _requires_connection = False
    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        host = str(variables["inventory_hostname"])
        try:
            if self._task.check_mode:
                _show_plan(arguments, host, variables)
                return {**result, **verdict_on_plan(arguments["planned"].get(host))}
            return {**result, **_report(arguments, bounded(host), variables)}
        except FleetError as error:
            if arguments["brief"] and _texts(variables.get("ansible_play_batch"))[:1] == [host]:
                # Who asks for a line has his play go on all the same: the failure is not shown.
                Display().display(f"Evidence: none; {error}")
            return {**result, "failed": True, "changed": False, "msg": str(error)}


def _report(arguments: Mapping[str, Any], host: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    label = str(variables.get("ansible_limit") or "all")
    run = open_run(str(arguments["output_dir"]), str(arguments["job"]), label, process_key())
    context = _context(arguments, variables)
    display = Display()
    if arguments["brief"]:
        # Before the page is made, which may take its time: somebody waits.
        if may_print(run, host, []):
            for line in outline(run, context).brief(_numbers(arguments["had"])):
                display.display(line)
        summary = build(run, context)
    else:
        summary = build(run, context)
        if may_print(run, host, _hosts(variables.get("ansible_play_batch"))):
            for line in summary.lines(max(60, min(display.columns or 80, 120))):
                display.display(line)
    wrong = verdict(run.host(host), str(arguments["fail_on"]))
    if wrong is not None:
        message = one_line(wrong.reason, wrong.detail, wrong.remedy)
        return {"failed": True, "changed": False, "msg": message, "report": summary.report}
    return {
        "changed": False,
        "run_dir": summary.run_dir,
        "report": summary.report,
        "summary": f"{summary.run_dir}/summary.md",
        "hosts": dict(summary.hosts),
        "targets": dict(summary.targets),
    }


def _context(arguments: Mapping[str, Any], variables: Mapping[str, Any]) -> Context:
    return Context(
        job=str(arguments["job"]),
        title=str(arguments["title"]),
        reason=str(arguments["reason"]),
        # A play that is about something else may leave hosts out.
        hosts=() if arguments["brief"] else tuple(_hosts(variables.get("ansible_play_hosts_all"))),
        parameters=arguments["parameters"],
        versions={"pyspy.fleet": collection_version(), "ansible-core": ansible_version},
        order=str(arguments["order"]),
    )


def _show_plan(arguments: Mapping[str, Any], host: str, variables: Mapping[str, Any]) -> None:
    hosts = _texts(variables.get("ansible_play_batch"))
    if hosts[:1] == [host]:
        display = Display()
        width = max(60, min(display.columns or 80, 120))
        for line in plan_lines(arguments["planned"], hosts, width, verb(str(arguments["job"]))):
            display.display(line)


def verdict_on_plan(mine: object) -> dict[str, Any]:
    """The verdict of check mode: a host whose plan could not be made fails as its recording would."""
    if isinstance(mine, Mapping) and (mine.get("reason") or mine.get("unreachable")):
        return {"failed": True, "changed": False, "msg": str(mine.get("msg"))}
    return {"changed": False}


def _numbers(value: Mapping[str, object]) -> dict[str, int]:
    return {str(key): int(str(number)) for key, number in value.items() if str(number).isdigit()}


def _hosts(value: object) -> Sequence[str]:
    """Names of hosts, as records have them."""
    return [bounded(name) for name in _texts(value)]


def _texts(value: object) -> Sequence[str]:
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else []
