# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "subject": what is made of a py-spy that gave no dump."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._dump_options import Options
from ansible_collections.pyspy.fleet.plugins.module_utils._procfs import ProcessDir
from ansible_collections.pyspy.fleet.plugins.module_utils._selection import Process
from ansible_collections.pyspy.fleet.plugins.module_utils._subject import Subject

PANIC = "thread 'main' panicked: byte index 123 is not a char boundary; it is inside 'ü' of `\"hunter2 für alle\"`"


def subject(**options: object) -> Subject:
    target = Process(os.getpid(), 1, 0, 0, "root", "app", "worker", "3.11", None, "")
    made = Subject(target, Options.from_wire(dict(options)))
    made.process = ProcessDir(os.getpid())
    made.dumper.status = 101 << 8
    return made


@pytest.fixture
def with_locals() -> Iterator[Subject]:
    made = subject(locals=True)
    yield made
    made.settle()


def missed(one: Subject, words: str) -> bool:
    one._attempt += 1  # as begin() does
    return one._missed(words)


def test_a_py_spy_that_fails_on_locals_is_asked_again_without_them(with_locals: Subject) -> None:
    assert [missed(with_locals, PANIC) for _attempt in range(5)] == [True] * 5
    assert not missed(with_locals, PANIC), "three times with them, three times without"
    head, _body = with_locals.capture()
    assert head["notes"] == ["its local variables are left out: py-spy could not read them"]


def test_what_py_spy_says_while_it_reads_locals_is_withheld(with_locals: Subject) -> None:
    missed(with_locals, PANIC)
    head, _body = with_locals.capture()
    assert head["outcome"] == "failed" and head["reason"] == "py-spy failed with exit code 101" and head["remedy"]
    assert "hunter2" not in str(head) and "withheld" in str(head["detail"])


def test_without_locals_its_words_are_told() -> None:
    made = subject()
    missed(made, "Error: something else")
    assert "something else" in str(made.capture()[0]["detail"])
    made.settle()


def test_a_dump_that_was_torn_each_time_says_so() -> None:
    made = subject()
    made.dumper.status = 0
    assert [missed(made, "") for _attempt in range(3)] == [True, True, False]
    head, _body = made.capture()
    assert head["reason"] == "its threads changed while they were read" and head["detail"] == "3 times in a row"
    made.settle()
