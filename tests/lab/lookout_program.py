# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "lookout_program" of the lab (private to the collection): looks on while something is done to a recording.

Carried to a machine and run there as root: ``lookout.py files`` prints what lies there, ``lookout.py watch
[JSON]`` waits until ptrace_scope is lowered for a window, runs the fault (a shell's text), and then writes down what
becomes of the scope, our processes, the targets and our files, until the restore deadline and until all is gone.
It only ever looks: nothing of the collection is imported or called. What it sees goes to the machine's
console, one JSON object per line: that still works with the disk full, the network cut, or before a reboot.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from typing import Any

SCOPE = "/proc/sys/kernel/yama/ptrace_scope"
STATE = "/run/pyspy-fleet"
CONSOLE = "/dev/ttyS0"
MARK = "@lookout@"
BASELINE = "/opt/lookout.files"
#: The restore deadline: this long after the planned end of the window (seconds).
RESTORE = 10.0
#: How often it looks, and how long after the keep deadline it goes on when something is left (seconds).
LOOK, LATE = 0.05, 8.0
#: Where anything new is found; below the directories of ``_BUSY`` only what bears our name.
_PLACES = ("/run", "/tmp", "/var/tmp", "/dev/shm", "/home", "/root", "/etc", "/opt", "/srv", "/usr/local", "/var/lib")
_BUSY = re.compile(
    r"/run/(systemd|udev|user|utmp|sudo|log|sshd|dbus|motd)|/var/lib/(systemd|sudo|private)|/etc/.*\.lock$"
)
_OURS = re.compile(r"py.?spy", re.IGNORECASE)
_PROCESS = re.compile(r"^py-spy |pyspy[_-]fleet")

Seen = dict[str, Any]


def say(kind: str, **seen: object) -> None:
    line = json.dumps(dict(seen, kind=kind, at=time.monotonic()))
    with open(CONSOLE, "w") as console:
        console.write(f"\n{MARK}{line}\n")


def scope() -> int:
    with open(SCOPE) as file:
        return int(file.read())


def files() -> list[str]:
    """Everything below the places; of those that others use all the time only what bears our name."""
    found = []
    for place in _PLACES:
        for folder, folders, names in os.walk(place):
            paths = [f"{folder}/{name}" for name in folders + names]
            found += [path for path in paths if not _BUSY.match(path) or _OURS.search(path)]
    return found


def new_files() -> list[str]:
    with open(BASELINE) as file:
        before = set(file.read().splitlines())
    return sorted(path for path in files() if path not in before)


def units() -> list[str]:
    """Our units that systemd knows of, failed and ended ones too."""
    if not os.path.isdir("/run/systemd/system"):
        return []
    command = ("systemctl", "list-units", "--all", "--plain", "--no-legend", "pyspy-fleet-*")
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [" ".join(line.split()[:4]) for line in lines]


def ours() -> list[str]:
    """What of ours runs: "PID: command line"."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        words = command_of(int(pid))
        if _PROCESS.search(words) or _OURS.search(link(f"/proc/{pid}/exe")):
            found.append(f"{pid} {status(int(pid)).get('State', '?')[:1]}: {' '.join(words.split())[:100]}")
    return found


def command_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def status(pid: int) -> dict[str, str]:
    try:
        with open(f"/proc/{pid}/status") as file:
            pairs = (line.partition(":") for line in file)
            return {key: " ".join(value.split()) for key, _colon, value in pairs}
    except OSError:
        return {}


def targets(recordings: list[Seen]) -> dict[str, str]:
    """Each target: its state and who traces it; "gone" when it has ended."""
    found = {}
    for one in recordings:
        for pid in one["targets"]:
            now = status(pid)
            found[str(pid)] = f"{now['State'][:1]} {now['TracerPid']}" if now else "gone"
    return found


def recordings() -> list[Seen]:
    """The recordings whose py-spys run: when they end, and who belongs to them."""
    found = []
    names = os.listdir(STATE) if os.path.isdir(STATE) else []
    for name in names:
        try:
            with open(f"{STATE}/{name}/request.json") as file:
                request = json.load(file)
            with open(f"{STATE}/{name}/keeper.json") as file:
                owners = {role: pair[0] for role, pair in json.load(file).items()}
        except OSError:
            continue
        spies = [pid for role, pid in owners.items() if role.startswith("recorder")]
        commands = [command_of(pid) for pid in spies]
        if spies and all(command.startswith("py-spy ") for command in commands):
            found.append(
                {
                    "id": name,
                    "keeper": owners["keeper"],
                    "watchdog": owners.get("watchdog", 0),
                    "recorders": {str(pid): status(pid) for pid in spies},
                    "commands": commands,
                    "targets": [int(one["pid"]) for one in request["targets"]],
                    "ends_at": request["ends_at"],
                    "keep_until_at": request["keep_until_at"],
                }
            )
    return found


def dead_men() -> list[Seen]:
    """Who would put the scope back: the watching processes of leases, and what systemd knows of their units."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        text, _marked, words = command_of(int(pid)).partition("main(sys.argv[1:])\n ")
        if "puts kernel.yama.ptrace_scope back" in text:
            found.append({"pid": int(pid), "arguments": words.split()})
    return found


def shown() -> dict[str, str]:
    """Our units as systemd has them, by name."""
    names = [line.split()[0] for line in units()]
    found = {}
    for name in names:
        done = subprocess.run(("systemctl", "show", name), capture_output=True, text=True, check=True)
        found[name] = done.stdout
    return found


def await_window(count: int) -> tuple[float, list[Seen]]:
    """Until the scope reads 0 and ``count`` recordings sample; gives when it last read something else."""
    lowered, last, limit = False, 0.0, time.monotonic() + 300
    while time.monotonic() < limit:
        found = recordings() if scope() == 0 else []
        if len(found) >= count:
            return last, found
        if scope() != 0:
            last = time.monotonic()
        elif not lowered:
            lowered = True
            say("lowered")
        time.sleep(LOOK / 5)
    say("failed", why="no window")
    raise SystemExit(1)


def watch(wish: Seen) -> None:
    last, windows = await_window(wish.get("recordings", 1))
    say("window", recordings=windows, last_before=last, dead_men=dead_men(), targets=targets(windows))
    if wish.get("show"):
        say("units", shown=shown())
    fault = await_order(wish["order"]) if "order" in wish else wish.get("fault", "")
    restore_at = max(one["ends_at"] for one in windows) + RESTORE
    keep_at = max(one["keep_until_at"] for one in windows)
    say("fault", scope=scope(), restore_at=restore_at, keep_at=keep_at)
    inject(fault, windows)
    told, gone, value = False, 0.0, -1
    while not (told and gone) and time.monotonic() < keep_at + LATE:
        value = follow_scope(value, time.monotonic() + 4 * LOOK)
        if not told and time.monotonic() >= restore_at:
            told = True
            say("restore deadline", scope=scope(), processes=ours(), targets=targets(windows))
        looked = time.monotonic()
        gone = 0.0 if os.path.exists(STATE) or ours() else gone or looked
    left = {"processes": ours(), "units": units(), "files": new_files()}
    say("end", scope=scope(), gone=gone or time.monotonic(), targets=targets(windows), **left)


def inject(fault: str, windows: list[Seen]) -> None:
    """The fault as a shell's text: of the first recording it finds all in the environment."""
    first = windows[0]
    eldest = min(windows, key=lambda one: min(map(int, one["recorders"])))
    names = {
        "FIRST": eldest["keeper"],
        "KEEPER": first["keeper"],
        "WATCHDOG": first["watchdog"],
        "RECORDERS": " ".join(first["recorders"]),
        "TARGETS": " ".join(map(str, first["targets"])),
        "DEADMEN": " ".join(str(one["pid"]) for one in dead_men()),
    }
    environment = {**os.environ, **{name: str(value) for name, value in names.items()}}
    done = subprocess.run(("bash", "-c", fault), env=environment, capture_output=True, text=True, check=False)
    say("injected", status=done.returncode, said=done.stdout + done.stderr)


def follow_scope(value: int, until: float) -> int:
    """Say each value that the scope takes after ``value``, and when; gives the last one."""
    while time.monotonic() < until:
        now = scope()
        if now != value:
            value = now
            say("scope", value=now)
        time.sleep(LOOK)
    return value


def await_order(path: str) -> str:
    """The text that comes to lie at ``path``."""
    while not os.path.exists(path):
        time.sleep(LOOK / 5)
    with open(path) as file:
        text = file.read()
    os.unlink(path)
    return text


def main(words: list[str]) -> None:
    if words[0] in ("files", "new"):
        print("\n".join(files() if words[0] == "files" else new_files()))
        return
    try:
        watch(json.loads(words[1]))
    except Exception as error:
        say("failed", why=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
