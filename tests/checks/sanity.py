# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check: ``ansible-test sanity`` finds nothing, without ignore files, with the ansible-core of a given environment.

Usage: python -m tests.checks.sanity ENVIRONMENT (a folder made by requirements/venv.sh).
"""

from __future__ import annotations

import os
import subprocess
import sys
from ast import literal_eval
from configparser import ConfigParser
from pathlib import Path

from .copy_of_tree import CHECKOUT, refresh

HOME = CHECKOUT / ".cache" / "ansible-test"

#: What ansible-test would fetch from its project's own server: a script that installs pip into an
#: environment. The wheel that every Python carries for ensurepip does the same without that server.
GET_PIP = """\
import ensurepip, glob, os, sys
bundled = os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")
sys.path[:0] = [wheel for folder in (bundled, "/usr/share/python-wheels") for wheel in glob.glob(folder + "/pip-*.whl")]
from pip._internal.cli.main import main
sys.exit(main(["install"] + [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]))
"""

WANTED_PIP = """\
from types import SimpleNamespace
from ansible_test._internal.python_requirements import get_venv_packages
print(get_venv_packages(SimpleNamespace(version="3.11"))["pip"])
"""


def main(environment: Path) -> int:
    copy = refresh(f"sanity-{environment.name.lstrip('.')}")
    _place_get_pip(environment)
    _carry_pip_settings(environment)
    return subprocess.run(
        (environment / "bin" / "ansible-test", "sanity", "--venv", "--color", "no", "--truncate", "0"),
        cwd=copy,
        env=_surroundings(environment),
        stdin=subprocess.DEVNULL,
        check=False,
    ).returncode


def _place_get_pip(environment: Path) -> None:
    version = subprocess.run(
        (environment / "bin" / "python", "-c", WANTED_PIP), check=True, capture_output=True, text=True
    ).stdout.strip()
    script = HOME / ".ansible" / "test" / "cache" / f"get_pip_{version.replace('.', '_')}.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(GET_PIP)


def _carry_pip_settings(environment: Path) -> None:
    """ansible-test hands neither the user's home nor PIP_* variables on to pip: put the settings where it looks."""
    listing = subprocess.run(
        (environment / "bin" / "python", "-m", "pip", "config", "list"), check=True, capture_output=True, text=True
    ).stdout
    settings = ConfigParser(interpolation=None)
    # What is set by the environment wins, so it is read last.
    for line in sorted(listing.splitlines(), key=lambda line: line.startswith(":env:")):
        name, value = line.split("=", 1)
        section, key = name.rsplit(".", 1)
        settings.read_dict({section.replace(":env:", "global"): {key: literal_eval(value)}})
    target = HOME / ".config" / "pip" / "pip.conf"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch(mode=0o600)
    with target.open("w") as file:
        settings.write(file)


def _surroundings(environment: Path) -> dict[str, str]:
    """A home of its own, and real interpreters instead of pyenv's shims on PATH."""
    home = Path.home()
    path = [folder for folder in os.environ["PATH"].split(":") if "shims" not in folder]
    path += [str(folder) for folder in sorted(home.glob(".pyenv/versions/3.*/bin"))]
    return {
        **os.environ,
        "HOME": str(HOME),
        "PATH": ":".join((str(environment / "bin"), *path)),
    }


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
