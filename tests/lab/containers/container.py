# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "container" of the lab (private to the collection): what all runtimes have in common, and the truth."""

from __future__ import annotations

import abc
import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, NamedTuple, Protocol, Self

from .. import place
from ..tree import LabError
from ..waiting import await_condition
from .keeper import Keeper
from .skeleton import PROGRAMS, PYTHON, SHARED, layer

LOOK = Path(__file__).with_name("look_program.py")


class Hands(Protocol):
    """Who starts commands where containers run: the keeper here, or ssh elsewhere."""

    def run(self, *words: str) -> str:
        """What a command prints; LabError with its own words when it fails."""

    def begin(self, *words: str, log: Path) -> int:
        """Start a command that stays; gives its PID."""

    def write(self, path: Path, data: bytes) -> None:
        """A new file."""


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

    def __init__(self, runtime: Runtime, name: str) -> None:
        self._runtime = runtime
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
            members, parents = set(self.members()), self._runtime.parents()
            # Whoever was born in it has a parent in it.
            found[:] = [pid for pid in members - before if parents.get(pid, pid) not in members]
            return bool(found)

        await_condition(f"{argv[0]} in {self.name}", came)
        return found[0]


class Runtime(abc.ABC):
    """``with Docker() as docker:``, and all its containers and daemons end with it, or with this process.

    ``shared`` is a folder that its containers see too, as ``inside``, and may write to. ``hands`` are those of
    the user whose containers they are, ``root_hands`` root's.
    """

    name: ClassVar[str]
    #: The groups that it leaves at the top of every hierarchy, when all containers are gone.
    cgroups: ClassVar[tuple[str, ...]] = ()
    #: What is mounted in containers, read-only, at the same place.
    programs: tuple[str, ...] = PROGRAMS

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
            keeper = Keeper(self.directory, self.environment())
            closing.callback(keeper.close)
            self.hands: Hands = keeper
            self.root_hands: Hands = keeper
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
        self.hands.begin(*words, log=log)

        def answers() -> bool:
            with contextlib.suppress(LabError):
                return bool(self.hands.run(*question))
            return False

        try:
            await_condition(words[0], answers, 20)
        except TimeoutError as error:
            raise LabError(f"{error}:\n{log.read_text()[-2000:]}") from None

    def lay(self, root: Path) -> None:
        """A container's file system, as a folder."""
        self.root_hands.run("mkdir", "-p", str(root))
        self.root_hands.write(root.with_name("layer.tar"), layer())
        self.root_hands.run("tar", "-xf", str(root.with_name("layer.tar")), "-C", str(root))

    def parents(self) -> dict[int, int]:
        """Every process → its parent."""
        return self._look("parents")

    def seen_inside(self, init: int, members: Iterable[int]) -> dict[int, int]:
        """PID here → PID in the namespace of ``init``."""
        return self._look("inside", init, *members)

    def _look(self, *words: str | int) -> dict[int, int]:
        found = self.root_hands.run(PYTHON, "-I", "-c", LOOK.read_text(), *map(str, words))
        return {int(pid): other for pid, other in json.loads(found).items()}

    def sharing_pids_with(self, pid: int) -> list[int]:
        """All processes in the PID namespace of ``pid``, but not in those below it."""
        return [int(word) for word in self.root_hands.run("pgrep", "--ns", str(pid), "--nslist", "pid", "").split()]

    def descendants(self, pid: int) -> list[int]:
        """Whoever comes from this process, by way of parents that live."""
        parents = self.parents()
        found, below = list[int](), [pid]
        while below := [child for child, parent in parents.items() if parent in below]:
            found += below
        return found

    @abc.abstractmethod
    def start(self, name: str, argv: Sequence[str], *, options: Sequence[str] = ()) -> Container:
        """A container that runs ``argv``; ``options`` are the client's own."""
