# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "container" of the lab (private to the collection): what all runtimes have in common, and the truth."""

from __future__ import annotations

import abc
import contextlib
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, NamedTuple, Self

from .. import place
from ..tree import LabError
from ..waiting import await_condition
from .keeper import Keeper
from .skeleton import SHARED


class Truth(NamedTuple):
    """What the runtime's own client says of a container.

    ``pids`` are all processes in it: PID on this machine → PID inside. ``id`` is the name where a runtime knows
    no other (LXC, nspawn), ``image`` empty where it knows none.
    """

    runtime: str
    id: str
    name: str
    image: str
    pids: Mapping[int, int]


class Container(abc.ABC):
    """A running container; ends with its ``with``, or with its runtime."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @abc.abstractmethod
    def truth(self) -> Truth:
        """As the client sees it now."""

    @abc.abstractmethod
    def members(self) -> list[int]:
        """The PIDs, on this machine, of all processes in it, as the client sees them."""

    @abc.abstractmethod
    def end(self) -> None:
        """Kill what is in it and remove it; nothing happens when that was done before."""

    @abc.abstractmethod
    def restart(self) -> None:
        """The same container with new processes."""

    @abc.abstractmethod
    def execute(self, argv: Sequence[str]) -> None:
        """Start a further process in it, in the background."""

    def run_inside(self, argv: Sequence[str]) -> int:
        """Start a further process in it; gives its PID on this machine."""
        before = set(self.members())
        self.execute(argv)
        found: list[int] = []

        def came() -> bool:
            members = set(self.members())
            # Whoever was born in it has a parent in it.
            found[:] = [pid for pid in members - before if _parent(pid) not in members]
            return bool(found)

        await_condition(f"{argv[0]} in {self.name}", came)
        return found[0]


class Runtime(abc.ABC):
    """``with Docker() as docker:``, and all its containers and daemons end with it, or with this process.

    ``shared`` is a folder that its containers see too, as ``inside``, and may write to.
    """

    name: ClassVar[str]
    #: The groups that it leaves at the top of every hierarchy, when all containers are gone.
    cgroups: ClassVar[tuple[str, ...]] = ()

    def __enter__(self) -> Self:
        # Like the real ones' below /var/lib: everything above belongs to root alone.
        self.directory = place.claim(place.STATE)
        self.directory.chmod(0o711)
        with contextlib.ExitStack() as closing:
            closing.callback(place.release, self.directory)
            closing.callback(self._remove_cgroups)
            self.shared = self.directory / "shared"
            self.shared.mkdir()
            self.shared.chmod(0o1777)
            self.keeper = Keeper(self.directory, self.environment())
            closing.callback(self.keeper.close)
            self.set_up()
            self._closing = closing.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def _remove_cgroups(self) -> None:
        # Most start from the top of a hierarchy, some from where they are started.
        rows = [line.split(":", 2)[2].lstrip("/") for line in Path("/proc/self/cgroup").read_text().splitlines()]
        for above in {"", *rows}:
            for name in self.cgroups:
                for group in place.CGROUPS.glob(f"*/{above}/{name}"):
                    with contextlib.suppress(OSError):  # Another's containers are in it.
                        group.rmdir()

    @property
    def inside(self) -> str:
        """Where containers see ``shared``."""
        return SHARED

    def environment(self) -> dict[str, str]:
        """What the client's commands find in their environment."""
        return {"HOME": str(self.directory)}

    @abc.abstractmethod
    def set_up(self) -> None:
        """Start daemons, load images."""

    def start_daemon(self, words: Sequence[str], question: Sequence[str]) -> None:
        """Start a daemon, and wait until its client gets an answer to ``question``."""
        log = self.directory / f"{words[0]}.log"
        self.keeper.begin(*words, log=log)

        def answers() -> bool:
            with contextlib.suppress(LabError):
                return bool(self.keeper.run(*question))
            return False

        try:
            await_condition(words[0], answers, 20)
        except TimeoutError as error:
            raise LabError(f"{error}:\n{log.read_text()[-2000:]}") from None

    @abc.abstractmethod
    def start(self, name: str, argv: Sequence[str], *, options: Sequence[str] = ()) -> Container:
        """A container that runs ``argv``; ``options`` are the client's own."""


def seen_inside(init: int, members: Iterable[int]) -> dict[int, int]:
    """The PIDs that ``members`` have in the PID namespace of ``init``, as a process in it finds them.

    It is handed a pidfd of each, and reads in *its* /proc whose they are (proc(5), fdinfo).
    """
    with contextlib.ExitStack() as closing:
        held: dict[int, int] = {}
        for pid in members:
            with contextlib.suppress(ProcessLookupError):  # It ended meanwhile.
                held[pid] = os.pidfd_open(pid)
                closing.callback(os.close, held[pid])
        enter = ("nsenter", "--target", str(init), "--pid", "--mount", "--", "grep", "^Pid:")
        files = [f"/proc/self/fdinfo/{fd}" for fd in held.values()]
        done = subprocess.run(
            (*enter, "--with-filename", *files), pass_fds=held.values(), capture_output=True, text=True, check=True
        )
    found = dict(line.split(":Pid:") for line in done.stdout.splitlines())
    inside = {pid: int(found[f"/proc/self/fdinfo/{fd}"]) for pid, fd in held.items()}
    return {pid: other for pid, other in inside.items() if other > 0}  # -1: it ended.


def sharing_pids_with(pid: int) -> list[int]:
    """All processes in the PID namespace of ``pid``, but not in those below it."""
    done = subprocess.run(
        ("pgrep", "--ns", str(pid), "--nslist", "pid", ""), capture_output=True, text=True, check=True
    )
    return [int(word) for word in done.stdout.split()]


def descendants(pid: int) -> list[int]:
    """Whoever comes from this process, by way of parents that live."""
    parents = {int(entry.name): _parent(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    found, below = list[int](), [pid]
    while below := [child for child, parent in parents.items() if parent in below]:
        found += below
    return found


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0
