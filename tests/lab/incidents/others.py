# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Others that a service asks: ``supplier`` takes connections and never answers; ``names`` and ``silence`` are name servers.

``python3 others.py supplier|names|silence``: at port 9000, and at port 53.
"""

from __future__ import annotations

import socket
import sys


def supplier() -> None:
    with socket.create_server(("127.0.0.1", 9000)) as server:
        asked = []
        while True:
            asked.append(server.accept())


def names(answering: bool) -> None:
    """Every name is this host's own, or no question is answered."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 53))
        while True:
            question, address = server.recvfrom(512)
            if answering:
                server.sendto(answer(question), address)


def answer(question: bytes) -> bytes:
    """One address of version 4, or no other (RFC 1035, 4.1.1 and 4.1.3)."""
    known = question[-4:-2] == b"\0\1"
    head = question[:2] + b"\x81\x80" + question[4:6] + bytes([0, known]) + bytes(4) + question[12:]
    return head + b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\x7f\0\0\1" if known else head


supplier() if sys.argv[1] == "supplier" else names(sys.argv[1] == "names")
