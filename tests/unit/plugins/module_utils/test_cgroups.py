# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "cgroups": paths as systemd makes them, and as others do to mislead."""

from __future__ import annotations

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._cgroups import (
    Members,
    Place,
    full_name,
    members,
    parse_cgroup,
    place,
)
from hypothesis import given
from hypothesis import strategies as st

V1 = b"""9:name=systemd:/system.slice/web.service
8:pids:/system.slice/web.service
4:memory:/elsewhere
1:cpu,cpuacct:/system.slice
0::/system.slice/web.service
"""


def test_the_file():
    assert parse_cgroup(V1) == {"systemd": "/system.slice/web.service", "": "/system.slice/web.service"}
    assert parse_cgroup(b"0::/a:b/c (deleted)\n") == {"": "/a:b/c"}
    assert parse_cgroup(b"") == {}


PART = st.text(st.characters(exclude_characters="/\n\0", exclude_categories=("Cs",)), min_size=1, max_size=20)


@given(st.lists(PART, max_size=5), st.lists(PART, max_size=5))
def test_any_path_comes_back(own, unified):
    paths = {"systemd": "/" + "/".join(own), "": "/" + "/".join(unified)}
    found = parse_cgroup("9:name=systemd:{systemd}\n3:name=other:/x\n0::{}\n".format(paths[""], **paths).encode())
    assert found == {name: path.removesuffix(" (deleted)") for name, path in paths.items()}


@given(st.binary(max_size=300))
def test_any_bytes_are_read(data):
    place(parse_cgroup(data), {"systemd": "/init.scope", "": "/init.scope"})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/system.slice/web.service", Place(("system.slice", "web.service"))),
        ("/system.slice/web.service/sub/foo.service", Place(("system.slice", "web.service"))),
        (
            "/system.slice/system-web.slice/web@1.service",
            Place(("system.slice", "system-web.slice", "web@1.service")),
        ),
        ("/user.slice/user-7.slice/session-3.scope", Place(("user.slice", "user-7.slice", "session-3.scope"))),
        (
            "/user.slice/user-7.slice/user@7.service/app.slice/web.service",
            Place(("user.slice", "user-7.slice", "user@7.service"), ("app.slice", "web.service")),
        ),
        ("/system.slice/_cpu.service", Place(("system.slice", "cpu.service"))),
        ("/system.slice/__odd.service", Place(("system.slice", "_odd.service"))),
        ("/machine.slice/a.scope/payload/system.slice/web.service", Place(("machine.slice", "a.scope"))),
        ("/docker/0123/system.slice/web.service", Place()),
        ("/init.scope", Place(("init.scope",))),
        ("/", Place()),
        ("", Place()),
        ("/../elsewhere/web.service", Place()),
    ],
)
def test_where_systemd_has_a_process(path, expected):
    assert place({"": path}, {"": "/init.scope"}) == expected
    assert place({"systemd": path}, {"systemd": "/init.scope"}) == expected
    assert place({"systemd": "/", "": path}, {"systemd": "/", "": "/init.scope"}) == expected, "half of it is v2"
    inside = {"": "/docker/abc/init.scope"}
    assert place({"": "/docker/abc" + path}, inside) == expected, "in a container without a cgroup namespace"
    assert place({"": "/docker/abcd" + path}, inside) == Place(), "in another one"


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/system.slice/system-web.slice/web@1.service/worker-3", "web@1.service"),
        ("/user.slice/user-7.slice/user@7.service/app.slice/web.service", "user@7.service/web.service"),
        ("/user.slice/user-7.slice/user@7.service/app.slice/tab.scope", "user@7.service"),
        ("/user.slice/user-7.slice/session-3.scope", ""),
        ("/machine.slice/libpod-abc.scope/container", ""),
        ("/system.slice", ""),
        ("/", ""),
    ],
)
def test_the_service_that_people_would_name(path, service):
    assert place({"": path}, {"": "/init.scope"}).service == service


def test_without_systemd_there_is_no_unit():
    assert place({"": "/openrc.web"}, {"": "/"}) == Place()
    assert place({}, {}) == Place()


@pytest.mark.parametrize(
    ("given_name", "full"),
    [
        ("web", "web.service"),
        ("web.service", "web.service"),
        ("web.shop", "web.shop.service"),
        ("web@1", "web@1.service"),
        ("web@", "web@*.service"),
        ("web@.service", "web@*.service"),
        ("web*", "web*.service"),
        ("session-3.scope", "session-3.scope"),
        ("user-7.slice", "user-7.slice"),
        ("backup.timer", "backup.timer"),
        (r"dev-disk\x2dby.service", r"dev-disk\x2dby.service"),
    ],
)
def test_names_as_systemctl_takes_them(given_name, full):
    assert full_name(given_name) == full


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a\n", "ä", "web;ls", "x" * 256])
def test_names_that_are_none(name):
    with pytest.raises(ValueError):
        full_name(name)


PLACES = {
    1: Place(("init.scope",)),
    10: Place(("system.slice", "web.service")),
    11: Place(("system.slice", "web.service")),
    20: Place(("system.slice", "system-job.slice", "job@a.service")),
    21: Place(("system.slice", "system-job.slice", "job@b.service")),
    30: Place(("user.slice", "user-7.slice", "user@7.service"), ("app.slice", "web.service")),
    31: Place(("user.slice", "user-7.slice", "user@7.service"), ("app.slice", "mine.service")),
    32: Place(("user.slice", "user-8.slice", "user@8.service"), ("mine.service",)),
}


@pytest.mark.parametrize(
    ("name", "pids", "of_users"),
    [
        ("web.service", {10, 11}, False),
        ("job@a.service", {20}, False),
        ("job@*.service", {20, 21}, False),
        ("system-job.slice", {20, 21}, False),
        ("system.slice", {10, 11, 20, 21}, False),
        ("user@7.service", {30, 31}, False),
        ("user-7.slice", {30, 31}, False),
        ("mine.service", {31, 32}, True),
        ("app.slice", {30, 31}, True),
        ("we.service", set(), False),
        ("Web.service", set(), False),
    ],
)
def test_members(name, pids, of_users):
    assert members(PLACES, name) == Members(frozenset(pids), of_users)
