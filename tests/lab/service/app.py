# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small web service with one job that burns CPU in functions with telling names.

``GET /checkout?seconds=N`` keeps the worker that got it busy for N seconds
(checkout, price_basket, apply_discounts, add_tax), with ``&rest=S`` resting for S
seconds after each basket. Every other address is answered at once. Only the
standard library, so that it runs on any host.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs

Headers = list[tuple[str, str]]

PR_SET_PTRACER = 0x59616D61
PR_SET_PTRACER_ANY = ctypes.c_ulong(-1)


def permit_tracing() -> None:
    """Let any process of this user attach to this one, where Yama (ptrace_scope 1) would let parents only.

    This is for the demonstration, which has to work for an ordinary user
    without sudo. A real service has no reason to do it: pyspy.fleet attaches
    to it with a capability instead.
    """
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0)


def application(environ: dict[str, str], start_response: Callable[[str, Headers], object]) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] != "/checkout":
        return iter((b"ready\n",))
    query = parse_qs(environ["QUERY_STRING"])
    seconds, rest = (float(query.get(name, ["0"])[0]) for name in ("seconds", "rest"))
    return checkout(time.monotonic() + seconds, rest)


def checkout(deadline: float, rest: float) -> Iterator[bytes]:
    basket = list(range(1, 2001))
    while True:
        yield b"%d\n" % price_basket(basket)
        if time.monotonic() >= deadline:
            return
        time.sleep(rest)


def price_basket(basket: list[int]) -> int:
    total = 0
    for price in basket:
        total += add_tax(apply_discounts(price))
    return total


def apply_discounts(price: int) -> int:
    for discount in range(60):
        price = (price * 7919 + discount) % 10007
    return price


def add_tax(price: int) -> int:
    for rate in range(10):
        price = (price * 19 + rate) % 10007
    return price


# gunicorn imports this in each worker, after the fork: the permission belongs to one process and is not inherited.
if os.environ.get("DEMO_PERMIT_TRACING") == "1":
    permit_tracing()
