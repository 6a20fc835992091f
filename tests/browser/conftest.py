# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the browser tests share: one Chromium and one Firefox, and runs to show in them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run
from ansible_collections.pyspy.fleet.tests.lab.browser import Browser, browser
from ansible_collections.pyspy.fleet.tests.lab.firefox import Firefox, firefox
from ansible_collections.pyspy.fleet.tests.lab.made_run import made_run


@pytest.fixture(scope="session")
def one_chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture
def chromium(one_chromium: Browser) -> Iterator[Browser]:
    """Chromium; a page that tried to reach anything or had an error fails the test, whatever it looks at."""
    one_chromium.forget()
    yield one_chromium
    noticed = (*one_chromium.requests, *one_chromium.errors)
    one_chromium.forget()
    assert noticed == ()


@pytest.fixture(scope="session")
def one_firefox() -> Iterator[Firefox]:
    with firefox() as found:
        yield found


@pytest.fixture(scope="session")
def fleet_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three hosts with two workers each."""
    return made_run(tmp_path_factory.mktemp("fleet"), 3, 2)
