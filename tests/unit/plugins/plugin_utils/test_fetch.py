# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fetching, verifying and caching the binary: with the real pip, from small wheels of our own."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils import _fetch, _releases
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._fetch import binary, compressed

CONTENT = b"\x7fELF not really " * 1000
WHEEL = "py_spy-0.4.3-py2.py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl"


def make_wheel(folder: Path, content: bytes = CONTENT, name: str = WHEEL) -> bytes:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("py_spy-0.4.3.data/scripts/py-spy", content)
        archive.writestr("py_spy-0.4.3.dist-info/METADATA", "Metadata-Version: 2.1\nName: py-spy\nVersion: 0.4.3\n")
        archive.writestr("py_spy-0.4.3.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py2-none-manylinux2014_aarch64\n")
    return (folder / name).read_bytes()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pin(monkeypatch: pytest.MonkeyPatch, wheel: bytes, content: bytes = CONTENT) -> None:
    build = _releases.Build(sha256(wheel), sha256(content), len(content))
    monkeypatch.setattr(_releases, "RELEASES", {"0.4.3": _releases.Release("0.4.3", {"aarch64": build})})


@pytest.fixture(autouse=True)
def _pip_sees_only_our_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_REQUIRE_VIRTUALENV", "1")
    yield


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


def names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).glob("*") if path.suffix != ".lock")


def test_by_pip_then_from_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: str) -> None:
    pin(monkeypatch, make_wheel(tmp_path / "index"))
    path = binary("0.4.3", "arm64", None, cache)
    assert path.read_bytes() == CONTENT
    assert os.access(path, os.X_OK)
    assert os.stat(cache).st_mode & 0o777 == 0o700
    (tmp_path / "index" / WHEEL).unlink()
    assert binary("0.4.3", "aarch64", None, cache) == path
    assert names(cache) == ["py-spy-0.4.3-aarch64"]


def test_from_a_directory_by_hash_whatever_the_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: str
) -> None:
    make_wheel(tmp_path / "wheels", b"another build", "a" + WHEEL)
    pin(monkeypatch, make_wheel(tmp_path / "wheels", name="renamed"))
    (tmp_path / "wheels" / "folder").mkdir()
    assert binary("0.4.3", "aarch64", str(tmp_path / "wheels"), cache).read_bytes() == CONTENT


def test_a_directory_without_the_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: str) -> None:
    wheel = make_wheel(tmp_path / "index")
    pin(monkeypatch, wheel)
    make_wheel(tmp_path / "wheels", b"something else")
    with pytest.raises(FleetError) as caught:
        binary("0.4.3", "aarch64", str(tmp_path / "wheels"), cache)
    assert sha256(wheel) in caught.value.detail
    assert "none of 1 files" in caught.value.detail
    assert "pip download" in caught.value.remedy
    assert "manylinux2014_aarch64" in caught.value.remedy
    assert names(cache) == []
    with pytest.raises(FleetError, match="cannot be read"):
        binary("0.4.3", "aarch64", str(tmp_path / "missing"), cache)


def test_pip_refuses_another_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: str) -> None:
    make_wheel(tmp_path / "index", b"forged")
    pin(monkeypatch, b"the real wheel")
    with pytest.raises(FleetError) as caught:
        binary("0.4.3", "aarch64", None, cache)
    assert "checksum mismatch" in caught.value.reason
    assert sha256(b"the real wheel") in caught.value.detail
    assert names(cache) == []


def test_a_wheel_whose_binary_is_not_the_pinned_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: str
) -> None:
    pin(monkeypatch, make_wheel(tmp_path / "wheels", b"other content"))
    with pytest.raises(FleetError, match="is not the pinned one"):
        compressed("0.4.3", "aarch64", str(tmp_path / "wheels"), cache)
    assert names(cache) == []


def test_no_network_gives_pips_words_and_the_air_gap(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: str
) -> None:
    pin(monkeypatch, b"not to be had")
    with pytest.raises(FleetError) as caught:
        binary("0.4.3", "aarch64", None, cache)
    assert "No matching distribution found for py-spy==0.4.3" in caught.value.detail
    assert "pyspy_install_wheel_dir" in caught.value.remedy
    assert names(cache) == []


def test_no_pip_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: str) -> None:
    pin(monkeypatch, b"not to be had")
    monkeypatch.setattr(_fetch.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FleetError, match="there is no pip on the controller"):
        binary("0.4.3", "aarch64", None, cache)


def test_pip3_on_the_path_where_this_python_has_no_pip(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: str
) -> None:
    pin(monkeypatch, make_wheel(tmp_path / "index"))
    monkeypatch.setattr(_fetch.importlib.util, "find_spec", lambda name: None)
    (tmp_path / "pip3").write_text(f'#!/bin/sh\nexec {sys.executable} -m pip "$@"\n')
    (tmp_path / "pip3").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert binary("0.4.3", "aarch64", None, cache).read_bytes() == CONTENT


