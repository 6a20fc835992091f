# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._services import service_of, version_of
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Container, Process


def process(name: str = "gunicorn", unit: str | None = None, image: str | None = None) -> Process:
    container = None
    if image is not None:
        fields = {"runtime": "docker", "id": "ab12", "name": "api-7", "image": image}
        container = Container.from_wire({**fields, "pod": "", "namespace": "", "claim": ""})
    return Process(7, 1, "web", name, "worker", "3.11", 1.0, "hot", container, 3, unit)


@pytest.mark.parametrize(
    ("one", "service", "version"),
    [
        (process(unit="shop.service"), "shop", ""),
        (process(unit="shop@8001.service"), "shop", ""),
        (process(unit="shop@2.14.1.service"), "shop", "2.14.1"),
        (process(unit="shop-v3.service"), "shop", "v3"),
        (process(unit="shop-2.service"), "shop-2", ""),
        (process(unit="user@1000.service/shop.service"), "shop", ""),
        (process(image="shop/api:2.1"), "shop/api", "2.1"),
        (process(image="reg.example:5000/shop/api:2.1"), "shop/api", "2.1"),
        (process(image="localhost/api:latest"), "api", ""),
        (process(image="shop/api@sha256:" + "ab" * 32), "shop/api", "abababababab"),
        (process(image="shop/api:2.1@sha256:" + "ab" * 32), "shop/api", "2.1"),
        (process(image="sha256:" + "ab" * 32), "api-7", ""),
        (process(image=""), "api-7", ""),
        (process(image="", unit="systemd-nspawn@api-7.service"), "api-7", ""),
        (process(image="shop/api:2.1", unit="containerd.service"), "shop/api", "2.1"),
        (process("gunicorn: worker [shop]"), "gunicorn: worker [shop]", ""),
        (process("python3 -m gunicorn"), "gunicorn", ""),
        (process("python3.11 /srv/shop/main.py"), "main.py", ""),
        (process("python3"), "python", ""),
        (process("ForkPoolWorker-12"), "ForkPoolWorker", ""),
        (process("12"), "12", ""),
        (process(""), "python", ""),
    ],
)
def test_what_it_is_and_in_which_version(one: Process, service: str, version: str) -> None:
    assert (service_of(one, {}), version_of(one, {})) == (service, version)
    given = {"service": "till", "version": "9"}
    assert (service_of(one, given), version_of(one, given)) == ("till", "9")
