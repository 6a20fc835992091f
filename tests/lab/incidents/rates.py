# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A web service that asks another one in each request; ``RATES_PORT`` says where that is, on each host for itself."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

Headers = list[tuple[str, str]]

RATES = ("127.0.0.1", int(os.environ["RATES_PORT"]))
PATIENCE = 60
LAST_KNOWN = b"1.07"


def application(_environ: dict[str, str], start_response: Callable[[str, Headers], object]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [convert(100)]


def convert(price: int) -> bytes:
    return b"%.2f\n" % (price * float(fetch_rate()))


def fetch_rate() -> bytes:
    try:
        with socket.create_connection(RATES, PATIENCE) as server:
            return server.recv(100)
    except TimeoutError:
        return LAST_KNOWN
