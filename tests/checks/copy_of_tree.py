# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A copy of the checkout's files where Ansible's own tools want them: below ``ansible_collections/pyspy/fleet``.

They do not follow the link in ``.collections``, and walk into whatever else lies in a checkout. Each check has
a copy of its own, kept between runs, because ansible-test keeps its environments in it.
"""

from __future__ import annotations

import filecmp
import shutil
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
COPIES = CHECKOUT / ".cache" / "copies"
#: Of the tools, not of the collection.
KEPT = (".git", "tests/output")


def refresh(check: str) -> Path:
    """Make the check's copy equal to what git would commit from the checkout, new files included."""
    copy = COPIES / check / "ansible_collections" / "pyspy" / "fleet"
    wanted = {name for name in _files(CHECKOUT) if (CHECKOUT / name).is_file()}
    if not (copy / ".git").is_dir():
        copy.mkdir(parents=True, exist_ok=True)
        # A repository of its own, or the tools would ask the one around it, which ignores the copy.
        subprocess.run(("git", "init", "--quiet", str(copy)), check=True)
        (copy / ".git" / "info" / "exclude").write_text("tests/output\n")
    for name in _files(copy):
        if name not in wanted:
            (copy / name).unlink()
    for name in wanted:
        _bring(CHECKOUT / name, copy / name)
    _remove_empty_folders(copy)
    return copy


def _bring(source: Path, target: Path) -> None:
    same = target.is_file() and filecmp.cmp(source, target, shallow=False)
    if not same or source.stat().st_mode != target.stat().st_mode:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _files(root: Path) -> list[str]:
    listing = subprocess.run(
        ("git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"),
        check=True,
        capture_output=True,
        text=True,
    )
    return [name for name in listing.stdout.split("\0") if name]


def _remove_empty_folders(copy: Path) -> None:
    for folder in sorted((path for path in copy.glob("**/*/") if not _kept(path, copy)), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def _kept(path: Path, copy: Path) -> bool:
    return str(path.relative_to(copy)).startswith(KEPT)
