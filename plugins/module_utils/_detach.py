# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "detach" of the host wing (private to the collection): leaving a keeper behind that outlives the connection.

As root where systemd runs: a transient service, so that PID 1 ends it on time whatever happens to it,
and a timer that deletes captures nobody collected. Elsewhere: a daemon with a watchdog above it, which does both.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Dict, List, Optional

from ._errors import HostError
from ._keeper import keep
from ._procfs import ProcessDir
from ._recording import KEEPER, PROGRAM, RESULT, Owner, Request, owners
from ._state import Folder

_SYSTEMD_RUN = ("/usr/bin/systemd-run", "/bin/systemd-run")
_SYSTEMCTL = ("/usr/bin/systemctl", "/bin/systemctl")
#: systemd's property for "whatever is still there after SIGTERM is killed after this long" (seconds).
_STOP_SECONDS = 2


def refuse_if_logout_kills() -> None:
    """HostError where the login manager would kill an ordinary user's keeper when the connection ends.

    ``KillUserProcesses=yes`` in logind.conf(5) does; lingering users (loginctl(1)) are spared.
    """
    if os.geteuid() == 0 or not os.path.isdir("/run/systemd/system") or not _kill_user_processes():
        return
    import pwd

    if os.path.exists("/var/lib/systemd/linger/" + pwd.getpwuid(os.geteuid()).pw_name):
        return
    raise HostError(
        "The login manager of this host ends all of a user's processes at logout, and with them the recording",
        "KillUserProcesses=yes in logind.conf",
        "run with become (-b), or let the user linger (loginctl enable-linger)",
    )


def _kill_user_processes() -> bool:
    setting = False
    for path in _logind_files():
        try:
            with open(path, "r", errors="replace") as handle:
                lines = [line.strip().replace(" ", "") for line in handle]
        except OSError:
            continue
        for line in lines:
            if line.startswith("KillUserProcesses="):
                setting = line.partition("=")[2].lower() in ("yes", "true", "1", "on")
    return setting


def _logind_files() -> List[str]:
    """logind's configuration in the order in which later settings win (systemd.unit(5), drop-ins by name)."""
    names: Dict[str, str] = {}
    for directory in ("/usr/lib/systemd/logind.conf.d", "/run/systemd/logind.conf.d", "/etc/systemd/logind.conf.d"):
        try:
            for name in os.listdir(directory):
                names[name] = directory + "/" + name
        except OSError:
            continue
    return ["/etc/systemd/logind.conf"] + [names[name] for name in sorted(names)]


def launch(folder: Folder, request: Request, program: str) -> str:
    """Start the keeper of ``folder`` and return at once: "systemd" or "daemon". ``program`` is the host program's zip."""
    systemd_run = _first(_SYSTEMD_RUN)
    if os.geteuid() == 0 and systemd_run and os.path.isdir("/run/systemd/system"):
        _launch_unit(systemd_run, folder, request, program)
        return "systemd"
    _launch_daemon(folder, request)
    return "daemon"


def _first(paths: "tuple[str, ...]") -> Optional[str]:
    return next((path for path in paths if os.access(path, os.X_OK)), None)


def unit(folder: Folder) -> str:
    """The name of the transient service; hex digits only, so nothing of a user's reaches a unit."""
    return "pyspy-fleet-" + folder.identity


def _launch_unit(systemd_run: str, folder: Folder, request: Request, program: str) -> None:
    with open(program, "rb") as handle:
        folder.write(PROGRAM, handle.read())
    python = [sys.executable, "-I", "-S", folder.file(PROGRAM)]
    # An absolute time since boot: --on-active starts anew at every daemon-reload.
    timer = ["--on-boot=%ds" % int(request.keep_until_at + 1), "--timer-property=AccuracySec=1s"]
    _run(
        [systemd_run, "--quiet", "--collect", "--unit=%s-keep" % unit(folder)]
        + timer
        + ["--property=StandardOutput=null"]
        + python
        + ["expire", folder.identity]
    )
    bound = max(1, int(request.restore_at() - time.monotonic()) - _STOP_SECONDS)
    properties = {
        "RuntimeMaxSec": str(bound),
        "TimeoutStopSec": str(_STOP_SECONDS),
        "KillMode": "mixed",
        "StandardOutput": "null",
        "Nice": "5",
    }
    _run(
        [systemd_run, "--quiet", "--collect", "--no-block", "--unit=" + unit(folder)]
        + ["--property=%s=%s" % pair for pair in properties.items()]
        + python
        + ["keep", folder.identity]
    )


def _run(command: List[str]) -> None:
    import subprocess

    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
    if done.returncode:
        raise HostError(
            "systemd did not start a transient unit",
            done.stderr.decode("utf-8", "replace").strip(),
            "look at `systemctl status` on the host",
        )


def _launch_daemon(folder: Folder, request: Request) -> None:
    """Double fork: the watchdog stays, its child is the keeper; both are free of the connection's descriptors."""
    first = os.fork()
    if first:
        os.waitpid(first, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")
        _close_everything()
        _watch(folder, request)
    finally:
        os._exit(0)


def _close_everything() -> None:
    """No descriptor of the connection may stay open, or ssh would wait for us. The program's zip stays importable."""
    archive = sys.path[0] if sys.path else ""
    keep_open = int(archive.rpartition("/")[2]) if archive.startswith("/proc/self/fd/") else -1
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in [int(name) for name in os.listdir("/proc/self/fd")]:
        if descriptor not in (null, keep_open):
            try:
                os.close(descriptor)
            except OSError:
                pass  # the descriptor of the listing itself
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)


def _watch(folder: Folder, request: Request) -> None:
    """The watchdog: end a keeper that is late, say so when it died, delete what nobody collected."""
    me = os.getpid()
    with ProcessDir(me) as process:
        others = {"watchdog": [me, process.start]}
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT})
    keeper = os.fork()
    if keeper == 0:
        try:
            keep(folder, others)
        finally:
            os._exit(0)
    limit = request.restore_at() - 1
    while os.waitpid(keeper, os.WNOHANG)[0] == 0:
        if time.monotonic() >= limit:
            os.kill(keeper, signal.SIGKILL)  # not waited for yet, so the PID is still the keeper's
        caught = signal.sigtimedwait({signal.SIGCHLD, signal.SIGTERM}, max(0.05, limit - time.monotonic()))
        if caught is not None and caught.si_signo == signal.SIGTERM:
            os.kill(keeper, signal.SIGTERM)
    if not os.path.exists(folder.file(RESULT)) and folder.exists():
        folder.write_json(KEEPER, others)
    while time.monotonic() < request.keep_until_at:
        if signal.sigtimedwait({signal.SIGTERM}, request.keep_until_at - time.monotonic()) is not None:
            return
    folder.remove()


def dismiss(folder: Folder, found: Dict[str, Owner]) -> None:
    """End what waits to delete ``folder``: it is about to be deleted now."""
    watchdog = found.get("watchdog")
    if watchdog is not None:
        try:
            os.kill(watchdog.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
    systemctl = _first(_SYSTEMCTL)
    if os.path.exists(folder.file(PROGRAM)) and systemctl:
        import subprocess

        names = [unit(folder) + "-keep.timer", unit(folder) + ".service"]
        subprocess.run([systemctl, "stop"] + names, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)


def expire(folder: Folder) -> None:
    """What the timer runs at the keep deadline."""
    for owner in owners(folder).values():
        os.kill(owner.pid, signal.SIGKILL)
    folder.remove()
