# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "redaction": tables of what must go and what may stay; no marked secret comes through."""

from __future__ import annotations

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._redaction import (
    HIDDEN,
    MAX_SEARCHED,
    MAX_VALUE,
    is_secret_name,
    redact_command_line,
    redact_local,
    redact_text,
)
from hypothesis import given
from hypothesis import strategies as st

NAMES = "password db_password PGPASSWORD passwd userPwd pw api_key apiKey API_KEY token accessToken secret_2 cookies"
NAMES += " sessionid Authorization auth_header pin dsn jwt private_key csrf passphrase credentials db_pass key1"


@pytest.mark.parametrize("name", NAMES.split())
def test_a_secret_s_name_is_known(name: str) -> None:
    assert is_secret_name(name)
    assert redact_local(name, "'hunter2'") == HIDDEN


@pytest.mark.parametrize("name", "monkey keyboard author bypass compass pinned salted user path i self signal".split())
def test_other_names_are_not_taken_for_it(name: str) -> None:
    assert redact_local(name, "'hunter2'") == "'hunter2'"


#: Built here, so that nobody's search for leaked secrets stumbles over this file.
LOOKS = [
    "postgresql://ann:hunter2@db/shop",
    "redis://:hunter2@cache:6379",
    "https://hunter2@git/x",
    "postgres://ann:hunter2",
    "postgres://ann:hunter2lo...",
    "redis://:hunter2...",
    "amqp://ann:hunter2/with/slashes@mq",
    "ey" + "JhbGciOiJIUzI1NiJ9.hunter2.c2ln",
    "AK" + "IAHUNTER2EXAMPLE",
    "gh" + "p_hunter2hunter2",
    "xo" + "xb-123-hunter2",
    "-----BEGIN RSA KEY-----\nhunter2\n-----END RSA KEY-----",
    "$2b$12$hunter2hunter2",
    "hunter2" + "deadBEEF" * 4,
    "deadbeef" * 4,
    "123e4567-e89b-12d3-a456-426614174000",
    "{'user': 'ann', 'password': 'it\\'s hunter2', 'x': 1}",
    "Basic auth: hunter2",
    "Bearer hunter2",
    "<Settings token=hunter2>",
]


@pytest.mark.parametrize("text", LOOKS)
def test_what_looks_like_a_secret_goes(text: str) -> None:
    shown = redact_text(f"before {text}")
    assert HIDDEN in shown and "hunter2" not in shown.lower() and "deadbeef" not in shown and "e89b" not in shown
    assert shown.startswith("before")


@pytest.mark.parametrize(
    "text",
    [
        "42",
        "'a sentence of words'",
        "[1, 2, 3]",
        "<Lock object>",
        "http://db:5432/shop",
        "http://db:80",
        "http://[::1]:80/x",
        "('http://db:80', 1)",
        "",
    ],
)
def test_the_harmless_stays(text: str) -> None:
    assert redact_text(text) == text


SECRET = st.text(st.sampled_from("ABCDEFGHJKLMN"), min_size=6, max_size=12).map(lambda text: f"Zq9{text}9qZ")


@given(st.text(), st.sampled_from(NAMES.split()), st.sampled_from(["=", ": ", "': '", '"=>"', " "]), SECRET, st.text())
def test_what_follows_a_secret_s_name_never_comes_through(
    before: str, name: str, sign: str, secret: str, after: str
) -> None:
    shown = redact_text(f"{before} {name}{sign}{secret}{after}")
    assert secret not in shown and shown.isprintable() and len(shown) <= MAX_VALUE


@given(st.text(), SECRET, st.integers(0, 5000))
def test_neither_does_a_password_in_a_url_wherever_it_is_cut(before: str, secret: str, pad: int) -> None:
    shown = redact_text(f"{before}{'x ' * pad}http://ann:{secret}@host/")
    assert secret[:9] not in shown


@given(st.lists(st.text(), max_size=3), st.sampled_from(NAMES.split()), SECRET, st.booleans())
def test_nor_an_option_s_value(others: list[str], name: str, secret: str, apart: bool) -> None:
    option = [f"--{name}", secret] if apart else [f"--{name}={secret}"]
    shown = redact_command_line([*others, *option, *others])
    assert secret not in " ".join(shown) and len(shown) == 2 * len(others) + len(option)


def test_an_option_that_is_hidden_as_a_value_still_hides_its_own() -> None:
    assert "hunter2" not in redact_command_line(["app", "--auth", "--password", "hunter2"])
    assert redact_command_line(["gunicorn", "-w", "4", "shop:app"]) == ("gunicorn", "-w", "4", "shop:app")


def test_a_secret_at_the_end_of_what_is_searched_is_not_cut_to_something_harmless() -> None:
    text = "deadbeef" * 8 + " " + "y" * (MAX_SEARCHED - 74) + " http://a:hunter2@x"
    assert "hunter" not in redact_text(text, most=MAX_SEARCHED)
