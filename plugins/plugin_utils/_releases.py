# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "releases" of the controller wing (private to the collection): the pinned py-spy releases.

Which releases there are, with their checksums, and for which machines; getting
the binary of one of them is the room "fetch".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ._errors import FleetError

#: Below this version a py-spy that is killed in mid-sample leaves its target stopped.
FLOOR = (0, 4, 0)


@dataclass(frozen=True)
class Build:
    """py-spy for one architecture: sha256 of the wheel and of the binary inside, and the binary's size in bytes."""

    wheel: str
    binary: str
    size: int


@dataclass(frozen=True)
class Release:
    """One version with its builds by architecture; the newest one is the default everywhere."""

    version: str
    builds: Mapping[str, Build]

    def checksums(self) -> dict[str, str]:
        """The binaries' sha256 by architecture, as the host program wants them."""
        return {architecture: build.binary for architecture, build in self.builds.items()}


RELEASES: Mapping[str, Release] = {
    release.version: release
    for release in (
        Release(
            "0.4.3",
            {
                "x86_64": Build(
                    wheel="8a4277225f470d394a85cca0cdd944bef87f0097b6f20150a6dd3ac2e92806b8",
                    binary="a41205d4925beafd108e1ace85e66c0a1a7adbfcbebcd4441f07848b608886c0",
                    size=8094072,
                ),
                "aarch64": Build(
                    wheel="bbcec46930d464b3bfc142d6d02ade4dd8ad5627823263b3eff0280e80c7c132",
                    binary="ad6e22882e8dcaced4f0a76fef10d372645cc7b94c48a289ebe1bedb754774ed",
                    size=7488896,
                ),
                "armv7l": Build(
                    wheel="885d61020f763792e99cb3ad0788ae424b73cef45d5420ec9683f30e270b5d75",
                    binary="6df2771577c6c0fe5399ff07be3560b84b95b465c612abffc2da304e260b0626",
                    size=7042136,
                ),
                "i686": Build(
                    wheel="a21b6958bf1200ff225c4f360834a77f7e12556ac11dcd863e26c9345b468783",
                    binary="f56cfc20cbb6f147a967b323ab9c6b334327fca4a984fd23a85168d1d29a35ac",
                    size=5660384,
                ),
            },
        ),
        Release(
            "0.4.2",
            {
                "x86_64": Build(
                    wheel="aeb0323409199c785f730645e9f4bb7a7b9ca2c481f2c331a55642b5d13fa52f",
                    binary="9b4d1f39b2a47ae44f4c6a46f615dcc0287d7755beba5065f32391951e07d594",
                    size=8079336,
                ),
                "aarch64": Build(
                    wheel="142887e984a4e541071c99a4401ff8c3770f255d329dbd0f64e8c1dd51882cce",
                    binary="d33e743ff7962b4aeefaa34ee87ae1b35e047967f983d660c5335602cb44fba5",
                    size=7537232,
                ),
                "armv7l": Build(
                    wheel="7f1c6d9b0e2379ead5bf792df43f4cf36153aa79e6dda4fb8ac7740cf8017110",
                    binary="8859acf4e2ccae7e0b53aa971173da77ab9a9e5a0bb093740f2581a2843da633",
                    size=7088424,
                ),
                "i686": Build(
                    wheel="24720573f95230653b457671a1dcc3c5a381fcf4e92677761e328a430ad251b2",
                    binary="74d7f3ed1c006e223efd92872dfa3e7c3709d8ffd8379672576e5188251478ac",
                    size=5573264,
                ),
            },
        ),
        Release(
            "0.4.1",
            {
                "x86_64": Build(
                    wheel="6a80ec05eb8a6883863a367c6a4d4f2d57de68466f7956b6367d4edd5c61bb29",
                    binary="e7c2de2dc54449ec88c086f1859555b4e34e63ccdcf3f8804496f9306cd44de6",
                    size=7842312,
                ),
                "aarch64": Build(
                    wheel="ee776b9d512a011d1ad3907ed53ae32ce2f3d9ff3e1782236554e22103b5c084",
                    binary="972918b5d6af92649ec086ffdd89cefa0d725fd14844434c766f58494a1c4f8e",
                    size=5711312,
                ),
                "armv7l": Build(
                    wheel="532d3525538254d1859b49de1fbe9744df6b8865657c9f0e444bf36ce3f19226",
                    binary="f4bf6cd74cefe118a519f3de3e8f427188e1e91237c9047b0bcba280d10e6011",
                    size=6890092,
                ),
                "i686": Build(
                    wheel="4972c21890b6814017e39ac233c22572c4a61fd874524ebc5ccab0f2237aee0a",
                    binary="2ef0942aa8471b9377763d55bc1f381701b30cc5505a816b285255d452555d16",
                    size=5397284,
                ),
            },
        ),
        Release(
            "0.4.0",
            {
                "x86_64": Build(
                    wheel="8bf2f3702cef367a489faa45177b41a6c31b2a3e5bd78c978d44e29340152f5a",
                    binary="acf339f9688b995419d4ec7994cfcc800f1917ca648e89faf02f8758a7a5ef3a",
                    size=7658552,
                ),
                "aarch64": Build(
                    wheel="eee3d0bde85ca5cf4f01f012d461180ca76c24835a96f7b5c4ded64eb6a008ab",
                    binary="400c7b547e315ce5d888e3dfa65eb5acf920100522143e28d2283ead5e40db6d",
                    size=5525624,
                ),
                "armv7l": Build(
                    wheel="c5f06ffce4c9c98b7fc9f5e67e5e7db591173f1351837633f3f23d9378b1d18a",
                    binary="db0d564932fd93526f42469d3ded2c27ab0c5f17470d1bedd8d6ab6061e8b95c",
                    size=5251492,
                ),
                "i686": Build(
                    wheel="87573e64dbfdfc89ba2e0f5e2f525aa84e0299c7eb6454b47ea335fde583a7a0",
                    binary="340db1c2555d4dd75c51a1cf6d921d74ac811106e3324f0711361120cde0e43b",
                    size=5335940,
                ),
            },
        ),
    )
}

#: The default version.
NEWEST = next(iter(RELEASES))

#: What ``uname -m`` says, and the architecture whose py-spy runs there. armv8l is a 32-bit system on a 64-bit core.
_MACHINES = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "aarch64": "aarch64",
    "arm64": "aarch64",
    "armv7l": "armv7l",
    "armv7": "armv7l",
    "armv8l": "armv7l",
    "armhf": "armv7l",
    "i386": "i686",
    "i486": "i686",
    "i586": "i686",
    "i686": "i686",
}


def known(version: str = NEWEST) -> Release:
    """The pinned release of that version; FleetError for any other, saying why it is refused."""
    if version in RELEASES:
        return RELEASES[version]
    choice = "use one of the pinned releases: " + ", ".join(RELEASES)
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9}){1,3}", version) and tuple(map(int, version.split("."))) < FLOOR:
        raise FleetError(
            f"py-spy {version} is refused",
            "killed in mid-sample, versions below 0.4.0 leave their target stopped",
            choice,
        )
    raise FleetError(f"There is no pinned py-spy {version[:40]!r}", "its checksums are not known here", choice)


def architecture(machine: str) -> str:
    """The table's name for what ``uname -m`` says on a host."""
    try:
        return _MACHINES[machine.strip().lower()]
    except KeyError:
        raise FleetError(
            f"There is no py-spy for the architecture {machine[:40]!r}",
            "pinned are builds for " + ", ".join(RELEASES[NEWEST].builds),
            "build py-spy there and name it with pyspy_install_executable, or leave the host out",
        ) from None
