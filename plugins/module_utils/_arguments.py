# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "arguments" of the host wing (private to the collection): the options that several faces share, as data."""

from __future__ import annotations

from typing import Dict

ArgumentSpec = Dict[str, Dict[str, object]]

#: Which py-spy, and where. ``wheel_dir`` is on the controller; ``install_dir`` and ``executable`` are paths on
#: the host, so they are texts here: the type ``path`` would expand ``~`` and variables with the controller's.
INSTALL_ARGUMENTS: ArgumentSpec = {
    "version": {"type": "str", "default": "0.4.3"},
    "install_dir": {"type": "str"},
    "wheel_dir": {"type": "path"},
    "executable": {"type": "str"},
}

#: Which processes are meant; ``_selectors.Selectors`` takes them as they are. ``max_targets`` has no default: left out,
#: it depends on what is done with them.
SELECTOR_ARGUMENTS: ArgumentSpec = {
    "pids": {"type": "list", "elements": "int"},
    "pattern": {"type": "str"},
    "user": {"type": "str"},
    "unit": {"type": "str"},
    "port": {"type": "int"},
    "container": {"type": "str"},
    "container_pids": {"type": "list", "elements": "int"},
    "kube_pod": {"type": "str"},
    "kube_namespace": {"type": "str"},
    "children_of": {"type": "int"},
    "process_role": {"type": "str", "default": "worker", "choices": ["worker", "master", "any"]},
    "min_cpu": {"type": "float", "default": 0.0},
    "exclude": {"type": "str"},
    "max_targets": {"type": "int"},
}

#: How the targets are sampled. ``nonblocking`` has no default: left out, the plan decides.
SAMPLING_ARGUMENTS: ArgumentSpec = {
    "duration": {"type": "int", "default": 30},
    "rate": {"type": "int", "default": 100},
    "native": {"type": "bool", "default": False},
    "gil": {"type": "bool", "default": False},
    "idle": {"type": "bool", "default": False},
    "subprocesses": {"type": "bool", "default": False},
    "nonblocking": {"type": "bool"},
    "function": {"type": "bool", "default": False},
    "enter_namespaces": {"type": "bool", "default": False},
}

#: On what terms py-spy attaches.
ATTACH_ARGUMENTS: ArgumentSpec = {
    "attach_policy": {"type": "str", "default": "auto", "choices": ["auto", "relax"]},
}

#: When a host or a process is left alone; ``_guardrails.Limits`` takes them as they are.
GUARDRAIL_ARGUMENTS: ArgumentSpec = {
    "max_load": {"type": "float", "default": 10.0},
    "max_memory_pressure": {"type": "float", "default": 40.0},
    "max_io_pressure": {"type": "float", "default": 80.0},
    "min_free_memory": {"type": "float", "default": 128.0},
    "min_free_space": {"type": "float", "default": 32.0},
    "allow_traced": {"type": "bool", "default": False},
    "allow_stopped": {"type": "bool", "default": False},
}

#: Where results go on the controller.
RUN_ARGUMENTS: ArgumentSpec = {
    "output_dir": {"type": "path", "default": "pyspy-runs"},
    "job": {"type": "str", "default": "profile"},
}

#: The same for dumps.
DUMP_RUN_ARGUMENTS: ArgumentSpec = {
    "output_dir": {"type": "path", "default": "pyspy-runs"},
    "job": {"type": "str", "default": "dump"},
}

#: What ``record`` and ``dump`` have in common beside the selectors; ``patience`` is the controller's.
VISIT_ARGUMENTS: ArgumentSpec = {
    "reason": {"type": "str", "default": ""},
    "enabled": {"type": "bool", "default": True},
    "patience": {"type": "int", "default": 0},
    "too_late": {"type": "bool", "default": False},
}

#: What only ``record`` has.
RECORD_ARGUMENTS: ArgumentSpec = {
    "wait": {"type": "bool", "default": True},
    "keep": {"type": "int", "default": 900},
    "labels": {"type": "dict", "default": {}},
}

#: How stacks are dumped; the host's program takes them as they are. ``nonblocking`` as in SAMPLING_ARGUMENTS.
DUMP_ARGUMENTS: ArgumentSpec = {
    "count": {"type": "int", "default": 3},
    "interval": {"type": "float", "default": 1.0},
    "native": {"type": "bool", "default": False},
    "nonblocking": {"type": "bool"},
    "locals": {"type": "bool", "default": False},
    "command_lines": {"type": "bool", "default": False},
    "enter_namespaces": {"type": "bool", "default": False},
    "deadline": {"type": "int", "default": 60},
}

COLLECT_ARGUMENTS: ArgumentSpec = {
    "recording": {"type": "str", "default": ""},
    "run": {"type": "str", "default": ""},
    "not_before": {"type": "float", "default": 0.0},
    "patience": {"type": "int", "default": 0},
}

CLEANUP_ARGUMENTS: ArgumentSpec = {
    "force": {"type": "bool", "default": False},
}

#: ``holder`` has no default: left out, it is made up and returned.
LEASE_ARGUMENTS: ArgumentSpec = {
    "state": {"type": "str", "choices": ["held", "released"], "default": "held"},
    "seconds": {"type": "int", "default": 60},
    "scope": {"type": "int", "choices": [0, 1], "default": 0},
    "holder": {"type": "str"},
    "reason": {"type": "str", "default": ""},
}
