# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "keeper" of the host wing (private to the collection): the process that owns a recording.

It outlives the connection that started it, runs one recorder per target,
obeys the wall clock, checks the targets afterwards and writes the result.
"""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Dict, List

from ._attach import AUTO, RELAX
from ._binary import Wanted, find
from ._credentials import Terms
from ._dumper import Tools
from ._errors import HostError, unexpected
from ._evidence import joined, to_wire
from ._exposure import Exposure
from ._launch import give_way, sealed
from ._plan import Options
from ._privileges import Kernel
from ._procfs import ProcessDir
from ._recorder import Capture, Recorder
from ._recording import FAILURE, KEEPER, RESERVE, RESULT, Request
from ._sampling import Sampling
from ._sizing import plans
from ._state import Folder


def keep(folder: Folder, others: Dict[str, List[int]]) -> None:
    """Carry out the recording in ``folder``; ``others`` are processes of it that exist already (the watchdog).

    A bug of ours ends it without a result: our recorders end with us, the dead-man puts the scope back, and whoever
    asks for the recording is told.
    """
    request = Request.read(folder)
    if request is None:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
    give_way()
    try:
        _carry_out(folder, request, others)
    except Exception as error:
        try:
            folder.write_json(FAILURE, unexpected(error).to_wire())
        except OSError:
            pass  # no space, or the folder was deleted: it is broken in any case


def _carry_out(folder: Folder, request: Request, others: Dict[str, List[int]]) -> None:
    began = time.time()
    exposure = Exposure(folder.identity, request.relax, request.reason, request.by)
    try:
        options = Options.from_wire(request.options)
        exposure.begin(request.restore_at() - time.monotonic())
        sampling = _start(request, options)
    except HostError as error:
        scope, notes = exposure.end()
        evidence = to_wire(scope, [], notes)
        _write(folder, {"error": error.to_wire(), "began": began, "ended": began, "evidence": evidence}, [])
        return
    _write_owners(folder, _owners(sampling, others))
    sampling.run(lambda: _write_new_owners(folder, _owners(sampling, others)))
    scope, notes = exposure.end()
    evidence = to_wire(scope, joined(one.left() for one in sampling.recorders), notes)
    ended = time.time()
    captures = [one.capture() for one in sampling.recorders] + [Capture(row, b"") for row in request.refused]
    _write(folder, {"error": None, "began": began, "ended": ended, "evidence": evidence}, captures)


def _start(request: Request, options: Options) -> Sampling:
    if time.monotonic() >= request.close_at():
        raise HostError("The keeper started too late", "the window was over", "see what keeps this host so busy")
    wanted = Wanted(**request.binary)  # type: ignore[arg-type]  # written by start, in a directory only we can write
    found = find(wanted)
    if found is None:
        raise HostError("py-spy is gone from this host", str(request.binary), "record again: it is brought anew")
    binary = sealed(found.fd) if options.enter_namespaces else found.fd
    tools = Tools(binary, Terms.here(RELAX if request.relax else AUTO), Kernel())
    chosen = plans(request.targets, options, tools)
    recorders = [Recorder(target, plan) for target, plan in zip(request.targets, chosen)]
    for recorder in recorders:
        recorder.start(binary, options.duration, tools.terms, tools.kernel)
    deadline = min(time.monotonic() + options.duration, request.close_at())
    return Sampling(recorders, tools, deadline, request.kill_at())


def _owners(sampling: Sampling, others: Dict[str, List[int]]) -> Dict[str, List[int]]:
    running = [one for one in sampling.recorders if one.running()]
    owned = {"recorder %s" % one.target["pid"]: _named(one.pid) for one in running}
    return dict(others, keeper=_named(os.getpid()), **owned)


def _write_new_owners(folder: Folder, owned: Dict[str, List[int]]) -> None:
    """In the window: a disk that is full or a folder that was deleted must not end it."""
    try:
        folder.write_json(KEEPER, owned)
    except OSError:
        pass  # who has to end them finds the keeper, and they end with it


def _write_owners(folder: Folder, owned: Dict[str, List[int]]) -> None:
    try:
        folder.write_json(KEEPER, owned)
    except OSError:  # no space: half of what is held back for saying so will do
        os.truncate(folder.file(RESERVE), os.path.getsize(folder.file(RESERVE)) // 2)
        folder.write_json(KEEPER, owned)


def _named(pid: int) -> List[int]:
    with ProcessDir(pid) as process:
        return [pid, process.start]


def _write(folder: Folder, head: Dict[str, object], captures: List[Capture]) -> None:
    """The result file: one line of JSON, then the bodies one after the other, as long as the line says."""
    head["captures"] = [capture.head for capture in captures]
    bodies = [capture.body for capture in captures]
    try:
        folder.write(RESULT, json.dumps(head).encode() + b"\n" + b"".join(bodies))
    except OSError as error:
        if not folder.exists():
            return  # it was deleted in the window: there is no place for a result, and nothing more to put back
        lost = HostError("The captures cannot be kept on this host", str(error), "free space below the state directory")
        for capture in captures:
            capture.head.update(lost.to_wire(), outcome="failed", size=0)
        os.unlink(folder.file(RESERVE))
        folder.write(RESULT, json.dumps(head).encode() + b"\n")
