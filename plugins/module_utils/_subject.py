# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "subject" of the host wing (private to the collection): one target of a dump, over all looks at it."""

from __future__ import annotations

import os
import time
from typing import Dict, List, Optional, Tuple

from ._attach import RELAX, Identity, Verdict, identity
from ._credentials import look_at
from ._dump_options import Options, measure
from ._dumper import Dumper, Tools
from ._entering import Holder, intruded
from ._errors import HostError
from ._evidence import Trace
from ._launch import Role, exit_text
from ._looks import Looks
from ._namespaces import Door, open_door
from ._plan import Facts, stopping
from ._procfs import Gone, ProcessDir, parse_maps
from ._pyspy import diagnose, dump_arguments, explained, refused, was_refused
from ._resumer import resume_all
from ._selection import Process

#: A target that runs changes its stacks while they are read: such a look is tried this often.
_ATTEMPTS = 3
#: A target whose py-spy was killed is watched for this long (seconds): it may yet come to be stopped.
_SETTLING = 0.5
#: Others than py-spy 0.4.3, which somebody may have named, fail as a whole where a text is cut within a character.
_WITHOUT_LOCALS = "its local variables are left out: py-spy could not read them"


class Subject:
    """One target. ``failure`` is why there are no (more) looks at it."""

    def __init__(self, target: Process, options: Options) -> None:
        self.target = target
        self.failure: Optional[HostError] = None
        self.door: Optional[Door] = None
        self.dumper = Dumper()
        self.process: Optional[ProcessDir] = None
        self.blocking, self.native = options.stops(), options.native
        self._options = options
        self._notes: List[str] = []
        self._looks = Looks()
        self._attempt = self._errors = 0
        #: Whether local variables are asked for, still.
        self._local = options.local
        self._last: Optional[HostError] = None
        self._verdict: Optional[Verdict] = None
        self._relaxed = False
        self._attach = ""
        self._command_line: Optional[List[str]] = None
        self._began, self._ticks = time.time(), time.monotonic()
        self._ended, self._seconds = self._began, 0.0
        self._before = Trace(target.pid, "", 0, "", 0, "not attached to")

    def hold(self, tools: Tools) -> None:
        """Hold the process that was chosen, and see how it may be looked at."""
        try:
            self.process = ProcessDir(self.target.pid)
            if self.process.start != self.target.start:
                raise Gone(self.target.pid)
            self._before = Trace(self.target.pid, self.process.state, self.process.tracer_pid, "", 0)
            if self._options.command_lines:
                self._command_line = list(self.process.argv())
            self._choose_way(self.process)
            self._open_door(self.process, tools)
        except Gone:
            self._gone()

    def _choose_way(self, process: ProcessDir) -> None:
        contained = len(process.status().nspids) > 1
        inside = self._options.enter_namespaces and contained
        stuck = self.blocking and look_at(process, True).stuck
        facts = Facts(contained=contained, inside=inside, stuck=stuck)
        options = self._options
        self.blocking, self.native = stopping(options.native, options.nonblocking, facts, self._notes)
        if self.blocking:
            self._notes.append("the target was stopped for each dump" + (", for native frames" if self.native else ""))
        if any("/gevent/" in path for path in parse_maps(process.maps() or b"")):
            self._notes.append("gevent: of all greenlets of a thread only the one that runs is seen")

    def _open_door(self, process: ProcessDir, tools: Tools) -> None:
        if not self._options.enter_namespaces:
            return
        try:
            verdict = tools.terms.judge(look_at(process, self.blocking), self.blocking)
            self.door = open_door(process, tools.terms.us, verdict.way)
            if self.door is not None:
                self._notes.append("looked at from inside its container's namespaces, as asked for")
        except HostError as error:
            self.failure = error

    def begin(self, tools: Tools) -> bool:
        """Start one look; False where none could be started."""
        if self.failure is not None or self.process is None:
            return False
        self._attempt += 1
        self.dumper = Dumper()
        try:
            role = self._judge(self.process, tools)
            if self.failure is None:
                pid = self.door.inner if self.door is not None else self.process.pid
                arguments = dump_arguments(pid, self.blocking, self.native, self._local)
                whole = Role(tools.kernel, role, tools.terms.us.effective, os.getpid(), self.door)
                self.dumper.start(tools, arguments, whole)
        except Gone:
            self._gone()
        except OSError as error:
            self.failure = HostError("py-spy could not be started", str(error), "see what this host is short of")
        except HostError as error:
            self.failure = error
        if self.failure is not None:
            self.dumper.close()
        return self.failure is None

    def _judge(self, process: ProcessDir, tools: Tools) -> Optional[Identity]:
        """What py-spy has to become for this target; sets the failure where the kernel would refuse it anyway."""
        target = look_at(process, False)
        self._relaxed = tools.terms.policy == RELAX
        self._verdict = tools.terms.judge(target, self.blocking)
        if self._verdict.allowed is False:
            self.failure = refused(self._verdict, "")
            return None
        role = identity(self._verdict.way, tools.terms.us, target)
        self._attach = tools.terms.describe(self._verdict.way, role.uid if role else tools.terms.us.uid)
        return role

    def end(self) -> bool:
        """Take what has come of the look that was begun, which is ended; True when it is worth another attempt now."""
        try:
            self.dumper.end()
            output = self.dumper.output()
            _dump, stderr = self.dumper.words()
        finally:
            self.dumper.close()
        if self.dumper.died:
            self._put_back()
        if self.failure is not None:
            return False
        if output is not None and self._understood(output):
            self._attempt = 0
            self._ended, self._seconds = time.time(), time.monotonic() - self._ticks
            return False
        return self._missed(stderr)

    def _put_back(self) -> None:
        """Where py-spy may have left it stopped, but not where it was so before."""
        if self.blocking and self.process is not None and self._before.state_before not in ("T", "t"):
            if resume_all([self.process], _SETTLING):
                self._before = self._before._replace(note="was left stopped; resumed")

    def _understood(self, output: bytes) -> bool:
        """Is it a dump? One of a target that has ended meanwhile is none: its number may have been another's."""
        if self.process is None:
            return False
        try:
            return self._looks.take(output, self.process)
        except Gone:
            self._gone()
        except HostError as error:
            self.failure = error
        return True

    def _missed(self, stderr: str) -> bool:
        """Nothing came of this attempt; later looks may be luckier, unless the kernel refuses them."""
        self._last = self._explained(stderr)
        if self.dumper.late:
            remedy = "see what keeps this host or that process so busy, or raise the deadline"
            self._last = HostError("py-spy did not end in time and was killed", "", remedy)
        elif self._attempt < _ATTEMPTS and not was_refused(stderr) and self._is_there():
            return True
        elif self._local and not was_refused(stderr) and self._is_there():
            self._local, self._attempt = False, 0
            self._notes.append(_WITHOUT_LOCALS)
            return True
        self._errors, self._attempt = self._errors + 1, 0
        if not self._is_there():
            self._gone()
        elif was_refused(stderr):
            self.failure = self._last
        return False

    def _explained(self, stderr: str) -> HostError:
        """Why there is no dump. While it reads locals py-spy's words may hold their values (as in its issue 766)."""
        if self.dumper.status == 0:
            return HostError(
                "its threads changed while they were read", "%d times in a row" % self._attempt, "dump it again"
            )
        found = diagnose(exit_text(self.dumper.status), "", stderr)
        if self._local:
            found = HostError(found.reason, "py-spy's own words are withheld: they may hold values", found.remedy)
        return explained(found, stderr, None if self.door else self._verdict, self._relaxed)

    def _is_there(self) -> bool:
        try:
            return self.process is not None and self.process.state not in ("Z", "X")
        except Gone:
            return False

    def _gone(self) -> None:
        when = "after %d of %d dumps" % (len(self._looks), self._options.looks)
        self.failure = HostError("the target ended %s" % when, "PID %d" % self.target.pid, "select again")

    def intruded(self, holder: Holder) -> None:
        """Somebody has come into the container who could take py-spy over: it ends at once."""
        self.failure = intruded(holder)
        self.dumper.end()

    def settle(self) -> Trace:
        """What was read of the target before and after; everything held is let go."""
        trace = self._before
        if self.process is not None and trace.state_before:
            try:
                state, tracer = self.process.state, self.process.tracer_pid
                if state in ("Z", "X"):
                    raise Gone(self.target.pid)
                trace = trace._replace(state_after=state, tracer_after=tracer)
            except Gone:
                trace = trace._replace(note="ended meanwhile")
        for held in (self.process, self.door):
            if held is not None:
                held.close()
        return trace

    def capture(self) -> Tuple[Dict[str, object], bytes]:
        """Its head as it crosses the wire, and the compressed looks."""
        notes, failure = list(self._notes), self.failure
        if len(self._looks):
            notes += [failure.reason] if failure is not None else []
            if self._errors and self._last is not None:
                notes.append("of the dumps %d failed: %s" % (self._errors, self._last.reason))
            elif failure is None and len(self._looks) < self._options.looks:
                notes.append("%d of %d dumps: then the deadline was over" % (len(self._looks), self._options.looks))
            failure = None
        elif failure is None:
            failure = self._last or HostError("there was no time for a dump of it", "", "raise the deadline")
        # Here it is not seen by whoever reads the controller's log.
        body = self._looks.body({"command_line": self._command_line} if self._command_line is not None else {})
        head: Dict[str, object] = {
            "process": self.target.to_wire(),
            "measure": measure(self.blocking, self.native),
            "outcome": "failed" if failure else "profiled",
            "samples": len(self._looks),
            "errors": self._errors,
            "began": self._began,
            "ended": self._ended,
            "seconds": self._seconds,
            "size": len(body),
            "notes": notes,
            "attach": self._attach,
            "segment": 1,
            "harm": None,
        }
        head.update(failure.to_wire() if failure else {"reason": "", "detail": "", "remedy": ""})
        return head, body
