# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The binary on a host: real files, mounts and programs; as root and as an ordinary user."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils import _binary, _executable, _trusted
from ansible_collections.pyspy.fleet.plugins.module_utils._binary import (
    Wanted,
    check_place,
    default_directory,
    find,
    machine,
    ours,
    put,
    remove,
)
from ansible_collections.pyspy.fleet.plugins.module_utils._errors import HostError
from hypothesis import given
from hypothesis import strategies as st

ROOT = os.geteuid() == 0
#: An ordinary user without an entry in the user database.
SOMEBODY = 64000

as_root = pytest.mark.skipif(not ROOT, reason="needs root")
on_x86_64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the small programs are x86_64")


def program(text: str, hang: bool = False) -> bytes:
    """A small static program that prints ``text``; and stays then, if it is to hang."""
    data = text.encode()
    pause = b"\xb8\x22\0\0\0\x0f\x05" if hang else b""
    tail = b"\xba" + len(data).to_bytes(4, "little") + b"\x0f\x05" + pause + b"\xb8\x3c\0\0\0\x31\xff\x0f\x05"
    code = b"\xb8\1\0\0\0\xbf\1\0\0\0\x48\x8d\x35" + len(tail).to_bytes(4, "little") + tail + data
    base, start, total = 0x400000, 120, 120 + len(code)
    words = [(2, 2), (62, 2), (1, 4), (base + start, 8), (64, 8), (0, 8), (0, 4), (64, 2), (56, 2), (1, 2), (0, 6)]
    words += [(1, 4), (5, 4), (0, 8), (base, 8), (base, 8), (total, 8), (total, 8), (4096, 8)]
    header = b"\x7fELF\2\1\1" + bytes(9) + b"".join(value.to_bytes(size, "little") for value, size in words)
    return header + code


CONTENT = program("py-spy 0.4.3\n")
PACKED = gzip.compress(CONTENT, mtime=0)


@pytest.fixture
def ground() -> Iterator[Path]:
    """A directory whose every component is trusted (/tmp is not)."""
    base = "/var/lib" if ROOT else pwd.getpwuid(os.getuid()).pw_dir
    folder = Path(tempfile.mkdtemp(prefix="pyspy-fleet-test-", dir=base))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def wanted(directory: object = "", content: bytes = CONTENT, executable: object = "", version: str = "0.4.3") -> Wanted:
    return Wanted(version, {machine(): hashlib.sha256(content).hexdigest()}, str(directory), str(executable))


def run(fd: int) -> str:
    done = subprocess.run([f"/proc/self/fd/{fd}"], pass_fds=[fd], capture_output=True, check=True)
    return done.stdout.decode()


