# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check: Galaxy would import the built collection, and would have nothing to remark on.

Usage: python -m tests.checks.galaxy ENVIRONMENT (a folder made by requirements/venv.sh with galaxy-importer in it).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from .copy_of_tree import CHECKOUT, refresh

BUILD = CHECKOUT / "build" / "galaxy"


def main(environment: Path) -> int:
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    surroundings = {
        **os.environ,
        "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
        "GALAXY_IMPORTER_CHECK_REQUIRED_TAGS": "true",
    }
    build = ("ansible-galaxy", "collection", "build", str(refresh("galaxy")), "--output-path", str(BUILD))
    done = _run(build, surroundings)
    if done.returncode:
        return done.returncode
    (tarball,) = BUILD.glob("*.tar.gz")
    done = _run((str(environment / "bin" / "python"), "-m", "galaxy_importer.main", tarball.name), surroundings)
    # The importer ends well with warnings too.
    return done.returncode or int(re.search(r"^(WARNING|ERROR)", done.stdout, re.MULTILINE) is not None)


def _run(command: tuple[str, ...], surroundings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        cwd=BUILD,
        env=surroundings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    sys.stdout.write(done.stdout)
    return done


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
