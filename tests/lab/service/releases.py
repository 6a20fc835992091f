# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Other releases of the demonstration service, for ``Host.start_gunicorn(app=…)``."""

from __future__ import annotations

from pathlib import Path

_APP = Path(__file__).with_name("app.py").read_text(encoding="utf-8")
AS_FAST = _APP + "\n# Another release, as fast as the last.\n"
_NEW = """
def load_rates() -> None:
    rates = 0
    for day in range(40):
        rates = (rates * 31 + day) % 10007
"""
#: A third of the time goes into something new.
SLOWER = AS_FAST.replace("def add_tax(", f"{_NEW}\n\ndef add_tax(").replace(
    "total += add_tax", "load_rates(); total += add_tax"
)
