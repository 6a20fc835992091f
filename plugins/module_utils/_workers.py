# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "workers" of the host wing (private to the collection): who is master, worker or helper in a process tree.

The rules are data: to teach it another manager, add a row to ``TITLES`` or
``CODE``. What no row knows is judged by the tree: a process whose
Python child has the very same command line (or its title and "worker") is the master, the child is a worker.
A worker stays a worker, whatever children it has.
"""

from __future__ import annotations

import re
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from ._interpreters import is_python_name

MASTER, WORKER, SINGLE, HELPER = "master", "worker", "single", "helper"
#: multiprocessing's process that only starts others; a helper, and its children are workers.
_FORKSERVER = "forkserver"

#: What of a process's name leaves the host at most (characters).
MAX_NAME = 60
#: A title is only looked at so far, however much of it there is.
MAX_TITLE = 4 * MAX_NAME

#: Process titles: manager, what it is (a master without workers is a single), and how the title begins.
TITLES = (
    ("gunicorn", MASTER, re.compile(r"gunicorn: (?:master|dirty-arbiter)\b")),
    ("gunicorn", WORKER, re.compile(r"gunicorn: (?:dirty-)?worker\b")),
    ("uWSGI", MASTER, re.compile(r"(?:.* )?uWSGI master\Z")),
    ("uWSGI", WORKER, re.compile(r"(?:.* )?uWSGI (?:worker|mule|spooler)\b")),
    ("uWSGI", HELPER, re.compile(r"(?:.* )?uWSGI (?:http|fastrouter|rawrouter|sslrouter)\b")),
    # With a pool of threads the main process has no children and does the work itself: a single.
    ("Celery", MASTER, re.compile(r"\[celeryd: .*:MainProcess\]")),
    ("Celery", WORKER, re.compile(r"\[celeryd: .*:(?:Fork)?(?:Pool)?Worker-\d+\]")),
    ("Celery beat", SINGLE, re.compile(r"\[celery beat\]")),
    # A worker of rq forks a process for each job, which does the work. Between two jobs it has none: a single.
    ("rq", WORKER, re.compile(r"rq:worker:.*: Processing ")),
    ("rq", MASTER, re.compile(r"rq:worker:")),
    ("granian", WORKER, re.compile(r"granian .* worker-\d+\Z")),
    ("granian", MASTER, re.compile(r"granian (?:asgi|asginl|rsgi|wsgi) ")),
)
#: A title of the user's own, as granian's ``--process-name`` sets it: the workers' is the master's and this.
_WORKERS_TITLE = re.compile(r" worker(?:[- ]\d+)?\Z")

#: Python code given with -c, as multiprocessing starts its own processes.
CODE = (
    (
        "multiprocessing",
        HELPER,
        re.compile(r"from (?:multiprocessing|billiard)\.(?:resource|semaphore)_tracker import "),
    ),
    ("multiprocessing", _FORKSERVER, re.compile(r"from (?:multiprocessing|billiard)\.forkserver import ")),
    ("multiprocessing", WORKER, re.compile(r"from (?:multiprocessing|billiard)\.spawn import ")),
)

#: Python programs that belong to this run, to another run, or to Ansible: by the path of executable or script.
OWN_PROGRAMS = (
    ("Ansible itself", re.compile(r"(?:.*/)?(?:ansible(?:-[a-z-]+)?|(?:AnsiballZ_|ansible_connection_)[^/]*\.py)\Z")),
    ("pyspy.fleet itself", re.compile(r"(?:.*/)?(?:pyspy-fleet/[0-9a-f]+/program|pyspy-fleet-host[^/]*)\.pyz\Z")),
)

#: So far up the tree masters are looked for: nobody's is deeper, but one made to keep us busy.
MAX_ANCESTORS = 64
#: Nobody gives an interpreter more options than this.
MAX_OPTIONS = 64
#: Interpreter options that take the next argument when nothing follows in the same one.
_OPTIONS_WITH_VALUE = "WXQ"
#: In a title, from here on it may be arguments: an option, key=value, a bracket, a quote, an address.
_ARGUMENTS = re.compile(r"\s-|\s?[^\s=]*=|[('\"]|\S*://")


class Member(NamedTuple):
    """One Python process, as far as its role is judged from it."""

    pid: int
    ppid: int
    argv: Tuple[str, ...]


class Role(NamedTuple):
    """``label`` names it for people ("gunicorn"); ``name`` is all of its command line that may leave the host.

    ``master`` is the PID of a worker's master (0: none), ``workers`` how many a master has. ``speaker`` is the PID
    whose command line speaks for it: its own, but its starter's for a process that multiprocessing started by code.
    ``certain``: it says itself what it is; otherwise the tree was judged.
    """

    role: str
    label: str
    name: str
    master: int
    workers: int
    speaker: int
    certain: bool


class _Kind(NamedTuple):
    manager: str
    role: str


class Command(NamedTuple):
    """A Python command line, taken apart: at most one of ``script``, ``module``, ``code`` is set."""

    program: str
    script: str = ""
    module: str = ""
    code: str = ""


def parse_command(argv: Sequence[str]) -> Command:
    """What ``python [options] script …`` runs, by Python's own rules for its options."""
    program = _base(argv[0]) if argv else ""
    rest = list(argv[1:MAX_OPTIONS])
    while rest:
        word = rest.pop(0)
        if word == "-" or not word.startswith("-"):
            return Command(program, script="" if word == "-" else word)
        if word.startswith("--"):
            if word == "--check-hash-based-pycs" and rest:
                rest.pop(0)
            continue
        for index, letter in enumerate(word[1:], 2):
            if letter not in "cm" + _OPTIONS_WITH_VALUE:
                continue
            value = word[index:] or (rest.pop(0) if rest else "")
            if letter == "c":
                return Command(program, code=value or " ")
            if letter == "m":
                return Command(program, module=value)
            break
    return Command(program)