def as_user(work: Callable[[], object], uid: int = SOMEBODY) -> object:
    """What ``work`` gives or raises when an ordinary user does it."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            answer: object = work()
        except BaseException as error:
            answer = error
        os.write(writer, pickle.dumps(answer.to_wire() if isinstance(answer, HostError) else answer))
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as handle:
        answer = pickle.loads(handle.read())
    os.waitpid(child, 0)
    if isinstance(answer, dict):
        raise HostError(**answer)
    if isinstance(answer, BaseException):
        raise answer
    return answer


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# Putting, finding, removing


@on_x86_64
def test_put_then_find_then_execute(ground: Path) -> None:
    want = wanted(ground / "a" / "b")
    assert find(want) is None
    check_place(want, len(CONTENT))
    assert tree(ground) == []
    found = put(want, PACKED)
    assert found.path == str(ground / "a" / "b" / "py-spy-0.4.3")
    assert (found.version, found.sha256) == ("0.4.3", hashlib.sha256(CONTENT).hexdigest())
    assert run(found.fd) == "py-spy 0.4.3\n"
    again = find(want)
    assert again is not None
    assert os.path.samestat(os.fstat(again.fd), os.fstat(found.fd))
    os.close(again.fd)
    os.close(found.fd)


def test_modes_do_not_depend_on_the_umask(ground: Path) -> None:
    for umask in (0o000, 0o077):
        before = os.umask(umask)
        try:
            os.close(put(wanted(ground / str(umask) / "x"), PACKED).fd)
        finally:
            os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in ground.rglob("*")}
    assert modes == {0o755}


@pytest.mark.parametrize("content", [b"", b"older", CONTENT[:-1]])
def test_a_file_with_another_hash_is_replaced(ground: Path, content: bytes) -> None:
    (ground / "py-spy-0.4.3").write_bytes(content)
    (ground / "py-spy-0.4.3").chmod(0o755)
    assert find(wanted(ground)) is None
    os.close(put(wanted(ground), PACKED).fd)
    assert (ground / "py-spy-0.4.3").read_bytes() == CONTENT
    assert tree(ground) == ["py-spy-0.4.3"]


@pytest.mark.parametrize("mode", [0o700, 0o644, 0o754])
def test_a_file_that_not_everybody_may_execute_is_replaced(ground: Path, mode: int) -> None:
    os.close(put(wanted(ground), PACKED).fd)
    (ground / "py-spy-0.4.3").chmod(mode)
    assert find(wanted(ground)) is None
    os.close(put(wanted(ground), PACKED).fd)
    assert stat.S_IMODE((ground / "py-spy-0.4.3").stat().st_mode) == 0o755


def bomb(size: int) -> bytes:
    return gzip.compress(bytes(size), 9, mtime=0)


@pytest.mark.parametrize(
    ("sent", "detail"),
    [
        (b"", "ends in the middle"),
        (PACKED[:5], "ends in the middle"),
        (PACKED[:-1], "ends in the middle"),
        (b"rubbish", "incorrect header"),
        (PACKED[:-8] + bytes(8), "incorrect data check"),
        (gzip.compress(b"another"), "checksum"),
        (gzip.compress(CONTENT + b"x"), "checksum"),
        (bomb(_binary.MAX_BINARY + 1), "more than 32 MB"),
    ],
)
def test_what_arrived_damaged_leaves_nothing_behind(ground: Path, sent: bytes, detail: str) -> None:
    with pytest.raises(HostError) as caught:
        put(wanted(ground / "a" / "b"), sent)
    assert detail in caught.value.detail
    assert tree(ground) == []


@given(st.binary(max_size=300))
def test_rubbish_is_always_refused_clearly(sent: bytes) -> None:
    with tempfile.TemporaryFile() as target:
        try:
            assert _binary._inflate(sent, target.fileno()) == hashlib.sha256(gzip.decompress(sent)).hexdigest()
        except HostError as error:
            assert error.remedy


def test_a_failed_put_keeps_the_old_file(ground: Path) -> None:
    os.close(put(wanted(ground), PACKED).fd)
    with pytest.raises(HostError):
        put(wanted(ground), PACKED[:-20])
    found = find(wanted(ground))
    assert found is not None
    os.close(found.fd)
    assert tree(ground) == ["py-spy-0.4.3"]


def test_what_a_killed_put_left_is_swept_when_it_is_old(ground: Path) -> None:
    old, new = ground / ".py-spy-0.4.2.00112233aabbccdd", ground / ".py-spy-0.4.3.00112233aabbccdd"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    os.close(put(wanted(ground), PACKED).fd)
    assert tree(ground) == [new.name, "py-spy-0.4.3"]


def test_remove_takes_all_of_ours_and_nothing_else(ground: Path) -> None:
    folder = ground / "pyspy-fleet"
    for version in ("0.4.3", "0.4.0"):
        os.close(put(wanted(folder, version=version), PACKED).fd)
    (folder / ".py-spy-0.4.3.00112233aabbccdd").write_bytes(b"half")
    (folder / "py-spy-notes").write_text("mine")
    (folder / "py-spy-0.4.1").symlink_to(ground)
    (folder / "py-spy-0.4.2").mkdir()
    (ground / "linked").write_text("mine")
    os.link(ground / "linked", folder / "py-spy-0.3.0")
    listed = ours(str(folder))
    assert remove(str(folder)) == listed
    assert [os.path.basename(path) for path in listed] == [
        ".py-spy-0.4.3.00112233aabbccdd",
        "py-spy-0.4.0",
        "py-spy-0.4.3",
    ]
    assert tree(folder) == ["py-spy-0.3.0", "py-spy-0.4.1", "py-spy-0.4.2", "py-spy-notes"]


def test_remove_takes_our_directory_when_it_is_empty(ground: Path) -> None:
    folder = ground / "pyspy-fleet"
    os.close(put(wanted(folder), PACKED).fd)
    assert remove(str(folder)) == [str(folder / "py-spy-0.4.3"), str(folder)]
    assert tree(ground) == []
    assert remove(str(folder)) == []


def test_remove_keeps_a_directory_that_may_be_somebodys(ground: Path) -> None:
    os.close(put(wanted(ground), PACKED).fd)
    assert remove(str(ground)) == [str(ground / "py-spy-0.4.3")]
    assert ground.is_dir()


# Where


def test_the_architecture_is_one_that_is_pinned_or_what_uname_says() -> None:
    assert machine() in ("x86_64", "aarch64", "armv7l", "i686", os.uname().machine)


@pytest.mark.parametrize(
    ("kernel", "bits", "expected"),
    [
        ("x86_64", 64, "x86_64"),
        ("x86_64", 32, "i686"),
        ("i686", 32, "i686"),
        ("i686", 64, "x86_64"),
        ("aarch64", 64, "aarch64"),
        ("aarch64", 32, "armv7l"),
        ("armv8l", 32, "armv7l"),
        ("armv7l", 32, "armv7l"),
        ("armv6l", 32, "armv6l"),
        ("riscv64", 64, "riscv64"),
    ],
)
def test_userlands(monkeypatch: pytest.MonkeyPatch, kernel: str, bits: int, expected: str) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host", "6.1", "#1", kernel)))
    monkeypatch.setattr(sys, "maxsize", 2 ** (bits - 1) - 1)
    assert machine() == expected


def test_an_architecture_without_a_build(ground: Path) -> None:
    want = Wanted("0.4.3", {"sparc": "0" * 64}, str(ground), "")
    for ask in (find, lambda want: check_place(want, 1), lambda want: put(want, PACKED)):
        with pytest.raises(HostError, match="no py-spy for this host's architecture") as caught:
            ask(want)
        assert machine() in caught.value.detail
    assert tree(ground) == []


def test_default_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere/else")
    assert default_directory(0) == os.path.realpath("/usr/local") + "/libexec/pyspy-fleet"
    user = next(entry for entry in pwd.getpwall() if entry.pw_uid)
    assert default_directory(user.pw_uid) == os.path.realpath(user.pw_dir) + "/.local/libexec/pyspy-fleet"
    with pytest.raises(HostError, match="no home directory"):
        default_directory(SOMEBODY)


@pytest.mark.parametrize("directory", ["relative", "~/x", "/a/../b", "/a\0b", "/a\ud800"])
@pytest.mark.parametrize("option", ["directory", "executable"])
def test_paths_that_are_not_plain(directory: str, option: str) -> None:
    with pytest.raises(HostError, match="absolute and plain"):
        find(wanted(**{option: directory}))


@pytest.mark.parametrize("version", ["", "0.4", "../../x", "0.4.x", "0.4.³", "1.2.3.4"])
def test_versions_that_are_none(ground: Path, version: str) -> None:
    with pytest.raises(HostError, match="three numbers"):
        find(wanted(ground, version=version))


# Attacks


@pytest.mark.parametrize("link", ["a", "a/b", "a/b/py-spy-0.4.3"])
def test_a_link_in_any_component_is_refused(ground: Path, link: str) -> None:
    os.close(put(wanted(ground / "a" / "b"), PACKED).fd)
    (ground / link).rename(ground / "real")
    (ground / link).symlink_to(ground / "real")
    with pytest.raises(HostError, match="symbolic link") as caught:
        find(wanted(ground / "a" / "b"))
    assert str(ground / "real") in caught.value.remedy
    if link != "a/b/py-spy-0.4.3":
        for ask in (
            lambda: check_place(wanted(ground / "a" / "b"), 1),
            lambda: put(wanted(ground / "a" / "b"), PACKED),
        ):
            with pytest.raises(HostError, match="symbolic link"):
                ask()
        with pytest.raises(HostError, match="symbolic link"):
            remove(str(ground / "a" / "b"))


@pytest.mark.parametrize("part", ["a", "a/b", "a/b/py-spy-0.4.3"])
@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_what_others_may_write_is_refused(ground: Path, part: str, mode: int) -> None:
    want = wanted(ground / "a" / "b")
    os.close(put(want, PACKED).fd)
    (ground / part).chmod(mode)
    with pytest.raises(HostError, match="could replace py-spy") as caught:
        find(want)
    assert f"{ground / part} is writable" in caught.value.detail
    assert ("chmod go-w" in caught.value.remedy) is (mode != 0o1777)


def test_the_directory_for_temporary_files_is_refused() -> None:
    with pytest.raises(HostError, match="could replace py-spy"):
        check_place(wanted("/tmp/x"), 1)


@as_root
@pytest.mark.parametrize("part", ["a", "a/b", "a/b/py-spy-0.4.3"])
def test_what_belongs_to_somebody_else_is_refused(ground: Path, part: str) -> None:
    want = wanted(ground / "a" / "b")
    os.close(put(want, PACKED).fd)
    os.chown(ground / part, SOMEBODY, SOMEBODY)
    with pytest.raises(HostError, match="could replace py-spy") as caught:
        find(want)
    assert f"uid {SOMEBODY}" in caught.value.detail
    with pytest.raises(HostError, match="could replace py-spy"):
        as_user(lambda: find(want), SOMEBODY + 1)


@on_x86_64
def test_a_file_swapped_after_the_check_changes_nothing(ground: Path) -> None:
    found = put(wanted(ground), PACKED)
    (ground / "other").write_bytes(program("evil\n"))
    (ground / "other").chmod(0o755)
    os.rename(ground / "other", found.path)
    assert run(found.fd) == "py-spy 0.4.3\n"
    assert find(wanted(ground)) is None
    os.close(found.fd)


def test_a_link_that_appears_just_after_the_look_is_not_followed(ground: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.close(put(wanted(ground), PACKED).fd)
    path = ground / "py-spy-0.4.3"
    look = _trusted.check

    def look_then_swap(found: os.stat_result, where: str) -> None:
        look(found, where)
        if where == str(path) and not path.is_symlink():
            path.rename(ground / "real")
            path.symlink_to("real")

    monkeypatch.setattr(_trusted, "check", look_then_swap)
    with pytest.raises(HostError, match="cannot be opened") as caught:
        find(wanted(ground))
    assert "symbolic links" in caught.value.detail


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_what_is_no_file_is_refused(ground: Path, kind: str) -> None:
    path = ground / "py-spy-0.4.3"
    if kind == "fifo":
        os.mkfifo(path, 0o755)
    else:
        path.mkdir()
    with pytest.raises(HostError, match="is no file"):
        find(wanted(ground))


def test_a_file_in_the_way(ground: Path) -> None:
    (ground / "a").write_text("")
    with pytest.raises(HostError, match="barred") as caught:
        check_place(wanted(ground / "a" / "b"), 1)
    assert "is not a directory" in caught.value.detail


# File systems


@pytest.fixture
def mounted(ground: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    if not ROOT:
        pytest.skip("only root can mount")
    command = ["mount", "-t", "tmpfs", "-o", f"mode=755,{request.param}", "none", str(ground)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("mounting is refused here: " + done.stderr)
    yield ground
    # Lazily: a test that failed may still hold a file open.
    subprocess.run(["umount", "--lazy", str(ground)], check=True)


@pytest.mark.parametrize("mounted", ["size=1m"], indirect=True)
def test_remounted_noexec(mounted: Path) -> None:
    os.close(put(wanted(mounted / "a"), PACKED).fd)
    subprocess.run(["mount", "-o", "remount,noexec", str(mounted)], check=True)
    named = wanted(executable=mounted / "a" / "py-spy-0.4.3")
    for ask in (find, lambda want: check_place(want, 1), lambda want: find(named)):
        with pytest.raises(HostError) as caught:
            ask(wanted(mounted / "a"))
        assert "mounted noexec" in caught.value.detail


@pytest.mark.parametrize("mounted", ["ro"], indirect=True)
def test_mounted_read_only(mounted: Path) -> None:
    with pytest.raises(HostError) as caught:
        check_place(wanted(mounted / "a"), 1)
    assert "read-only" in caught.value.detail


@pytest.mark.parametrize("mounted", ["size=64k"], indirect=True)
def test_no_space(mounted: Path) -> None:
    content = os.urandom(100_000)
    want = wanted(mounted / "a" / "b", content)
    with pytest.raises(HostError, match="no space") as caught:
        check_place(want, len(content))
    assert "64 kB are free, 98 kB are needed" in caught.value.detail
    with pytest.raises(HostError) as full:
        put(want, gzip.compress(content))
    assert "No space left on device" in full.value.detail
    assert "free some space" in full.value.remedy
    assert tree(mounted) == []
    check_place(wanted(mounted / "a"), 60_000)


# As an ordinary user


@as_root
@on_x86_64
def test_an_ordinary_user_in_a_directory_of_its_own(ground: Path) -> None:
    os.chown(ground, SOMEBODY, SOMEBODY)
    want = wanted(ground / "a" / "pyspy-fleet")

    def work() -> list[object]:
        check_place(want, len(CONTENT))
        found = put(want, PACKED)
        return [run(found.fd), find(want) is not None, find(wanted(executable=found.path)) is not None]

    assert as_user(work) == ["py-spy 0.4.3\n", True, True]
    with pytest.raises(HostError, match="could replace py-spy"):
        find(want)  # root does not execute what a user could change
    assert len(as_user(lambda: remove(want.directory))) == 2


@as_root
def test_an_ordinary_user_uses_what_root_put_and_cannot_change_it(ground: Path) -> None:
    folder = ground / "pyspy-fleet"
    os.close(put(wanted(folder), PACKED).fd)
    assert as_user(lambda: find(wanted(folder)) is not None)
    with pytest.raises(HostError, match="cannot be put") as caught:
        as_user(lambda: check_place(wanted(folder), 1))
    assert "permission denied" in caught.value.detail
    with pytest.raises(HostError, match="cannot be put"):
        as_user(lambda: put(wanted(folder, b"other"), gzip.compress(b"other")))
    assert as_user(lambda: remove(str(folder))) == []
    folder.chmod(0o700)
    with pytest.raises(HostError, match="cannot be opened"):
        as_user(lambda: find(wanted(folder)))
    ground.chmod(0o700)
    with pytest.raises(HostError, match="barred"):
        as_user(lambda: find(wanted(folder)))


# A named executable


def place_program(ground: Path, content: bytes, mode: int = 0o755) -> Wanted:
    (ground / "py-spy").write_bytes(content)
    (ground / "py-spy").chmod(mode)
    return wanted(executable=ground / "py-spy")


@on_x86_64
@pytest.mark.parametrize("version", ["0.4.0", "0.4.3", "1.0.0", "0.10.0"])
def test_a_named_executable_says_its_version(ground: Path, version: str) -> None:
    content = program(f"py-spy {version}\n")
    found = find(place_program(ground, content))
    assert found is not None
    assert found[:3] == (str(ground / "py-spy"), version, hashlib.sha256(content).hexdigest())
    assert run(found.fd) == f"py-spy {version}\n"
    os.close(found.fd)


def test_the_real_py_spy_says_its_version(ground: Path) -> None:
    installed = Path(sys.executable).parent / "py-spy"
    if not installed.exists():
        pytest.skip("py-spy is not installed beside this Python")
    found = find(place_program(ground, installed.read_bytes()))
    assert found is not None
    assert tuple(map(int, found.version.split("."))) >= _executable.FLOOR
    os.close(found.fd)


@on_x86_64
@pytest.mark.parametrize(
    ("content", "reason", "detail"),
    [
        (program("py-spy 0.3.14\n"), "too old", "leave their target stopped"),
        (program("sleep (GNU coreutils) 9.1\n"), "is not py-spy", "coreutils"),
        (program(""), "is not py-spy", "--version"),
        (program("py-spy 0.4.3\n" + "x" * 10000), "is not py-spy", "--version"),
        (b"#!/bin/sh\necho py-spy 0.4.3\n", "not a program", "not an ELF file"),
        (b"", "not a program", "not an ELF file"),
        (b"\x7fELF" + bytes(100), "cannot be executed", "Exec format error"),
    ],
)
def test_a_named_executable_that_will_not_do(ground: Path, content: bytes, reason: str, detail: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(HostError, match=reason) as caught:
        find(place_program(ground, content))
    assert detail in caught.value.detail
    assert caught.value.remedy
    assert len(os.listdir("/proc/self/fd")) == before


@on_x86_64
@pytest.mark.parametrize("seconds", [0.2, 0.0])
def test_a_named_executable_that_hangs_is_ended(ground: Path, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(_executable, "SECONDS", seconds)
    with pytest.raises(HostError, match="does not answer"):
        find(place_program(ground, program("py-spy 0.4.3\n", hang=True)))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@on_x86_64
def test_a_named_executable_without_permission(ground: Path) -> None:
    with pytest.raises(HostError, match="cannot be executed"):
        find(place_program(ground, CONTENT, 0o644))


def test_a_named_executable_behind_a_link(ground: Path) -> None:
    place_program(ground, CONTENT)
    (ground / "link").symlink_to("py-spy")
    with pytest.raises(HostError, match="symbolic link") as caught:
        find(wanted(executable=ground / "link"))
    assert str(ground / "py-spy") in caught.value.remedy


@pytest.mark.parametrize("path", ["py-spy", "missing/py-spy"])
def test_a_named_executable_that_is_missing(ground: Path, path: str) -> None:
    with pytest.raises(HostError, match="not on this host"):
        find(wanted(executable=ground / path))


@given(st.text(max_size=40))
def test_answers_to_version_never_surprise(answer: str) -> None:
    version = _executable.parse(answer)
    assert version == () or answer.split()[0] == "py-spy"


@pytest.mark.parametrize("answer", ["py-spy 0.4", "py-spy 0.4.3.1", "py-spy 0.4.³", "py-spy", "py-spy 0.4.3 x", ""])
def test_answers_to_version_that_are_none(answer: str) -> None:
    assert _executable.parse(answer) == ()
