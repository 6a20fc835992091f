# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Others that a service asks, each on its port: ``python3 others.py supplier|rates`` (9000, 9001).

The supplier takes connections and never answers; rates are told at once.
"""

from __future__ import annotations

import socket
import sys


def supplier() -> None:
    asked = []
    with socket.create_server(("127.0.0.1", 9000)) as server:
        while True:
            asked.append(server.accept())


def rates() -> None:
    with socket.create_server(("127.0.0.1", 9001)) as server:
        while True:
            asked, _address = server.accept()
            with asked:
                asked.sendall(b"1.08")


{"supplier": supplier, "rates": rates}[sys.argv[1]]()
