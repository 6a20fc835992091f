# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "host" of the controller wing (private to the collection): running the host program through a connection.

Action plugins of faces that work on hosts derive from :class:`HostAction`.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

from ._bundle import command, envelope, needs_terminal, parse_answer
from ._errors import FleetError
from ._evidence import lines as evidence_lines
from ._fetch import compressed
from ._fields import bounded
from ._passes import joined
from ._releases import NEWEST, known
from ._run import Run, open_run, process_key, safe_name, user_name
from ._wire import ErrorText, HostRecord, JsonObject

#: A host that went away is noticed after half a minute. TCP alone takes a quarter of an hour over it, and the report
#: with it. ssh takes the first value that it meets for an option, so settings of the user's own win.
_KEEPALIVE = "-o ServerAliveInterval=10 -o ServerAliveCountMax=3"


class HostAction(ActionBase):  # type: ignore[misc]  # ansible-core carries no types
    """Base of the actions that run an operation of the host program.

    A subclass sets :attr:`arguments` (its argument spec) and writes :meth:`perform`;
    what that raises as FleetError becomes a failed result of one line.
    """

    arguments: dict[str, Any] = {}
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: object = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._variables = task_vars or {}
        self._python: str | None = None
        self._before: tuple[HostRecord | None] | None = None
        try:
            refuse_orphans()
            result.update(self.perform(self._options()))
        except FleetError as error:
            result.update(failed=True, msg=str(error), reason=error.reason, detail=error.detail, remedy=error.remedy)
        return result

    def _options(self) -> dict[str, Any]:
        try:
            _validation, options = self.validate_argument_spec(argument_spec=self.arguments)
        except AnsibleActionFail as error:
            remedy = f"correct it; ansible-doc {self._task.action} tells what it may be"
            wrong = FleetError("An option has a wrong value", str(error), remedy)
            self.refused(wrong)
            raise wrong from error
        return dict(options)

    def refused(self, error: FleetError) -> None:
        """What else there is to do when the options are wrong."""

    def perform(self, options: dict[str, Any]) -> JsonObject:
        """Do the work of the face with its validated options; the result's keys."""
        raise NotImplementedError

    @property
    def host(self) -> str:
        """The inventory's name of the host, as records have it; also where the task is delegated."""
        return bounded(str(self._variables.get("inventory_hostname", "localhost")))

    @property
    def asker(self) -> str:
        """Who runs this, for the journal of the host."""
        return f"{user_name()} on {os.uname().nodename}"

    @property
    def groups(self) -> tuple[str, ...]:
        """The inventory groups of the host."""
        return tuple(str(name) for name in self._variables.get("group_names") or ())

    def open_run(self, options: dict[str, Any]) -> Run:
        """The folder of this ``ansible-playbook`` run; ``-l`` or else the play's hosts become part of its name."""
        play = self._task.get_play()
        hosts = play.hosts if isinstance(play.hosts, str) else ",".join(play.hosts)
        label = self._variables.get("ansible_limit") or hosts
        return open_run(str(options["output_dir"]), str(options["job"]), str(label), process_key())

    @contextmanager
    def losses_recorded(self, run: Run, record: HostRecord) -> Iterator[None]:
        """What fails inside becomes the host's record too: the report speaks of every host."""
        try:
            yield
        except FleetError as error:
            self.write_failure(run, record, error)
            raise
        except AnsibleConnectionFailure as error:
            remedy = "see that ssh to it works, or leave it out with -l"
            if record.recording:
                remedy = f"when it is back: ansible-playbook pyspy.fleet.collect -e pyspy_collect_run={run.name}"
            text = ErrorText("The host cannot be reached", " ".join(str(error).split()), remedy)
            self.keep(run, replace(record, status="unreachable", error=text))
            raise

    def write_failure(self, run: Run, record: HostRecord, error: FleetError) -> None:
        text = ErrorText(error.reason, error.detail, error.remedy)
        self.keep(run, replace(record, status="failed", error=text))

    def keep(self, run: Run, record: HostRecord) -> None:
        """Write what came of this pass, beside all that earlier passes of the run brought from the host."""
        if self._before is None:
            self._before = (run.before(record.host),)
        run.write_host(joined(self._before[0], record))

    def paths(self, run: Run, record: HostRecord) -> list[str]:
        """The files of the targets that are usable, on the controller."""
        folder = os.path.join(run.path, "hosts", safe_name(record.host))
        return [os.path.join(folder, one.file) for one in record.captures if one.outcome == "profiled"]

    def outcome(self, run: Run, record: HostRecord) -> JsonObject:
        """What became of the host's targets, as counts and paths: results go to callbacks, logs and databases."""
        good = [capture for capture in record.captures if capture.outcome == "profiled"]
        failed = [capture for capture in record.captures if capture.outcome == "failed"]
        return {
            "run_dir": run.path,
            "profiled": len(good),
            "failed_targets": [f"{one.process.who}: {one.reason}" for one in failed],
            "captures": self.paths(run, record),
            "evidence": evidence_lines(record.evidence),
        }

    @property
    def check_mode(self) -> bool:
        return bool(self._task.check_mode)

    def ask(self, operation: str, arguments: JsonObject, payload: bytes = b"") -> JsonObject:
        """Run one operation on the host; its answer. FleetError with the host's own reason where it failed.

        Connection failures pass through (Ansible makes the host unreachable).
        """
        interpreter = self._python or self._interpreter()
        data = envelope(operation, arguments, payload)
        self._keep_alive()
        try:
            out = self._through_stdin(interpreter, data) if self._has_stdin() else None
            if out is None or (out["rc"] and needs_terminal(out["stdout"], out["stderr"])):
                out = self._through_file(interpreter, data)
        except AnsibleConnectionFailure:
            raise
        except AnsibleError as error:
            raise _not_run(str(error)) from error
        answer = parse_answer(out["stdout"], out["stderr"], out["rc"], interpreter)
        # What ran once is what runs again: no second search.
        self._python = interpreter or (str(answer["python"]) if answer.get("python") else None)
        if answer.get("ok") is not True:
            why = ErrorText.from_wire(answer.get("error"))
            raise FleetError(why.reason, why.detail, why.remedy)
        return answer

    def _interpreter(self) -> str | None:
        """The user's setting (variable, environment or configuration); None where that is left to us."""
        value = constants.config.get_config_value("INTERPRETER_PYTHON", variables=self._variables)
        name = str(self._templar.template(value)) if value else "auto"
        return None if name in ("auto", "auto_silent", "auto_legacy", "auto_legacy_silent") else name

    def _keep_alive(self) -> None:
        connection = self._connection
        if connection.transport == "ssh":
            extra = str(connection.get_option("ssh_extra_args") or "")
            if _KEEPALIVE not in extra:
                connection.set_option("ssh_extra_args", f"{extra} {_KEEPALIVE}".strip())

    def _has_stdin(self) -> bool:
        connection = self._connection
        if not connection.has_pipelining or (connection.become and not connection.become.pipelining):
            return False
        try:
            value, origin = connection.get_option_and_origin("pipelining")
        except (KeyError, AttributeError):
            return True
        if value is False and origin != "default":
            return False  # turned off on purpose: sudoers with requiretty
        connection.set_option("pipelining", True)
        return True

    def _through_stdin(self, interpreter: str | None, data: bytes) -> dict[str, Any]:
        out: dict[str, Any] = self._low_level_execute_command(command(interpreter), in_data=data)
        return out

    def _through_file(self, interpreter: str | None, data: bytes) -> dict[str, Any]:
        directory = self._make_tmp_path()
        try:
            path = self._connection._shell.join_path(directory, "pyspy-fleet")
            self._transfer_data(path, data)
            self._fixup_perms2((directory, path), execute=False)
            out: dict[str, Any] = self._low_level_execute_command(command(interpreter, path))
            return out
        finally:
            self._remove_tmp_path(directory, force=True)

    def ask_with_binary(self, operation: str, arguments: JsonObject, options: dict[str, Any]) -> JsonObject:
        """As :meth:`ask`, for operations that need py-spy: it is brought only where its checksum differs."""
        release = known(NEWEST if options["executable"] else options["version"])
        arguments = {
            **arguments,
            "binary": {
                "version": release.version,
                "sha256": release.checksums(),
                "directory": options["install_dir"] or "",
                "executable": options["executable"] or "",
            },
            "size": max(build.size for build in release.builds.values()),
        }
        answer = self.ask(operation, arguments)
        need = answer.get("need_binary")
        if not isinstance(need, dict) or self.check_mode:
            return answer
        payload = compressed(release.version, str(need.get("architecture")), options["wheel_dir"] or None)
        answer = self.ask(operation, arguments, payload)
        if "need_binary" in answer:
            raise FleetError(
                "py-spy was brought but the host does not see it", "", "run the install playbook with -vvv"
            )
        return answer


def refuse_orphans() -> None:
    """Stop a worker whose ``ansible-playbook`` was killed: it would go on, and nobody is left to make the report.

    Captures stay on the host, for the playbook that makes one.
    """
    controller = multiprocessing.parent_process()
    if controller is not None and controller.pid != os.getppid():
        raise FleetError("ansible-playbook was killed", "", "run the playbook pyspy.fleet.collect")


def _not_run(words: str) -> FleetError:
    """Ansible refused to run a command on the host, in its own words."""
    if "password" in words:
        return FleetError("Becoming another user failed", words, "give the right password with -K (--ask-become-pass)")
    return FleetError("The host program could not be run", words, "see that become works: ansible HOST -b -m ping")