def test_a_pip_that_hangs(monkeypatch: pytest.MonkeyPatch, cache: str) -> None:
    pin(monkeypatch, b"not to be had")
    monkeypatch.setattr(_fetch, "PIP_SECONDS", 0)
    with pytest.raises(FleetError, match="did not end within"):
        binary("0.4.3", "aarch64", None, cache)


def test_a_failure_counts_for_the_whole_run_but_not_for_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: str
) -> None:
    wheel = make_wheel(tmp_path / "elsewhere")
    pin(monkeypatch, wheel)
    with pytest.raises(FleetError) as first:
        binary("0.4.3", "aarch64", None, cache)
    (tmp_path / "index" / WHEEL).write_bytes(wheel)
    with pytest.raises(FleetError) as second:
        compressed("0.4.3", "aarch64", None, cache)
    assert str(second.value) == str(first.value)
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert gzip.decompress(compressed("0.4.3", "aarch64", None, cache)) == CONTENT


def test_a_directory_of_wheels_helps_after_a_failure_of_pip(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: str
) -> None:
    pin(monkeypatch, make_wheel(tmp_path / "wheels"))
    with pytest.raises(FleetError):
        binary("0.4.3", "aarch64", None, cache)
    assert binary("0.4.3", "aarch64", str(tmp_path / "wheels"), cache).read_bytes() == CONTENT


@pytest.mark.parametrize("damage", [b"", b"rubbish", gzip.compress(b"another"), gzip.compress(CONTENT + b"x")])
def test_a_damaged_cache_is_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: str, damage: bytes
) -> None:
    pin(monkeypatch, make_wheel(tmp_path / "wheels"))
    Path(cache).mkdir(mode=0o755)
    for name in ("py-spy-0.4.3-aarch64", "py-spy-0.4.3-aarch64.gz"):
        Path(cache, name).write_bytes(damage)
    data = compressed("0.4.3", "aarch64", str(tmp_path / "wheels"), cache)
    assert gzip.decompress(data) == CONTENT
    assert binary("0.4.3", "aarch64", None, cache).read_bytes() == CONTENT
    assert os.stat(cache).st_mode & 0o777 == 0o700
    assert names(cache) == ["py-spy-0.4.3-aarch64", "py-spy-0.4.3-aarch64.gz"]


def test_what_crosses_the_wire_is_the_same_every_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: str
) -> None:
    pin(monkeypatch, make_wheel(tmp_path / "wheels"))
    first = compressed("0.4.3", "aarch64", str(tmp_path / "wheels"), cache)
    assert compressed("0.4.3", "aarch64", str(tmp_path / "missing"), cache) == first
    assert compressed("0.4.3", "aarch64", str(tmp_path / "wheels"), cache + "2") == first
    assert first[4:8] == bytes(4)


def test_a_cache_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pin(monkeypatch, make_wheel(tmp_path / "wheels"))
    (tmp_path / "file").write_text("")
    with pytest.raises(FleetError, match="cache of py-spy cannot be used") as caught:
        binary("0.4.3", "aarch64", str(tmp_path / "wheels"), str(tmp_path / "file" / "cache"))
    assert "XDG_CACHE_HOME" in caught.value.remedy


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_cache_of_somebody_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: str) -> None:
    pin(monkeypatch, make_wheel(tmp_path / "wheels"))
    binary("0.4.3", "aarch64", str(tmp_path / "wheels"), cache)
    os.chown(cache, 65534, 65534)
    with pytest.raises(FleetError, match="belongs to somebody else"):
        binary("0.4.3", "aarch64", None, cache)


@pytest.mark.parametrize(("setting", "used"), [("{}/xdg", "xdg"), ("relative", ".cache"), ("", ".cache")])
def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str, used: str) -> None:
    pin(monkeypatch, make_wheel(tmp_path / "wheels"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", setting.format(tmp_path))
    path = binary("0.4.3", "aarch64", str(tmp_path / "wheels"))
    assert path == tmp_path / used / "pyspy-fleet" / "py-spy-0.4.3-aarch64"


def test_many_workers_fetch_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: str) -> None:
    wheel = make_wheel(tmp_path / "index")
    counting = tmp_path / "pip3"
    counting.write_text(f'#!/bin/sh\necho x >> {tmp_path}/calls\nexec {sys.executable} -m pip "$@"\n')
    counting.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program = textwrap.dedent(
        f"""
        import importlib.util, hashlib, sys
        from ansible_collections.pyspy.fleet.plugins.plugin_utils import _fetch, _releases
        build = _releases.Build({sha256(wheel)!r}, {sha256(CONTENT)!r}, {len(CONTENT)})
        _releases.RELEASES = {{"0.4.3": _releases.Release("0.4.3", {{"aarch64": build}})}}
        importlib.util.find_spec = lambda name: None
        print(hashlib.sha256(_fetch.compressed("0.4.3", "aarch64", None, {cache!r})).hexdigest())
        """
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    workers = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
        for _worker in range(4)
    ]
    answers = {worker.communicate()[0] for worker in workers}
    assert [worker.returncode for worker in workers] == [0] * 4
    assert len(answers) == 1
    assert (tmp_path / "calls").read_text() == "x\n"
