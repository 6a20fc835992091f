# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "recorder" of the host wing (private to the collection): one py-spy on one target, from start to capture."""

from __future__ import annotations

import os
import signal
import time
import zlib
from typing import Dict, List, NamedTuple, Optional, Tuple

from ._attach import RELAX, Identity, Verdict, identity
from ._credentials import Terms, look_at
from ._entering import Holder, intruded
from ._errors import HostError
from ._evidence import Trace
from ._launch import Files, Role, exit_text, launch, pieces
from ._namespaces import Door, open_door
from ._plan import Plan
from ._privileges import Kernel
from ._procfs import Gone, ProcessDir
from ._pyspy import Counts, counts, diagnose, explained, record_arguments, refused, remarks, without_command_lines
from ._watch import Watch

#: Most bytes a recorder may write into one of its descriptors (RLIMIT_FSIZE; it holds for memfds too).
#: One busy thread of 40 frames wrote 9 kB a second at 100 Hz (measured): an hour of four of them fits.
OUTPUT_LIMIT = 128 * 1024 * 1024
#: Most bytes of py-spy's own words that are read.
WORDS_LIMIT = 20_000
#: A process that ends may be seen running for this long (seconds); its memory is gone before its entry says so.
_PASSING_AWAY = 0.5


class Capture(NamedTuple):
    """What came of one target: ``head`` as it crosses the wire, ``body`` the compressed speedscope document."""

    head: Dict[str, object]
    body: bytes


