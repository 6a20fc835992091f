# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "selectors": what comes off the wire is what was meant, or is refused."""

from __future__ import annotations

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._arguments import SELECTOR_ARGUMENTS
from ansible_collections.pyspy.fleet.plugins.module_utils._errors import HostError
from ansible_collections.pyspy.fleet.plugins.module_utils._selectors import PROCESS_ROLES, Selectors


def test_selectors_from_the_wire():
    given = {"pids": [5, 6], "pattern": "a|b", "user": "root", "exclude": "c", "max_targets": 3}
    given.update(unit="web", port=80, children_of=7, process_role="any", min_cpu=2)
    expected = Selectors(
        pids=(5, 6),
        pattern="a|b",
        user="root",
        unit="web.service",
        port=80,
        children_of=7,
        process_role="any",
        min_cpu=2.0,
        exclude="c",
        max_targets=3,
    )
    assert Selectors.from_wire(given) == expected
    assert Selectors.from_wire({}) == Selectors() == Selectors.from_wire(dict.fromkeys(given))
    assert Selectors(user="root").uid() == 0 and Selectors().uid() is None


def test_the_argument_spec_and_the_selectors_agree():
    # Whether only busy ones are meant is not for the user to say.
    assert set(SELECTOR_ARGUMENTS) == set(Selectors._fields) - {"hot"}
    defaults = {name: spec["default"] for name, spec in SELECTOR_ARGUMENTS.items() if "default" in spec}
    assert defaults == {name: getattr(Selectors(), name) for name in defaults}
    assert tuple(SELECTOR_ARGUMENTS["process_role"]["choices"]) == PROCESS_ROLES


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, False),
        ({"pids": (5,)}, True),
        ({"pattern": "a"}, True),
        ({"user": "a"}, True),
        ({"children_of": 5}, True),
        ({"port": 5}, True),
        ({"unit": "a.service"}, True),
        ({"process_role": "master", "min_cpu": 5.0, "exclude": "a", "max_targets": 1}, False),
    ],
)
def test_who_names_processes(given, names):
    assert Selectors(**given).names_some() is names


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (
            {"pattern": "gunicorn("},
            "The selector pattern is not a regular expression",
            "missing ), unterminated subpattern",
        ),
        ({"exclude": "*"}, "The selector exclude is not a regular expression", "nothing to repeat at position 0"),
        ({"pattern": 5}, "The selector pattern is not a text", "got 5"),
        ({"user": ["root"]}, "The selector user is not a text", "got ['root']"),
        ({"pids": 5}, "The selector pids is not a list of numbers", "got 5"),
        ({"pids": [0]}, "The selector pids is not a list of numbers above 0", "got 0"),
        ({"pids": [-4]}, "The selector pids is not a list of numbers above 0", "got -4"),
        ({"pids": ["5"]}, "The selector pids is not a list of numbers above 0", "got '5'"),
        ({"pids": [True]}, "The selector pids is not a list of numbers above 0", "got True"),
        ({"unit": "web;ls"}, "The selector unit is not the name of a systemd unit", "got 'web;ls'"),
        ({"unit": 5}, "The selector unit is not a text", "got 5"),
        ({"port": 0}, "The selector port is not a number from 1 to 65535", "got 0"),
        ({"port": 65536}, "The selector port is not a number from 1 to 65535", "got 65536"),
        ({"port": "80"}, "The selector port is not a number from 1 to 65535", "got '80'"),
        ({"port": True}, "The selector port is not a number from 1 to 65535", "got True"),
        ({"children_of": 0}, "The selector children_of is not a number from 1 to 2147483647", "got 0"),
        ({"children_of": 2**40}, "The selector children_of is not a number from 1 to 2147483647", "got 1099511627776"),
        ({"process_role": "helper"}, "The selector process_role is not one of worker, master, any", "got 'helper'"),
        ({"process_role": ["any"]}, "The selector process_role is not one of worker, master, any", "got ['any']"),
        ({"min_cpu": -1}, "The selector min_cpu is not a number from 0 (per cent of one core)", "got -1"),
        ({"min_cpu": float("nan")}, "The selector min_cpu is not a number from 0 (per cent of one core)", "got nan"),
        ({"min_cpu": float("inf")}, "The selector min_cpu is not a number from 0 (per cent of one core)", "got inf"),
        ({"min_cpu": True}, "The selector min_cpu is not a number from 0 (per cent of one core)", "got True"),
        ({"max_targets": 0}, "The selector max_targets is not a whole number from 1", "got 0"),
        ({"max_targets": 1.5}, "The selector max_targets is not a whole number from 1", "got 1.5"),
    ],
)
def test_bad_selectors(data, reason, detail):
    with pytest.raises(HostError) as caught:
        Selectors.from_wire(data)
    assert caught.value.reason == reason and detail in caught.value.detail and caught.value.remedy


def test_no_such_user():
    with pytest.raises(HostError, match="No user 'www-dat' on this host") as caught:
        Selectors(user="www-dat").uid()
    assert caught.value.remedy
