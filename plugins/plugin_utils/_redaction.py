# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "redaction" of the controller wing (private to the collection): secrets out of locals and command lines. Pure.

Two nets: what a value is *called* (password, token, key, …: all that follows such a name is withheld, whatever it looks
like) and what it *looks* like (credentials in URLs, key blocks, known prefixes of tokens, long runs of base64 or hex).

What this cannot promise: a secret without a telling name that looks like ordinary text ("correct horse", a PIN, a
customer's address) goes through, as does the rest of a token that py-spy itself cut to some twenty characters, one that
is split over several values, or one in another script's words. It hides too much rather than too little: paths, UUIDs
and harmless "keys" are hidden as well. Who asks for locals or whole command lines must treat them as secret.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ._fields import printable

HIDDEN = "(redacted)"
#: Longest text of one value after redaction, in characters.
MAX_VALUE = 120
#: Longest text that is searched; what is beyond it is cut off unseen.
MAX_SEARCHED = 1000

#: A name with this in it, anywhere, is a secret's.
_ANYWHERE = (
    "passwords?|passw|passphrase|passwd|secrets?|tokens?|credentials?|apikey|authoriz|cookie|session|signature|private|bearer|"
    "connectionstring|connection_string|accesskey|csrf|xsrf"
)
#: These only as a word of their own (``api_key``, ``userPwd``, not ``monkey``).
_WORDS = "key|keys|pass|pw|pwd|auth|pin|otp|dsn|sig|salt|jwt|nonce|cred|creds|psk"

_IN_CAMEL_CASE = "|".join(word.title() for word in _WORDS.split("|"))
#: The end of a word: what follows is no letter, or begins a word in camelCase.
_NAME = re.compile(rf"(?i:{_ANYWHERE})|(?:(?<![A-Za-z])(?i:{_WORDS})|(?<=[a-z0-9])(?:{_IN_CAMEL_CASE}))(?![a-z])")

_LOOKS = tuple(
    re.compile(pattern)
    for pattern in (
        # All that follows the head of a key block.
        r"-----BEGIN(?s:.*)",
        # Tokens with a known beginning: JWT, AWS, GitHub, GitLab, Slack, Stripe and others.
        r"eyJ[A-Za-z0-9_-]{5,}[A-Za-z0-9_.-]*",
        r"(?:AKIA|ASIA)[A-Z0-9]{8,}",
        r"(?:gh[opsur]_|github_pat_|glpat-|xox[a-z]-|[rs]k[_-]|hf_|hv[sb]\.)[A-Za-z0-9_.-]{6,}",
        r"\$(?:2[aby]|argon2\w*|[156y]|pbkdf2\w*)\$[^\s'\"]+",
        # Hex, with or without the dashes of a UUID.
        r"[0-9a-fA-F][0-9a-fA-F:-]{30,}[0-9a-fA-F]",
    )
)
# Both take each character once, and what they took is judged after: a host shall not keep the controller busy.
#: scheme://user:password@host, with whatever a careless password holds.
_URL = re.compile(r"(?<=://)[^\s'\"]+")
_WORD = re.compile(r"\S{20,}")
#: Base64 of either alphabet: in a mixed word, or it would be every long one.
_BASE64 = re.compile(r"[A-Za-z0-9/+_-]{20,}={0,2}")
_LONG = 40
_MIXED = tuple(re.compile(kind) for kind in ("[0-9]", "[A-Z]", "[a-z]"))


#: ``user:password`` of a URL that was cut before its ``@``; what follows a host is a port.
_CUT_CREDENTIALS = re.compile(r"[^/\[@:]*:(?![0-9]{1,5}(?:[/?#,;)\]}>]|$))")


def _without_credentials(found: re.Match[str]) -> str:
    _hidden, at, host = found.group().rpartition("@")
    if at:
        return HIDDEN + host
    return HIDDEN if _CUT_CREDENTIALS.match(found.group()) else found.group()


def _without_base64(found: re.Match[str]) -> str:
    word = found.group()
    mixed = all(kind.search(word) for kind in _MIXED)
    return _BASE64.sub(lambda run: HIDDEN if mixed or len(run.group()) >= _LONG else run.group(), word)


def is_secret_name(name: str) -> bool:
    """Is a variable or an option of this name likely to hold a secret?"""
    return _NAME.search(name) is not None


def redact_text(text: str, most: int = MAX_VALUE) -> str:
    """``text`` without what looks like a secret, printable, in at most ``most`` characters.

    After a secret's name everything is withheld, to the end: where its value ends cannot be told for sure.
    """
    if len(text) > MAX_SEARCHED:
        # The end may be the beginning of a secret that is cut short of its looks.
        text = text[:MAX_SEARCHED].rpartition(" ")[0] + "…"
    named = _NAME.search(text)
    rest = text[named.end() :] if named else ""
    if named and rest.strip():
        text = text[: named.end()]
    text = _URL.sub(_without_credentials, text)
    for look in _LOOKS:
        text = look.sub(HIDDEN, text)
    text = _WORD.sub(_without_base64, text)
    # Cut before the mark is added: the mark shall be seen, and a cut never uncovers anything.
    text = printable(text)
    mark = f" {HIDDEN}" if rest.strip() else ""
    if len(text) + len(mark) > most:
        text = text[: max(most - len(mark) - 1, 0)] + "…"
    return (text + mark)[:most]


def redact_local(name: str, text: str) -> str:
    """The value of the local variable ``name``, as it may be shown."""
    return HIDDEN if is_secret_name(name) else redact_text(text)


def redact_command_line(arguments: Sequence[str]) -> tuple[str, ...]:
    """A whole command line: the value of an option with a secret's name goes, in the same argument or in the next."""
    shown = []
    named = False
    for argument in arguments:
        shown.append(HIDDEN if named else redact_text(argument))
        named = argument.startswith("-") and "=" not in argument and is_secret_name(argument)
    return tuple(shown)