class Recorder:
    """One py-spy process, its target held by an open ``/proc`` directory, its output in memory files.

    Nothing is written to disk, so nothing can be left there by a recorder that is killed.
    """

    def __init__(self, target: Dict[str, object], plan: Plan, segment: int = 1) -> None:
        self.target = target
        self.plan = plan
        self.segment = segment
        self.next_plan: Optional[Plan] = None
        self.hung = False
        self.kill_at = 0.0
        self.remarks: List[str] = []
        self.pid = 0
        self.killed = self._told = False
        self.status: Optional[int] = None
        self.failure: Optional[HostError] = None
        self._began = self._ended = 0.0
        self._ticks = 0.0
        self._confirmed = False
        self._process: Optional[ProcessDir] = None
        self._state_before, self._tracer_before = "", 0
        self._files: Optional[Files] = None
        self._verdict: Optional[Verdict] = None
        self._attach = ""
        self._relaxed = False
        self._watch: Optional[Watch] = None
        self._left: Optional[Trace] = None
        self.door: Optional[Door] = None

    def start(self, binary: int, duration: int, terms: Terms, kernel: Kernel) -> None:
        """Attach, unless the process that was chosen is no longer the one with that PID, or may not be attached to."""
        pid = int(str(self.target["pid"]))
        try:
            self._process = ProcessDir(pid)
            if self._process.start != self.target["start"]:
                raise Gone(pid)
            self._state_before, self._tracer_before = self._process.state, self._process.tracer_pid
            role = self._judge(self._process, terms)
            if self.failure is None and self.plan.inside:
                pid = self._open_door(self._process, terms)
        except Gone:
            self.failure = HostError("the target ended before it could be attached to", "PID %d" % pid, "select again")
        if self.failure is not None or self._process is None:
            return
        self._files = Files.create()
        arguments = record_arguments(self.plan, pid, "/proc/self/fd/%d" % self._files.capture, duration)
        self._began, self._ticks = time.time(), time.monotonic()
        whole = Role(kernel, role, terms.us.effective, os.getpid(), self.door)
        try:
            self.pid = launch(binary, arguments, self._files, whole, OUTPUT_LIMIT)
        except OSError as error:
            self.failure = HostError("py-spy could not be started", str(error), "see what this host is short of")
        except HostError as error:
            self.failure = error
        if self.failure is not None:
            return
        self._watch = Watch(self._process, self.pid, self.plan, self.target.get("cpu"))

    def _judge(self, process: ProcessDir, terms: Terms) -> Optional[Identity]:
        """What py-spy has to become for this target; sets the failure where the kernel would refuse it anyway."""
        target = look_at(process, self.plan.blocking)
        self._relaxed = terms.policy == RELAX
        self._verdict = terms.judge(target, self.plan.blocking)
        if self._verdict.allowed is False:
            self.failure = refused(self._verdict, "")
            return None
        role = identity(self._verdict.way, terms.us, target)
        self._attach = terms.describe(self._verdict.way, role.uid if role else terms.us.uid)
        return role

    def _open_door(self, process: ProcessDir, terms: Terms) -> int:
        """Get ready to go in; gives the target's PID inside, or sets the failure."""
        try:
            self.door = open_door(process, terms.us, self._verdict.way if self._verdict is not None else "")
        except HostError as error:
            self.failure = error
        return self.door.inner if self.door is not None else process.pid

    def intruded(self, holder: Holder) -> None:
        """Somebody is in there who could take it over: it ends at once, without its result."""
        if self.running():
            self.failure = intruded(holder)
            self.signal(signal.SIGKILL)

    def confirm(self) -> None:
        """Once py-spy samples, see that the process it found by number is still ours: PIDs are reused."""
        if self._confirmed or self._process is None or self._files is None or not os.fstat(self._files.stdout).st_size:
            return
        try:
            self._confirmed = self._process.state not in ("Z", "X")
        except Gone:
            pass

    def hurts(self, left: float) -> bool:
        """Look at what the target suffers; True when it has to end now, and ``next_plan`` is how to go on, if at all.

        ``left`` are the seconds until the window ends.
        """
        if self._watch is None:
            return False
        self._watch.look()
        decision = self._watch.judge(self.words()[0], self.segment, left) if self._watch.due() else None
        if decision is None:
            return False
        if not any(remark.split(":")[0] == decision.words.split(":")[0] for remark in self.remarks):
            self.remarks.append(decision.words)
        self.next_plan, self.hung = decision.plan, decision.hung
        return decision.end

    def last_look(self) -> None:
        if self._watch is not None and self.running():
            self._watch.read()

    def successor(self) -> Optional[Recorder]:
        """The recorder of the next segment, asked for once this one has ended; None when there is to be none."""
        following, self.next_plan = self.next_plan, None
        if following is None or self.killed or self.status != 0:
            return None
        return Recorder(self.target, following, self.segment + 1)

    def running(self) -> bool:
        return self.pid != 0 and self.status is None

    def ended(self, status: int) -> None:
        """Take the exit status that ``waitpid`` gave."""
        self.status = status
        self._ended = time.time()
        self._ticks = time.monotonic() - self._ticks

    def signal(self, number: int) -> None:
        """Signal py-spy while it has not been waited for, so its PID cannot be anybody else's."""
        if self.running():
            self._told = True
            self.killed = self.killed or number == signal.SIGKILL
            os.kill(self.pid, number)

    def left(self) -> Trace:
        """What was read of the target before and after, once; it is put back if it was left stopped by us."""
        if self._left is None:
            self._left = self._target_left()
        return self._left

    def _target_left(self) -> Trace:
        before = Trace(int(str(self.target["pid"])), self._state_before, self._tracer_before, "", 0)
        if self._process is None:
            return before._replace(note="not attached to")
        try:
            self._await_its_end()
            state, tracer = self._process.state, self._process.tracer_pid
            if state in ("Z", "X"):  # ended, and its parent has not asked for its status yet
                raise Gone(self._process.pid)
            stopped = state in ("T", "t") and self._state_before not in ("T", "t") and tracer == 0
            note = ""
            if stopped and self._may_have_stopped_it():
                self._process.send_signal(signal.SIGCONT)
                state, note = self._process.state, "was left stopped; resumed"
            return before._replace(state_after=state, tracer_after=tracer, note=note)
        except Gone:
            return before._replace(note="ended in the window")

    def _await_its_end(self) -> None:
        """A py-spy that ended well without being told to saw its target end; the kernel may be a moment behind."""
        limit = time.monotonic() + _PASSING_AWAY
        while self._process is not None and self.status == 0 and not self._told and time.monotonic() < limit:
            if self._process.state in ("Z", "X"):
                return
            time.sleep(0.01)

    def _may_have_stopped_it(self) -> bool:
        """Only a blocking py-spy that did not end by itself leaves a target stopped; else it was somebody else."""
        return self.plan.blocking and (self.status is None or os.WIFSIGNALED(self.status))

    def capture(self) -> Capture:
        """The result once py-spy has ended, and release of everything held."""
        try:
            counted, document = Counts(0, 0), b""
            notes = list(self.plan.reasons) + self.remarks
            if self.failure is None:
                try:
                    counted, notes, document = self._result()
                except HostError as error:
                    self.failure = error
            return Capture(self._head(counted, notes, len(document)), document)
        finally:
            if self._files is not None:
                self._files.close()
            if self.door is not None:
                self.door.close()
            if self._process is not None:
                self._process.close()

    def _result(self) -> Tuple[Counts, List[str], bytes]:
        stdout, stderr = self.words()
        counted = counts(stdout)
        if self.killed:
            raise HostError(
                "py-spy hung and had to be killed; its samples are lost",
                "it did not write its result within the grace after SIGINT",
                "a target thread in uninterruptible sleep (state D) causes this in blocking mode: leave native out",
            )
        if self.status == signal.SIGINT and self._told:  # it hears of it only once it samples
            raise HostError(
                "the window was over before py-spy had begun to sample",
                "it first reads the target's symbols, which takes long where a host is slow or busy",
                "take a longer window (duration)",
            )
        if counted is None or self.status != 0:
            found = diagnose(exit_text(self.status), stdout, stderr)
            raise explained(found, stderr, None if self.door else self._verdict, self._relaxed)
        if not self._confirmed:
            raise HostError(
                "the target ended before it was certain that the right process was sampled",
                "PID %s" % self.target["pid"],
                "select again",
            )
        notes = remarks(stdout, counted) + list(self.plan.reasons) + self.remarks
        if counted.samples == 0:
            return counted, notes + ["nothing was sampled: the target was idle; idle=true shows where it waits"], b""
        return counted, notes, self._packed()

    def words(self) -> Tuple[str, str]:
        """What py-spy has said so far, on stdout and on stderr."""
        if self._files is None:
            return "", ""
        both = [b"".join(pieces(file, WORDS_LIMIT)) for file in (self._files.stdout, self._files.stderr)]
        return both[0].decode("utf-8", "replace"), both[1].decode("utf-8", "replace")

    def _packed(self) -> bytes:
        """The compressed document; piece by piece, for it may be large and this runs beside the targets."""
        written = pieces(self._files.capture, OUTPUT_LIMIT) if self._files is not None else iter(())
        if self.plan.subprocesses:
            return zlib.compress(without_command_lines(b"".join(written)), 6)
        packer = zlib.compressobj(6)
        packed = [packer.compress(piece) for piece in written]
        return b"".join(packed + [packer.flush()])

    def _head(self, counted: Counts, notes: List[str], size: int) -> Dict[str, object]:
        failure = self.failure.to_wire() if self.failure else {"reason": "", "detail": "", "remedy": ""}
        outcome = "failed" if self.failure else "profiled" if counted.samples else "empty"
        head: Dict[str, object] = {
            "process": self.target,
            "measure": self.plan.measure(),
            "outcome": outcome,
            "samples": counted.samples,
            "errors": counted.errors,
            "began": self._began,
            "ended": self._ended or self._began,
            "seconds": self._ticks if self._ended else 0.0,
            "size": size,
            "notes": notes,
            "attach": self._attach,
            "segment": self.segment,
            "harm": self._watch.to_wire(self.words()[0]) if self._watch else None,
        }
        head.update(failure)
        return head
