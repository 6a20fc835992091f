# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A web service whose workers die at their start: they ask a supplier for the price list, and give up."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable

Headers = list[tuple[str, str]]

SUPPLIER = ("127.0.0.1", 9000)
PATIENCE = 4


def application(_environ: dict[str, str], start_response: Callable[[str, Headers], object]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ready\n"]


def load_prices() -> bytes:
    with socket.create_connection(SUPPLIER, PATIENCE) as supplier:
        return supplier.recv(100)


def post_worker_init(_worker: object) -> None:
    """gunicorn calls this in each new worker: this file is its configuration, too."""
    try:
        load_prices()
    except OSError as error:
        sys.exit(f"no prices: {error}")
