# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check: each role's ``defaults/main.yml`` and ``meta/argument_specs.yml`` say the same.

What has a default in the one has it, with the same value, in the other; null in ``defaults/main.yml``
means none, and stands there to name the variable only. Variables are named after
the role (``pyspy_…`` for any role of this collection); names with a leading underscore are internal.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).parents[2] / "roles"
PREFIX = "pyspy_"


def problems(roles: Path) -> list[str]:
    """One line for each thing that does not agree, in all roles below ``roles``."""
    return [f"{role.name}: {problem}" for role in sorted(roles.iterdir()) for problem in _role_problems(role)]


def _role_problems(role: Path) -> list[str]:
    specification = role / "meta" / "argument_specs.yml"
    if not specification.is_file():
        return ["meta/argument_specs.yml is missing"]
    defaults = _load(role / "defaults" / "main.yml")
    entry_points = _load(specification)["argument_specs"]
    found = []
    declared: set[str] = set()
    for name, entry_point in sorted(entry_points.items()):
        if not (role / "tasks" / f"{name}.yml").is_file():
            found.append(f"entry point {name} has no tasks/{name}.yml")
        options = entry_point.get("options", {})
        declared |= set(options)
        for option, details in sorted(options.items()):
            found += [f"{name}: {option} {text}" for text in _option_problems(option, details, defaults)]
    for variable in sorted(set(defaults) - declared):
        if not variable.startswith("_"):
            found.append(f"{variable} is in defaults/main.yml, but no entry point declares it")
    return found


def _option_problems(option: str, details: dict[str, Any], defaults: dict[str, Any]) -> list[str]:
    found = [] if option.startswith(PREFIX) else [f"does not begin with {PREFIX}"]
    declared, default = details.get("default"), defaults.get(option)
    if (type(declared), declared) != (type(default), default):
        found.append(f"is {_shown(default)} in defaults/main.yml and {_shown(declared)} in meta/argument_specs.yml")
    if details.get("required") and default is not None:
        found.append("is required and has a default")
    return found


def _shown(default: object) -> str:
    return "without a default" if default is None else repr(default)


def _load(path: Path) -> dict[str, Any]:
    return (yaml.safe_load(path.read_text()) if path.is_file() else None) or {}


if __name__ == "__main__":
    lines = problems(ROLES)
    print("\n".join(lines) or "All roles agree with themselves.")
    sys.exit(bool(lines))
