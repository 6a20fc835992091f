# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "plan": every option's bounds, and what each wish leads to."""

from __future__ import annotations

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._errors import HostError
from ansible_collections.pyspy.fleet.plugins.module_utils._plan import MAX_DURATION, MAX_RATE, Options, plan
from hypothesis import given
from hypothesis import strategies as st

FLAGS = ("native", "gil", "idle", "subprocesses", "nonblocking", "function")


def test_without_a_wish():
    options = Options.from_wire({})
    assert options == Options(30, 100, False, False, False, False, None, False)
    assert plan(options).measure() == {"kind": "cpu", "rate": 100, "blocking": False, "native": False}
    assert plan(options).reasons == ()


@pytest.mark.parametrize(
    ("wish", "measure", "words"),
    [
        ({"gil": True}, ("gil", False, False), "released the GIL is not seen"),
        ({"idle": True}, ("wall", False, False), ""),
        ({"native": True}, ("cpu", True, True), "the target is stopped for each sample"),
        ({"nonblocking": False}, ("cpu", True, False), "blocking was asked for"),
        ({"nonblocking": True}, ("cpu", False, False), ""),
        ({"native": True, "nonblocking": False}, ("cpu", True, True), "native frames"),
        ({"native": True, "gil": True}, ("gil", True, True), "native frames"),
    ],
)
def test_what_a_wish_leads_to(wish, measure, words):
    made = plan(Options.from_wire({"rate": 20, **wish}))
    kind, blocking, native = measure
    assert made.measure() == {"kind": kind, "rate": 20, "blocking": blocking, "native": native}
    assert words in " ".join(made.reasons)


@pytest.mark.parametrize("name", ["duration", "rate"])
@pytest.mark.parametrize("value", [0, -1, 10**9, 1.5, True, "5", None, [5], float("nan"), 2**70])
def test_a_number_out_of_bounds_is_refused_by_name(name, value):
    with pytest.raises(HostError) as caught:
        Options.from_wire({name: value})
    assert name in caught.value.reason and caught.value.remedy


@pytest.mark.parametrize(("name", "most"), [("duration", MAX_DURATION), ("rate", MAX_RATE)])
def test_the_bounds_themselves_are_fine(name, most):
    assert getattr(Options.from_wire({name: 1}), name) == 1
    assert getattr(Options.from_wire({name: most}), name) == most


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("value", ["yes", 1, 0, [], {}])
def test_a_flag_is_true_or_false(name, value):
    with pytest.raises(HostError, match=name):
        Options.from_wire({name: value})


@pytest.mark.parametrize("pair", [("native", "nonblocking"), ("gil", "idle")])
def test_what_excludes_each_other_is_named(pair):
    with pytest.raises(HostError, match=f"{pair[0]} and {pair[1]} exclude each other"):
        Options.from_wire(dict.fromkeys(pair, True))


@given(st.dictionaries(st.sampled_from((*FLAGS, "duration", "rate", "x")), st.none() | st.booleans() | st.integers()))
def test_anything_is_options_or_a_refusal_that_names_one(data):
    try:
        options = Options.from_wire(data)
    except HostError as error:
        assert any(name in error.reason for name in (*FLAGS, "duration", "rate"))
    else:
        made = plan(options)
        assert made.blocking or not made.native
        assert made.kind in ("cpu", "wall", "gil")
