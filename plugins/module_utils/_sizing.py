# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "sizing" of the host wing (private to the collection): what each target is, looked at just before its window.

One dump of each target without stopping it, all of them at once: it costs
py-spy 3 to 71 ms of CPU, and the targets nothing that could be measured.
"""

from __future__ import annotations

import os
import time
from typing import Dict, List, Optional, Set, Tuple

from ._attach import identity
from ._credentials import look_at
from ._dumper import Dumper, Tools, await_all
from ._launch import Role
from ._plan import Facts, Options, Plan, Size, plan
from ._procfs import Gone, ProcessDir, parse_status
from ._pyspy import Dumped, dump_arguments, parse_dump

#: The window waits this long for the dumps (seconds); who has not answered by then is of unknown size.
_PATIENCE = 2.0
#: Threads of Pythons before this have no id of the operating system (``PyThreadState.native_thread_id``).
_FIRST_WITH_IDS = (3, 11)


class _Dump:
    """One ``py-spy dump``, its target held by its directory; without a child where none could be started."""

    def __init__(self, target: Dict[str, object], process: ProcessDir, stops: bool, enters: bool) -> None:
        self.process = process
        self.python = _version(target.get("python"))
        self.contained = len(process.status().nspids) > 1
        self.inside = enters and self.contained
        self.stuck = stops and look_at(process, True).stuck
        self.dumper = Dumper()

    def start(self, tools: Tools) -> None:
        target = look_at(self.process, False)
        verdict = tools.terms.judge(target, False)
        if verdict.allowed is False:
            return  # the recorder will say so
        us = tools.terms.us
        role = Role(tools.kernel, identity(verdict.way, us, target), us.effective, os.getpid())
        self.dumper.start(tools, dump_arguments(self.process.pid), role)

    def plan(self, options: Options) -> Plan:
        threads = self._threads()
        if threads is None:
            old = self.python is not None and self.python < _FIRST_WITH_IDS
            facts = Facts(
                unmatched=old or (self.contained and not self.inside),
                contained=self.contained,
                inside=self.inside,
                stuck=self.stuck,
                unsized="the size of the target is not known (%s)" % self._why(),
            )
            return plan(options, None, facts)
        identities = {thread.identity for thread in threads}
        facts = Facts(
            unmatched=self._unmatched(identities),
            forked=self._forked(identities),
            contained=self.contained,
            inside=self.inside,
            stuck=self.stuck,
        )
        return plan(options, Size(len(threads), sum(thread.frames for thread in threads)), facts)

    def _threads(self) -> Optional[List[Dumped]]:
        output = self.dumper.output()
        try:
            return None if output is None else list(parse_dump(output))
        except (ValueError, RecursionError):
            return None

    def _why(self) -> str:
        if self.dumper.late:
            return "a look at its stacks took longer than %d s" % _PATIENCE
        return "a look at its stacks failed"

    def _unmatched(self, identities: Set[Optional[int]]) -> bool:
        """Threads may end between the two looks: they match unless none does."""
        try:
            known = [self._seen(self.process, thread) for thread in self.process.thread_ids()]
        except Gone:
            return False
        return bool(identities) and not any(one in known for one in identities)

    def _forked(self, identities: Set[Optional[int]]) -> bool:
        """Does its main thread go by the id of its parent's? No thread of another process can be one of its own."""
        if self.contained and not self.inside:
            return False  # all of its ids mean something else here
        try:
            with ProcessDir(self.process.ppid) as parent:
                together = parent.namespace("pid") == self.process.namespace("pid")
                return together and self._seen(parent, parent.pid) in identities
        except Gone:
            return False

    def _seen(self, process: ProcessDir, thread: int) -> int:
        """The id of a thread as py-spy will see it."""
        if not self.inside:
            return thread
        return (parse_status(process.thread_status(thread)).nspids or (thread,))[-1]

    def close(self) -> None:
        self.process.close()
        self.dumper.close()


def plans(targets: List[Dict[str, object]], options: Options, tools: Tools) -> List[Plan]:
    """A plan for each target, in their order; for one that has ended, the plan of an unknown one."""
    stops = plan(options).blocking
    dumps = [_look(target, stops, options.enter_namespaces, tools) for target in targets]
    try:
        await_all([dump.dumper for dump in dumps if dump is not None], time.monotonic() + _PATIENCE)
        return [plan(options) if dump is None else dump.plan(options) for dump in dumps]
    finally:
        for dump in dumps:
            if dump is not None:
                dump.close()


def _look(target: Dict[str, object], stops: bool, enters: bool, tools: Tools) -> Optional[_Dump]:
    pid = int(str(target["pid"]))
    try:
        process = ProcessDir(pid)
    except Gone:
        return None
    try:
        if process.start != target["start"]:
            raise Gone(pid)
        dump = _Dump(target, process, stops, enters)
        dump.start(tools)
        return dump
    except Gone:
        process.close()
        return None


def _version(text: object) -> Optional[Tuple[int, int]]:
    parts = str(text or "").split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return None
    return int(parts[0]), int(parts[1])
