# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the run's folder, with real directories, links and processes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import (
    RECORD,
    Run,
    _create,
    _key_of,
    open_run,
    process_key,
    safe_name,
    stem,
)
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import HostRecord, Process
from hypothesis import given
from hypothesis import strategies as st

KEY = _key_of(os.getpid())


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(str(tmp_path / "runs"), "profile", "web", KEY)


@pytest.mark.parametrize("name", ["web-01", "web_01.example.com", "10.0.0.7", "gunicorn"])
def test_harmless_names_stay(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "-rf", ".hidden", "a\nb", "a\x00b", "ü", "x" * 300])
def test_other_names_get_a_hash(name: str) -> None:
    assert safe_name(name) != name
    assert safe_name(name)[0] not in ".-"


@given(st.text(), st.text())
def test_a_safe_name_is_one_component_and_tells_texts_apart(one: str, two: str) -> None:
    name = safe_name(one)
    assert name and "/" not in name and name not in (".", "..") and len(name) < 100 and name.isascii()
    assert (safe_name(two) == name) == (one == two)


def test_the_folder_has_time_job_and_label(run: Run) -> None:
    when, job, label = run.name.split("-")
    assert (len(when), when[8], when[-1], job, label) == (16, "T", "Z", "profile", "web")
    assert stat.S_IMODE(os.stat(run.path).st_mode) == 0o700
    assert os.readlink(Path(run.path).parent / "latest") == run.name


def test_the_same_process_finds_the_same_folder_whatever_it_asks_for(tmp_path: Path) -> None:
    first = open_run(str(tmp_path), "profile", "web", KEY)
    assert open_run(str(tmp_path), "report", "all", KEY) == first


def test_a_label_is_never_a_path(tmp_path: Path) -> None:
    run = open_run(str(tmp_path), "profile", "../../etc:&web/*", KEY)
    assert Path(run.path).parent == tmp_path
    assert run.name.endswith("-profile-etc-web")


def test_another_process_gets_a_folder_of_its_own_at_the_same_second(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        names = {open_run(str(tmp_path), "profile", "web", key).name for key in (KEY, _key_of(other.pid))}
        other.communicate(b"\n")
    assert len(names) == 2


def test_a_taken_name_gets_a_suffix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.strftime", lambda *_args: "20261122T093800Z")
    names = [open_run(str(tmp_path), "profile", "web", f"key-{number}").name for number in range(3)]
    assert names == [f"20261122T093800Z-profile-web{suffix}" for suffix in ("", "-2", "-3")]


def test_keys_of_ended_processes_are_pruned(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        gone = _key_of(other.pid)
        open_run(str(tmp_path), "profile", "web", gone)
        other.communicate(b"\n")
    open_run(str(tmp_path), "profile", "web", KEY)
    keys = set(os.listdir(tmp_path / f".by-process-{os.geteuid()}"))
    assert safe_name(KEY) in keys and safe_name(gone) not in keys


def test_a_deleted_folder_is_made_anew(tmp_path: Path) -> None:
    first = open_run(str(tmp_path), "profile", "one", KEY)
    os.rmdir(first.path)
    assert open_run(str(tmp_path), "profile", "two", KEY).name.endswith("-two")


def test_a_relative_directory_is_where_ansible_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Path(open_run("pyspy-runs", "profile", "web", KEY).path).parent == tmp_path / "pyspy-runs"


def test_a_directory_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FleetError) as caught:
        open_run(str(tmp_path / "file" / "runs"), "profile", "web", KEY)
    assert "pyspy_output_dir" in caught.value.remedy


def _open(directory: str, start: Any, answers: Any) -> None:
    start.wait(30)
    answers.put((process_key(), open_run(directory, "profile", "web", process_key()).path))


def test_all_workers_of_one_process_find_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(base: str, job: str, label: str) -> str:
        # Widens the gap between looking and making, so that a missing lock shows every time.
        time.sleep(0.2)
        return _create(base, job, label)

    monkeypatch.setattr(f"{open_run.__module__}._create", slowly)
    context = get_context("fork")
    start, answers = context.Barrier(6), context.Queue()
    workers = [context.Process(target=_open, args=(str(tmp_path), start, answers)) for _number in range(6)]
    for worker in workers:
        worker.start()
    found = {answers.get(timeout=30) for _worker in workers}
    for worker in workers:
        worker.join()
    assert len(found) == 1
    assert {key for key, _path in found} == {KEY}
    assert len(list(tmp_path.glob("*-web*"))) == 1


def test_records_are_written_and_read(run: Run) -> None:
    records = [HostRecord("web-01", "nothing"), HostRecord("web/../02", "opted_out", ("a",))]
    for record in records:
        run.write_host(record)
    assert sorted(run.hosts(), key=lambda record: record.host) == records
    assert run.host("web/../02") == records[1]
    assert run.host("web-03") is None
    assert run.host("web-01") is not None and run.host("web-03") is None


def test_files_are_for_the_owner_only_and_nothing_temporary_stays(run: Run) -> None:
    run.write_host(HostRecord("web-01", "nothing"))
    run.write_capture("web-01", "1-x.svg", b"x")
    run.write("summary.md", "text")
    for folder, _folders, files in os.walk(run.path):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        for name in files:
            assert stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) == 0o600
            assert not name.endswith(".new")


