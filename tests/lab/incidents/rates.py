# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A web service that asks for the address of another one in each request: as fast as the host's name server is."""

from __future__ import annotations

import socket
from collections.abc import Callable

Headers = list[tuple[str, str]]

RATES = "rates.shop.example"


def application(_environ: dict[str, str], start_response: Callable[[str, Headers], object]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{fetch_rates()}\n".encode()]


def fetch_rates() -> str:
    try:
        return str(socket.getaddrinfo(RATES, 443)[0][4])
    except socket.gaierror as error:
        return f"no rates: {error}"
