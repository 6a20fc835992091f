# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "exposure" of the host wing (private to the collection): ptrace_scope around one window, and its evidence."""

from __future__ import annotations

import time
from typing import List, Optional, Tuple

from ._attach import CAP_SYS_PTRACE
from ._credentials import ourselves, ptrace_scope
from ._errors import HostError
from ._evidence import Scope
from ._lease import Lease, acquire, release

#: The lease ends this long before the restore deadline (seconds): its second net comes a second after its end, and
#: may take two more where a Python starts slowly. Later than the window can be open (``Request.close_at``).
_MARGIN = 4.0


class Exposure:
    """With attach_policy ``relax`` the scope is down between `begin` and `end`; else it is only looked at."""

    def __init__(self, identity: str, relax: bool, reason: str, by: str) -> None:
        self._identity = identity
        self._relax = relax
        self._reason, self._by = reason, by
        self._before = ptrace_scope()
        self._lease: Optional[Lease] = None

    def begin(self, seconds: float) -> None:
        """Lower it where that is asked for and can be done; where it cannot, the verdict on each target says why.

        It has to be back in ``seconds``. Also when it is low already: another run may hold it, and leave before us.
        """
        us = ourselves()
        if self._relax and us.has(CAP_SYS_PTRACE) and not us.contained:
            self._lease = acquire(self._identity, seconds - _MARGIN, self._reason, self._by)

    def end(self) -> Tuple[Scope, List[str]]:
        """Put it back; gives what was read, with remarks. A failure is one: the captures are worth keeping."""
        lease = self._lease
        if lease is None:
            return Scope(self._before, self._before, None, ptrace_scope()), []
        during, notes = ptrace_scope(), []
        try:
            notes = release(lease).notes
        except HostError as error:
            notes = [". ".join(filter(None, (error.reason, error.detail, error.remedy)))]
        after = ptrace_scope()
        lowered = lease.since if lease.mine is not None else None
        restored = time.time() if lowered is not None and after == lease.original else None
        return Scope(lease.before, lease.original, during, after, lowered, restored), notes
