# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "services" of the controller wing (private to the collection): which service a process is of, in which version.

The inventory's word counts (labels ``service`` and ``version``). Without it the image of the container says it, or its
name; else the unit of systemd, else the process' own name. A unit says nothing of what is in a container: it is often
that of the runtime. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ._wire import Container, Process

#: ``web@2.1``, ``web-2.1.4``, ``web@v3``: what looks like a version at the end of a unit's name.
_VERSIONED = re.compile(r"(?P<name>.*[^@-])[@-](?P<version>v\d+|v?\d+(\.\d+)+[\w.+~-]*)")
#: The instance of a template: ``web@8001`` is one of several that run the same.
_INSTANCE = re.compile(r"(?P<name>[^@]+)@.*")
_INTERPRETER = re.compile(r"python[\d.]*(?: -m)? (?=\S)")
#: Counters that tell workers of one pool apart: ``worker-3``, ``ForkPoolWorker 12``.
_COUNTER = re.compile(r"[-_ :#]*\d+\Z")


def service_of(process: Process, labels: Mapping[str, str]) -> str:
    """Never ""."""
    container = process.container
    return (
        labels.get("service")
        or (_image(container)[0] or container.name if container else "")
        or (_unit(process.unit)[0] if process.unit else "")
        or _COUNTER.sub("", _script(process.name))
        or process.name
        or "python"
    )


def version_of(process: Process, labels: Mapping[str, str]) -> str:
    """ "" where nothing tells it."""
    return (
        labels.get("version")
        or (_image(process.container)[1] if process.container else "")
        or (_unit(process.unit)[1] if process.unit and not process.container else "")
    )


def _script(name: str) -> str:
    """``python3 -m shop`` and ``python3 /srv/shop/main.py`` by what is run."""
    run = _INTERPRETER.match(name)
    return name[run.end() :].rpartition("/")[2] if run else name


def _unit(unit: str) -> tuple[str, str]:
    name = unit.rpartition("/")[2].removesuffix(".service")
    versioned = _VERSIONED.fullmatch(name)
    if versioned:
        return versioned["name"], versioned["version"]
    instance = _INSTANCE.fullmatch(name)
    return (instance["name"] if instance else name), ""


def _image(container: Container) -> tuple[str, str]:
    """Repository without its registry, and tag; of an image by digest its first twelve digits."""
    repository, _at, digest = container.image.partition("@sha256:")
    first, slash, rest = repository.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        repository = rest
    repository, _colon, tag = repository.partition(":")
    if not repository or repository == "sha256":
        return "", ""
    return repository, "" if tag == "latest" and not digest else tag or digest[:12]