def test_a_capture_stays_in_its_host_s_folder(run: Run) -> None:
    path = run.write_capture("../../evil", "../../../etc/passwd", b"x")
    assert ".." not in path.split("/")
    assert Path(run.path, path).read_bytes() == b"x"
    assert run.read_capture("../../evil", "../../../etc/passwd") == b"x"


def test_the_stem_of_a_target_s_files_is_harmless() -> None:
    process = Process(12, 1, "", "gunicorn: worker [../x]", "worker", None, None, "")
    assert stem(process).startswith("12-gunicorn_worker_.._x") and "/" not in stem(process)


@pytest.mark.parametrize("planted", ["hosts", "hosts/web-01"])
def test_planted_links_to_directories_are_not_followed(run: Run, tmp_path: Path, planted: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    Path(run.path, planted).parent.mkdir(exist_ok=True)
    Path(run.path, planted).symlink_to(outside)
    with pytest.raises(FleetError):
        run.write_host(HostRecord("web-01", "nothing"))
    assert not list(outside.iterdir())


def test_planted_links_to_files_are_replaced_not_followed(run: Run, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    Path(run.path, "hosts", "web-01").mkdir(parents=True)
    for name in ("hosts/web-01/recording.json", "summary.md"):
        Path(run.path, name).symlink_to(outside)
    with pytest.raises(FleetError):
        run.host("web-01")
    run.write_host(HostRecord("web-01", "nothing"))
    run.write("summary.md", "text")
    assert outside.read_text() == "mine"
    assert run.host("web-01") == HostRecord("web-01", "nothing")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"host": 1}', "[" * 100_000])
def test_a_broken_record_is_named(run: Run, content: str) -> None:
    run.write_host(HostRecord("web-01", "nothing"))
    run.write_host(HostRecord("web-02", "nothing"))
    Path(run.path, "hosts", "web-02", RECORD).write_text(content)
    good, broken = run.records()
    assert [record.host for record in good] == ["web-01"]
    assert "web-02" in str(broken[0]) and broken[0].remedy


def test_the_fingerprint_follows_records_and_captures(run: Run) -> None:
    seen = [run.fingerprint()]
    run.write_host(HostRecord("web-01", "nothing"))
    seen.append(run.fingerprint())
    run.write_host(HostRecord("web-01", "nothing"))
    seen.append(run.fingerprint())
    run.write_capture("web-01", "1-x.speedscope.json", b"{}")
    seen.append(run.fingerprint())
    assert len(set(seen)) == 4
    run.write_capture("web-01", "1-x.svg", b"<svg/>")
    run.write("summary.md", "text")
    assert run.fingerprint() == seen[-1]


def test_a_name_is_claimed_once(run: Run) -> None:
    assert not run.claimed("printed")
    assert [run.claim("printed"), run.claim("printed"), run.claimed("printed")] == [True, False, True]


def test_the_lock_excludes_other_processes(run: Run) -> None:
    code = "import fcntl, sys; fcntl.flock(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    command = [sys.executable, "-c", code, os.path.join(run.path, ".lock")]
    with run.lock():
        assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody without a name")
def test_who_has_no_name_is_named_by_number() -> None:
    program = (
        "import os\nfrom ansible_collections.pyspy.fleet.plugins.plugin_utils._run import user_name\n"
        "os.setuid(54321)\nprint(user_name())"
    )
    nameless = {key: value for key, value in os.environ.items() if key not in ("LOGNAME", "USER", "LNAME", "USERNAME")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**nameless, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "54321\n", done.stderr
