# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The check of rooms sees imports that must not be, however they are written."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.tests.checks.rooms import problems


def plugins(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_rooms_that_keep_to_themselves(tmp_path: Path) -> None:
    files = {
        "module_utils/_errors.py": "import os\nimport os.path\nfrom typing import Dict\n",
        "module_utils/_plan.py": "from __future__ import annotations\nfrom . import _errors\n",
        "module_utils/_front.py": "from ._errors import X\nfrom ._plan import Y\n",
        "plugin_utils/_host.py": "from ansible.errors import AnsibleError\nimport jinja2\n",
        "plugin_utils/_render/_svg.py": "from .._host import X\nfrom ._colours import Y\n",
        "plugin_utils/_render/_colours.py": "from .. import _host\n",
    }
    assert problems(plugins(tmp_path, files)) == []


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("module_utils/_a.py", "import yaml", "plugins/module_utils/_a.py:1: imports yaml"),
        ("module_utils/_a.py", "def f():\n    import jinja2", "plugins/module_utils/_a.py:2: imports jinja2"),
        ("module_utils/_a.py", "from ansible.module_utils import basic", "imports ansible.module_utils"),
        (
            "module_utils/_a.py",
            "from ..plugin_utils._b import x",
            "imports ansible_collections.pyspy.fleet.plugins.plug",
        ),
        ("plugin_utils/_a.py", "from ..module_utils import _b", "ansible_collections.pyspy.fleet.plugins.module_utils"),
        (
            "plugin_utils/_a.py",
            "from ansible_collections.pyspy.fleet.plugins.module_utils._b import x",
            "ansible_collections.pyspy.fleet.plugins.module_utils",
        ),
        ("plugin_utils/_a.py", "import requests", "imports requests"),
    ],
)
def test_imports_that_must_not_be(tmp_path: Path, name: str, text: str, told: str) -> None:
    (line,) = problems(plugins(tmp_path, {name: text}))
    assert told in line


def test_circles(tmp_path: Path) -> None:
    files = {
        "module_utils/_a.py": "from ._b import x",
        "module_utils/_b.py": "from ._c import x",
        "module_utils/_c.py": "from . import _a",
        "plugin_utils/_d.py": "from . import _d",
    }
    assert problems(plugins(tmp_path, files)) == [
        "plugins/module_utils: imports in a circle: _a → _b → _c → _a",
        "plugins/plugin_utils: imports in a circle: _d → _d",
    ]
