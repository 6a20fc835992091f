# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check: the two wings share nothing, lean on nothing they must not, and no room leans on itself.

``plugins/module_utils`` may import the standard library and itself; ``plugins/plugin_utils`` also
ansible-core and Jinja2 (with the markupsafe that it brings). Neither imports the other, and within
a wing there are no circles.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import NamedTuple

PLUGINS = Path(__file__).parents[2] / "plugins"
WINGS: dict[str, set[str]] = {"module_utils": set(), "plugin_utils": {"ansible", "jinja2", "markupsafe"}}
COLLECTION = "ansible_collections.pyspy.fleet.plugins"

#: Which modules each module of a wing imports from that wing.
Graph = dict[str, set[str]]


class Import(NamedTuple):
    """One import: a whole dotted name, and the line it is in."""

    name: str
    line: int


def problems(plugins: Path) -> list[str]:
    """One line for each import that must not be, and for each circle."""
    found = []
    for wing, friends in sorted(WINGS.items()):
        home = f"{COLLECTION}.{wing}"
        graph: Graph = {}
        for path in sorted((plugins / wing).rglob("*.py")):
            relative = path.relative_to(plugins)
            inside = graph[".".join((COLLECTION, *relative.with_suffix("").parts))] = set()
            for name, line in _imports(path, relative):
                if name.startswith(home + "."):
                    inside.add(name)
                elif not _allowed(name, friends):
                    found.append(f"plugins/{relative}:{line}: imports {name}")
        found += [f"plugins/{wing}: imports in a circle: {circle}" for circle in _circles(graph)]
    return found


def _allowed(name: str, friends: set[str]) -> bool:
    package = name.partition(".")[0]
    return package in sys.stdlib_module_names or package in friends


def _imports(path: Path, relative: Path) -> list[Import]:
    """All imports of a file, relative ones resolved; ``from . import x`` counts as ``x``."""
    package = [*COLLECTION.split("."), *relative.parent.parts]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join((*above, *([node.module] if node.module else [])))
            names = [origin] if node.module else [f"{origin}.{alias.name}" for alias in node.names]
            found += [Import(name, node.lineno) for name in names]
    return found


def _circles(graph: Graph) -> list[str]:
    """Each circle once, as the chain of names that leads back to its beginning."""
    found: dict[frozenset[str], str] = {}

    def walk(name: str, chain: list[str]) -> None:
        if name in chain:
            circle = chain[chain.index(name) :]
            found.setdefault(frozenset(circle), " → ".join(part.rpartition(".")[2] for part in (*circle, name)))
            return
        if name not in done:
            for following in sorted(graph.get(name, ())):
                walk(following, [*chain, name])
            done.add(name)

    done: set[str] = set()
    for start in sorted(graph):
        walk(start, [])
    return list(found.values())


if __name__ == "__main__":
    lines = problems(PLUGINS)
    print("\n".join(lines) or "All rooms keep to themselves.")
    sys.exit(bool(lines))