def display_name(argv: Sequence[str], comm: str) -> str:
    """Executable, script or module, or process title; never an argument, for those hold secrets."""
    if not argv:
        return _clean(comm)
    if is_title(argv):
        return _clean(_title(argv[0]))
    command = parse_command(argv)
    if not is_python_name(command.program):
        return _clean(command.program or comm)
    if command.code:
        return _clean(command.program + " -c")
    if command.module:
        return _clean(command.program + " -m " + command.module)
    return _clean(_script(command.script) or command.program)


def is_title(argv: Sequence[str]) -> bool:
    """A process that sets its title leaves one string, which is not the path of an executable."""
    return len(argv) == 1 and (" " in argv[0] or not argv[0].startswith("/")) and not is_python_name(argv[0])


def own_program(argv: Sequence[str]) -> str:
    """Why a process is never a target, whatever the selectors: Ansible's or ours. "" for all others."""
    command = parse_command(argv)
    for path in filter(None, (argv[0] if argv else "", command.script)):
        for whose, pattern in OWN_PROGRAMS:
            if pattern.match(path):
                return whose
    # The host program of another run comes through stdin: no file, and options that no service has.
    bare = tuple(argv[1:3]) == ("-I", "-S") and not command.script and not command.module
    return "pyspy.fleet itself" if bare else ""


def judge_roles(members: Iterable[Member], comms: Optional[Dict[int, str]] = None) -> Dict[int, Role]:
    """The role of each process, by PID. ``comms`` name those that have no command line."""
    tree = {member.pid: member for member in members}
    kinds = {pid: _own_kind(member.argv) for pid, member in tree.items()}
    chains = {pid: _ancestors(tree, pid) for pid in tree}
    workers = {pid for pid in tree if _is_worker(tree, kinds, chains[pid], pid)}
    masters = {pid: _master(kinds, workers, chains[pid]) for pid in workers}
    count: Dict[int, int] = {}
    for pid, master in masters.items():
        if master and not any(step in workers for step in _until(chains[pid], master)):
            count[master] = count.get(master, 0) + 1
    roles = {}
    for pid in tree:
        speaker = _speaker(kinds, chains[pid], pid)
        name = display_name(tree[speaker].argv, (comms or {}).get(pid, ""))
        kind = kinds[pid]
        role = _role(kind, pid in workers, count.get(pid, 0))
        label = kind.manager if kind and speaker == pid else name
        if role == HELPER and kind and kind.manager == "multiprocessing":
            name = label = "multiprocessing " + ("forkserver" if kind.role == _FORKSERVER else "resource tracker")
        roles[pid] = Role(role, label, name, masters.get(pid, 0), count.get(pid, 0), speaker, kind is not None)
    return roles


