# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "sockets": the kernel's tables by property, who listens with real sockets."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils import _sockets
from ansible_collections.pyspy.fleet.plugins.module_utils._sockets import Listeners, find_listeners, parse_listeners
from hypothesis import given
from hypothesis import strategies as st

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ENTRY = st.tuples(
    st.sampled_from(["00000000", "0100007F", "0" * 32, "0000000000000000FFFF00000100007F"]),
    st.integers(0, 65535),
    st.sampled_from(["01", "03", "06", "0A"]),
    st.integers(0, 10**10),
    st.integers(0, 70000),
)


def line(number: int, address: str, port: int, state: str, inode: int, uid: int) -> str:
    """As the kernel prints it (get_tcp4_sock in net/ipv4/tcp_ipv4.c); without padding at the end of a line here."""
    local, remote = f"{address}:{port:04X}", f"{'0' * len(address)}:0000"
    rest = f"00000000:00000000 00:00000000 00000000 {uid:5d}        0 {inode} 1 0000000040b20deb 100 0 0 10 0"
    return f"{number:4d}: {local} {remote} {state} {rest}\n"


@given(st.lists(ENTRY, max_size=8), st.integers(1, 65535))
def test_listeners_of_a_port_and_no_others(entries, port):
    entries = [(*entries[0][:1], port, *entries[0][2:]), *entries[1:]] if entries else []
    text = HEAD + "".join(
        line(number, address, at, state, inode, uid) for number, (address, at, state, inode, uid) in enumerate(entries)
    )
    expected = {inode for _address, at, state, inode, _uid in entries if at == port and state == "0A" and inode}
    assert parse_listeners(text.encode(), port) == expected


@given(st.binary(max_size=300), st.integers(1, 65535))
def test_any_bytes_are_read(data, port):
    assert parse_listeners(data, port) == set()


def test_a_cut_table():
    whole = (HEAD + line(0, "00000000", 80, "0A", 5, 0) + line(1, "00000000", 80, "0A", 6, 0)).encode()
    assert parse_listeners(whole, 80) == {5, 6}
    assert parse_listeners(whole[:-30], 80) == {5, 6}
    assert parse_listeners(whole[:-70], 80) == {5}


@pytest.fixture
def forked() -> Iterator[list[int]]:
    """Children are ended by their PIDs."""
    children: list[int] = []
    yield children
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def fork(children: list[int]) -> int:
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    children.append(child)
    return child


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::")])
def test_who_was_forked_after_listening_listens_too(forked, family, address):
    if family == socket.AF_INET6 and not os.path.exists("/proc/self/net/tcp6"):
        pytest.skip("this kernel has no IPv6")
    before = fork(forked)
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        port = listener.getsockname()[1]
        assert find_listeners([os.getpid(), before], port) == Listeners()
        listener.listen()
        after = fork(forked)
        found = find_listeners([os.getpid(), before, after, 2**22 + 1], port)
        assert found == Listeners(frozenset({os.getpid(), after}), heard=True)
        with socket.create_connection(listener.getsockname()[:2]) as client:
            away = client.getsockname()[1]
            assert find_listeners([os.getpid()], away) == Listeners(), "a connection is no listener"


def test_a_table_of_many_pieces():
    """The kernel gives it page by page; the listeners come first, whatever else there is."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _number in range(200)]
    clients = [socket.create_connection(listeners[0].getsockname()) for _number in range(50)]
    try:
        for listener in listeners:
            assert find_listeners([os.getpid()], listener.getsockname()[1]).pids == {os.getpid()}
    finally:
        for one in listeners + clients:
            one.close()


@pytest.mark.parametrize(
    ("lines", "past"),
    [
        (HEAD.rstrip(), False),
        (line(0, "00000000", 80, "0A", 5, 0).rstrip(), False),
        (line(0, "00000000", 80, "01", 5, 0) + line(0, "00000000", 80, "03", 5, 0).rstrip(), False),
        (line(0, "00000000", 80, "0A", 5, 0) + line(0, "00000000", 80, "01", 5, 0).rstrip(), True),
        ("", False),
    ],
)
def test_where_the_listeners_end(lines, past):
    assert _sockets._past_listeners(lines.encode()) is past


def test_what_cannot_be_told_is_called_so(forked, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        child = fork(forked)
        monkeypatch.setattr(_sockets, "MAX_FILES", 2)
        found = find_listeners([child], listener.getsockname()[1])
        assert found == Listeners(unknown=frozenset({child}), heard=True)


def test_an_ordinary_user_is_told_what_he_may_not_see(forked):
    if os.getuid() != 0:
        pytest.skip("needs root to become another user")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        child, port = fork(forked), listener.getsockname()[1]
        ours, theirs = os.pipe()
        other = os.fork()
        if other == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os.write(theirs, repr(find_listeners([child], port) == Listeners(unknown={child}, heard=True)).encode())
            os._exit(0)
        os.close(theirs)
        with open(ours) as answer:
            assert answer.read() == "True"
        os.waitpid(other, 0)
