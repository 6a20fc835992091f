# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "insides": which processes the container selectors mean."""

from __future__ import annotations

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._containers import Container, Seat
from ansible_collections.pyspy.fleet.plugins.module_utils._errors import HostError
from ansible_collections.pyspy.fleet.plugins.module_utils._insides import insides, label
from ansible_collections.pyspy.fleet.plugins.module_utils._selectors import Selectors

API = Container("docker", "abc1" + "0" * 60, "api", "shop:1")
WEB = Container("podman", "abc2" + "0" * 60, "web")
#: A user calls his own like root's, and another one like nobody's.
EVE = Container("podman", "eee1" + "0" * 60, "api", claim="user eve")
BOB = Container("podman", API.id[:4] + "f" * 60, "batch", claim="user bob")
POD = Container("containerd", "ddd1" + "0" * 60, "app", "shop:2", "cart-7d", "shop")
POD2 = Container("containerd", "ddd2" + "0" * 60, "app", "shop:2", "mail-5b", "post")
SEATS = {
    10: Seat(API, 1),
    11: Seat(API, 7),
    20: Seat(WEB, 7),
    30: Seat(EVE, 7),
    40: Seat(BOB, 1),
    50: Seat(POD, 1),
    60: Seat(POD2, 1),
}


@pytest.mark.parametrize(
    ("asked", "pids", "named", "absent"),
    [
        ({"container": "api"}, {10, 11}, set(), ()),
        ({"container": "/api"}, {10, 11}, set(), ()),
        ({"container": "api", "container_pids": [7]}, {10, 11}, {11}, ()),
        ({"container": "api", "container_pids": [7, 9]}, {10, 11}, {11}, (9,)),
        ({"container": API.id}, {10, 11}, set(), ()),
        ({"container": "abc2"}, {20}, set(), ()),
        ({"container": EVE.id}, {30}, set(), ()),
        ({"container": "eee"}, {30}, set(), ()),
        ({"container": "ee"}, set(), set(), ()),
        ({"container": "batch"}, {40}, set(), ()),
        ({"container": "nobody"}, set(), set(), ()),
        ({"container": "*"}, {10, 11, 20, 50, 60}, set(), ()),
        ({"container": "app"}, {50, 60}, set(), ()),
        ({"container": "app", "kube_namespace": "shop"}, {50}, set(), ()),
        ({"kube_pod": "mail-*"}, {60}, set(), ()),
        ({"kube_pod": "*"}, {50, 60}, set(), ()),
        ({"kube_namespace": "none"}, set(), set(), ()),
        ({"kube_pod": "cart-7d", "container_pids": [1]}, {50}, {50}, ()),
    ],
)
def test_who_is_meant(asked: dict[str, object], pids: set[int], named: set[int], absent: tuple[int, ...]) -> None:
    found = insides(SEATS, Selectors.from_wire(asked))
    assert (set(found.pids), set(found.named), found.absent) == (pids, named, absent)
    assert bool(found.claim) == bool(pids & {30, 40})


def test_a_piece_of_an_id_that_fits_two() -> None:
    found = insides(SEATS, Selectors.from_wire({"container": "ddd"}))
    assert found.several == ("post/mail-5b/app (containerd)", "shop/cart-7d/app (containerd)")
    assert not insides(SEATS, Selectors.from_wire({"container": "app"})).several


def test_what_there_is_instead() -> None:
    assert "api (podman, by the word of user eve)" in insides(SEATS, Selectors.from_wire({"container": "x"})).others
    assert label(Container("namespace", "pid:[4026532182]")) == "pid:[4026532182] (namespace)"


def test_numbers_without_a_container() -> None:
    with pytest.raises(HostError, match="container_pids alone"):
        Selectors.from_wire({"container_pids": [7]})
