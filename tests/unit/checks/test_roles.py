# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The check of roles sees each way in which a role can contradict itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.tests.checks.roles import problems

AGREEING = """\
argument_specs:
  main:
    options:
      pyspy_rate: {type: int, default: 100}
      pyspy_pattern: {type: str}
      pyspy_gil: {type: bool}
  dump:
    options:
      pyspy_rate: {type: int, default: 100}
"""


def role(folder: Path, specification: str, defaults: str) -> Path:
    for name in ("meta", "defaults", "tasks"):
        (folder / "throwaway" / name).mkdir(parents=True)
    (folder / "throwaway" / "meta" / "argument_specs.yml").write_text(specification)
    (folder / "throwaway" / "defaults" / "main.yml").write_text(defaults)
    for name in ("main", "dump"):
        (folder / "throwaway" / "tasks" / f"{name}.yml").touch()
    return folder


def test_a_role_that_agrees(tmp_path: Path) -> None:
    assert problems(role(tmp_path, AGREEING, "pyspy_rate: 100\npyspy_gil: null\n_internal: 1\n")) == []


@pytest.mark.parametrize(
    ("specification", "defaults", "told"),
    [
        (AGREEING, "pyspy_rate: 99", ["dump: pyspy_rate is 99 in", "main: pyspy_rate is 99 in"]),
        (AGREEING, "pyspy_rate: '100'", ["dump: pyspy_rate is '100'", "main: pyspy_rate is '100'"]),
        (AGREEING, "", ["dump: pyspy_rate is without a default in", "main: pyspy_rate is without a default in"]),
        (AGREEING, "{pyspy_rate: 100, pyspy_gil: false}", ["main: pyspy_gil is False in"]),
        (AGREEING, "{pyspy_rate: 100, pyspy_more: 1}", ["pyspy_more is in defaults/main.yml, but"]),
        (AGREEING.replace("_pattern", "_rota").replace("pyspy_rota", "rota"), "pyspy_rate: 100", ["main: rota does"]),
        (AGREEING.replace("  dump:", "  top:"), "pyspy_rate: 100", ["entry point top has no tasks/top.yml"]),
        (
            AGREEING.replace("{type: str}", "{type: str, default: x, required: true}"),
            "{pyspy_rate: 100, pyspy_pattern: x}",
            ["main: pyspy_pattern is required and has a default"],
        ),
    ],
)
def test_a_role_that_does_not(tmp_path: Path, specification: str, defaults: str, told: list[str]) -> None:
    found = problems(role(tmp_path, specification, defaults))
    assert len(found) == len(told)
    assert all(line.startswith(f"throwaway: {text}") for line, text in zip(found, told, strict=True)), found


def test_a_role_without_a_specification(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    assert problems(tmp_path) == ["bare: meta/argument_specs.yml is missing"]
