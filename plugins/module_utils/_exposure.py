# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "exposure" of the host wing (private to the collection): ptrace_scope around one recording, and its evidence."""

from __future__ import annotations

import time
from typing import List, Optional

from ._attach import CAP_SYS_PTRACE
from ._credentials import ourselves, ptrace_scope
from ._errors import HostError
from ._lease import Lease, acquire, release
from ._recording import Request

#: The lease ends this long before the restore deadline (seconds): its second net comes a second after its end, and
#: may take two more where a Python starts slowly. Later than the window can be open (``Request.close_at``).
_MARGIN = 4.0


class Exposure:
    """With attach_policy ``relax`` the scope is down between `begin` and `end`; else it is only looked at."""

    def __init__(self, identity: str, request: Request) -> None:
        self._identity = identity
        self._request = request
        self._before = ptrace_scope()
        self._lease: Optional[Lease] = None

    def begin(self) -> None:
        """Lower it where that is asked for and can be done; where it cannot, the verdict on each target says why.

        Also when it is low already: another run may hold it there, and leave before us.
        """
        us = ourselves()
        if self._request.relax and us.has(CAP_SYS_PTRACE) and not us.contained:
            seconds = self._request.restore_at() - _MARGIN - time.monotonic()
            self._lease = acquire(self._identity, seconds, self._request.reason, self._request.by)

    def end(self) -> List[str]:
        """Put it back; gives lines of evidence. A failure is one of them: the captures are worth keeping."""
        if self._lease is not None:
            try:
                return release(self._lease)
            except HostError as error:
                words = (error.reason, error.detail, error.remedy)
                return ["ptrace_scope: %s" % ". ".join(filter(None, words))]
        if self._before is None:
            return []
        return ["ptrace_scope: %s before, %s after; not touched by this recording" % (self._before, ptrace_scope())]
