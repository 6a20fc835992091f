# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A web service with a report that takes quadratic time: ``GET /report`` keeps the worker that got it busy."""

from __future__ import annotations

from collections.abc import Callable

Headers = list[tuple[str, str]]


def application(environ: dict[str, str], start_response: Callable[[str, Headers], object]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] != "/report":
        return [b"ready\n"]
    return [b"%d\n" % len(build_report())]


def build_report() -> list[int]:
    orders = [number * 7919 % 1_000_003 for number in range(400_000)]
    return without_duplicates(orders)


def without_duplicates(orders: list[int]) -> list[int]:
    """A list where a set is meant: each order is compared with all before it."""
    found: list[int] = []
    for order in orders:
        if order not in found:
            found.append(order)
    return found