def _own_kind(argv: Sequence[str]) -> Optional[_Kind]:
    """What a command line says of itself, by the tables."""
    if is_title(argv):
        for manager, role, pattern in TITLES:
            if pattern.match(argv[0], 0, MAX_TITLE):
                return _Kind(manager, role)
        return None
    code = parse_command(argv).code
    for manager, role, pattern in CODE:
        if code and pattern.match(code):
            return _Kind(manager, role)
    return None


def _ancestors(tree: Dict[int, Member], pid: int) -> List[int]:
    """Parents upwards as far as they are Python; a cycle, as a torn look may show, ends it."""
    chain: List[int] = []
    parent = tree[pid].ppid
    while parent in tree and parent != pid and parent not in chain and len(chain) < MAX_ANCESTORS:
        chain.append(parent)
        parent = tree[parent].ppid
    return chain


def _is_worker(tree: Dict[int, Member], kinds: Dict[int, Optional[_Kind]], chain: Sequence[int], pid: int) -> bool:
    kind = kinds[pid]
    if kind is not None and kind.role != _FORKSERVER:
        return kind.role == WORKER
    # A child of a forkserver has its command line too.
    return bool(chain) and _alike(tree[pid].argv, tree[chain[0]].argv)


def _alike(argv: Sequence[str], parents: Sequence[str]) -> bool:
    """Does a process run what its parent runs, by their command lines?"""
    if not argv or argv == parents:
        return bool(argv)
    own, theirs = argv[0][:MAX_TITLE], (parents[0] if len(parents) == 1 else "")
    return len(argv) == 1 and bool(theirs) and own.startswith(theirs) and bool(_WORKERS_TITLE.match(own[len(theirs) :]))


def _master(kinds: Dict[int, Optional[_Kind]], workers: Iterable[int], chain: Sequence[int]) -> int:
    """The first ancestor that is not a worker itself and not a go-between."""
    for pid in chain:
        if pid not in workers and not _is_forkserver(kinds, pid):
            return pid
    return 0


def _speaker(kinds: Dict[int, Optional[_Kind]], chain: Sequence[int], pid: int) -> int:
    """multiprocessing's own command lines say nothing of the program: that of the starter does."""
    for candidate in [pid] + list(chain):
        kind = kinds[candidate]
        if kind is None or kind.manager != "multiprocessing":
            return candidate
    return pid


def _role(kind: Optional[_Kind], worker: bool, workers: int) -> str:
    if worker:
        return WORKER
    if kind is not None and kind.role in (HELPER, _FORKSERVER):
        return HELPER
    return MASTER if workers else SINGLE


def _is_forkserver(kinds: Dict[int, Optional[_Kind]], pid: int) -> bool:
    kind = kinds[pid]
    return kind is not None and kind.role == _FORKSERVER


def _until(chain: Sequence[int], end: int) -> Sequence[int]:
    return chain[: chain.index(end)]


def _title(text: str) -> str:
    """The title up to where its arguments may begin. A command line in one string counts as a title too."""
    text = text[:MAX_TITLE]
    found = _ARGUMENTS.search(text)
    words = (text[: found.start()] if found else text).split()
    return " ".join(_base(word) if word.startswith("/") else word for word in words) or "(title not shown)"


def _script(path: str) -> str:
    """``worker.py``; a package's ``__main__.py`` says nothing without its folder."""
    folder, _slash, name = path.rstrip("/").rpartition("/")
    return "%s/%s" % (_base(folder), name) if name == "__main__.py" and folder else name


def _clean(text: str) -> str:
    """Bounded, and without what could steer a terminal or break a line."""
    shown = "".join(char if char.isprintable() else "?" for char in text)
    if len(shown) <= MAX_NAME:
        return shown
    words = shown[:MAX_NAME].rpartition(" ")[0]
    return words or shown[:MAX_NAME]


def _base(path: str) -> str:
    return path.rpartition("/")[2]
