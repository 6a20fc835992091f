# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action "snapshot": what a round of snapshots does on the controller; no host is connected to."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.pyspy.fleet.plugins.modules.snapshot import ARGUMENT_SPEC
from ansible_collections.pyspy.fleet.plugins.plugin_utils._baseline import zone_of
from ansible_collections.pyspy.fleet.plugins.plugin_utils._changes import limit
from ansible_collections.pyspy.fleet.plugins.plugin_utils._choosing import chosen, waves
from ansible_collections.pyspy.fleet.plugins.plugin_utils._drift_text import lines as drift_lines
from ansible_collections.pyspy.fleet.plugins.plugin_utils._drift_text import result
from ansible_collections.pyspy.fleet.plugins.plugin_utils._drift_text import verdict as drifted
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._named_rounds import span
from ansible_collections.pyspy.fleet.plugins.plugin_utils._outlook import Terms, look_back
from ansible_collections.pyspy.fleet.plugins.plugin_utils._preview import plan_lines
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._text import row
from ansible_collections.pyspy.fleet.plugins.plugin_utils._round import lines, services, verdict
from ansible_collections.pyspy.fleet.plugins.plugin_utils._rounds import Retention, Round, retention
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import open_run, process_key, user_name
from ansible_collections.pyspy.fleet.plugins.plugin_utils._snapshots import begin, found, inbox, keep
from ansible_collections.pyspy.fleet.plugins.plugin_utils._store._store import open_store


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core carries no types
    """One of three steps, once for all hosts."""

    _requires_connection = False
    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        arguments["store"] = os.path.abspath(os.path.expanduser(str(arguments["store"])))
        hosts = [str(host) for host in (task_vars or {}).get("ansible_play_batch") or ()]
        step = {"begin": self._begin, "plan": self._plan, "end": self._end}[arguments["step"]]
        try:
            limit(arguments["fail_above"])
            return {**result, "changed": False, **step(arguments, hosts)}
        except FleetError as error:
            return {**result, "failed": True, "changed": False, "msg": str(error)}

    def _begin(self, arguments: Mapping[str, Any], hosts: Sequence[str]) -> dict[str, Any]:
        for name in ("share", "at_once"):
            _require_share(name, arguments[name])
        _retention(arguments)
        if self._task.check_mode:
            visit = chosen(hosts, arguments["share"])
            rounds: Sequence[Round] = ()
            if os.path.exists(arguments["store"]):
                with open_store(arguments["store"], create=False) as store:
                    rounds = store.rounds()
            _terms(rounds, arguments)
            return {"round": "", "chosen": list(visit), "output_dir": inbox(arguments["store"])}
        time.sleep(random.uniform(0, max(0.0, arguments["jitter"])))
        with open_store(arguments["store"]) as store:
            _terms(store.rounds(), arguments)
            begun = begin(store, hosts, arguments["share"], user_name(), arguments["reason"])
        for note in begun.notes:
            Display().display(note)
        return {"round": begun.round.name, "chosen": list(begun.hosts), "output_dir": inbox(arguments["store"])}

    def _plan(self, arguments: Mapping[str, Any], hosts: Sequence[str]) -> dict[str, Any]:
        # In check mode nothing is recorded, so all at once is as good.
        share = 1.0 if self._task.check_mode else arguments["at_once"]
        known = services(arguments["surveys"], arguments["services"])
        return {"waves": [list(wave) for wave in waves(known, share)]}

    def _end(self, arguments: Mapping[str, Any], hosts: Sequence[str]) -> dict[str, Any]:
        display = Display()
        width = max(60, min(display.columns or 80, 120))
        if self._task.check_mode:
            for line in plan_lines(arguments["planned"], hosts, width):
                display.display(line)
            return {"round": "", "snapshots": 0}
        run = open_run(inbox(arguments["store"]), "snapshot", "", process_key())
        what = found(run)
        with open_store(arguments["store"]) as store:
            keep(store, run, what)
            pruned = store.prune(_retention(arguments), what.round.ended)
            outlook = look_back(store, what.round, _terms(store.rounds(), arguments), arguments["fail_above"])
        screen = [*lines(what, pruned, width), *drift_lines(outlook.drifts, width), *row("Page", outlook.page, width)]
        for line in screen:
            display.display(line)
        wrong = verdict(what, str(arguments["fail_on"])) or drifted(outlook.drifts, arguments["fail_above"])
        failure = {"failed": True, "msg": str(wrong)} if wrong is not None else {}
        return {
            "round": what.round.name,
            "store": arguments["store"],
            "page": outlook.page,
            "snapshots": len(what.visited.snapshots),
            **result(outlook.drifts),
            **failure,
        }


def _terms(rounds: Sequence[Round], arguments: Mapping[str, Any]) -> Terms:
    since = arguments["usual_since"]
    return Terms(
        arguments["usual_rounds"],
        zone_of(str(arguments["zone"])),
        span(rounds, since)[0] if since else None,
        arguments["confirm"],
    )


def _retention(arguments: Mapping[str, Any]) -> Retention:
    return retention(arguments["keep_days"], arguments["keep_rounds"], arguments["keep_size"])


def _require_share(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise FleetError(
            f"pyspy_snapshot_{name} is a part of 1",
            f"got {value:g}",
            "give a number above 0 and up to 1: 0.1 is every tenth",
        )
