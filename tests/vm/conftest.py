# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests on virtual machines share. They are apart from the others because they take long."""

from __future__ import annotations

import os
import shutil

import pytest

#: Program → the Debian package that brings it.
PROGRAMS = {"qemu-img": "qemu-utils", "qemu-system-x86_64": "qemu-system-x86", "mke2fs": "e2fsprogs"}


def pytest_configure(config: pytest.Config) -> None:
    missing = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    if os.geteuid() != 0 or missing:
        pytest.exit(f"These tests need root and {', '.join(missing) or 'nothing else'}.", returncode=2)
