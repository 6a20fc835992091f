# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "outlook" of the controller wing (private to the collection): what a store says after a round.

Each service that the round saw is set beside what is usual for it, and the page with its time line is written. All of
that lies beside the store, made anew after every round.
"""

from __future__ import annotations

from dataclasses import dataclass

from ._errors import FleetError
from ._rounds import Round
from ._store._store import Store


@dataclass(frozen=True)
class Outlook:
    page: str

    def lines(self, width: int) -> list[str]:
        return []

    def verdict(self, fail_above: float | None) -> FleetError | None:
        return None

    def result(self) -> list[dict[str, object]]:
        return []


def look_back(store: Store, one: Round, usual_rounds: int) -> Outlook:
    return Outlook("")
