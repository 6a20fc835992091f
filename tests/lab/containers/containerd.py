# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "containerd" of the lab (private to the collection): a containerd of the tests' own, and pods as on a node.

There is no Kubernetes. Its CRI plugin gives containerd's own namespace ``k8s.io`` containers with annotations
(containerd's ``pkg/cri/annotations``) and labels; here containerd's own client does.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from ..waiting import await_condition
from .container import Container, Runtime, Truth
from .skeleton import IMAGE, SHARED, archive

PLAIN, KUBERNETES = "default", "k8s.io"
PAUSE = "images.example/pause:3.6"
#: State and sockets where nobody else's are; the plugin that talks to a kubelet is not wanted.
SETTINGS = """
version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{directory}/containerd.sock"
"""


class Containerd(Runtime):
    name = "containerd"
    cgroups = (PLAIN, "kubepods")

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "CONTAINERD_ADDRESS": f"{self.directory}/containerd.sock"}

    def set_up(self) -> None:
        settings = self.directory / "containerd.toml"
        settings.write_text(SETTINGS.format(directory=self.directory))
        self.start_daemon(("containerd", "--config", str(settings)), ("ctr", "version"))
        self.load()

    def load(self) -> None:
        self._pods: dict[tuple[str, str], Pod] = {}
        self.hands.write(self.directory / "image.tar", archive())
        for namespace in (PLAIN, KUBERNETES):
            self.client(namespace, "images", "import", f"{self.directory}/image.tar")

    def client(self, namespace: str, *words: str) -> str:
        """What the client prints."""
        return self.hands.run("ctr", "--namespace", namespace, *words)

    def start(self, name: str, argv: Sequence[str], *, options: Sequence[str] = ()) -> ContainerdContainer:
        return self.run(PLAIN, name, argv, IMAGE, options)

    def start_pod(
        self,
        namespace: str,
        pod: str,
        container: str,
        argv: Sequence[str],
        image: str = IMAGE,
        *,
        options: Sequence[str] = (),
    ) -> ContainerdContainer:
        """A container in a pod, which is made with the first one in it and ends with this runtime."""
        if (namespace, pod) not in self._pods:
            self._pods[namespace, pod] = Pod(self, namespace, pod)
        return self._pods[namespace, pod].start(container, argv, image, options)

    def run(
        self, namespace: str, name: str, argv: Sequence[str], image: str, options: Sequence[str]
    ) -> ContainerdContainer:
        mounts = [f"--mount=type=bind,src={path},dst={path},options=rbind:ro" for path in self.programs]
        mounts.append(f"--mount=type=bind,src={self.shared},dst={SHARED},options=rbind:rw")
        if image != IMAGE:
            self.client(namespace, "images", "tag", "--force", IMAGE, image)
        self.client(namespace, "run", "--detach", "--null-io", *mounts, *options, image, name, *argv)
        return ContainerdContainer(self, namespace, name)


class Pod:
    """What the kubelet and the CRI plugin would have made of a pod.

    A container that only waits holds its namespaces; all its containers hang from that one's shim.
    """

    def __init__(self, containerd: Containerd, namespace: str, name: str) -> None:
        self._containerd = containerd
        self._namespace = namespace
        self._name = name
        self._uid = str(uuid.uuid4())
        self._sandbox = secrets.token_hex(32)
        self._run(self._sandbox, "sandbox", ("sleep", "infinity"), PAUSE)

    def start(self, container: str, argv: Sequence[str], image: str, options: Sequence[str]) -> ContainerdContainer:
        annotations = {"container-name": container, "image-name": image}
        labels = {"container.name": container}
        return self._run(secrets.token_hex(32), "container", argv, image, annotations, labels, options)

    def _run(
        self,
        number: str,
        kind: str,
        argv: Sequence[str],
        image: str,
        annotations: Mapping[str, str] = MappingProxyType({}),
        labels: Mapping[str, str] = MappingProxyType({}),
        options: Sequence[str] = (),
    ) -> ContainerdContainer:
        told = {"sandbox-id": self._sandbox, "sandbox-namespace": self._namespace, "sandbox-name": self._name}
        told |= {"sandbox-uid": self._uid, "container-type": kind, **annotations}
        words = [f"--annotation=io.kubernetes.cri.{key}={value}" for key, value in told.items()]
        # As the kubelet calls it where it manages cgroups itself.
        words += [f"--cgroup=/kubepods/burstable/pod{self._uid}/{number}"]
        container = self._containerd.run(KUBERNETES, number, argv, image, (*words, *options))
        kept = {"pod.namespace": self._namespace, "pod.name": self._name, "pod.uid": self._uid, **labels}
        # Not with --label: this client would write them to the container's annotations too, as the plugin does not.
        words = [f"io.kubernetes.{key}={value}" for key, value in kept.items()]
        self._containerd.client(KUBERNETES, "containers", "label", number, f"io.cri-containerd.kind={kind}", *words)
        return container


class ContainerdContainer(Container):
    def __init__(self, containerd: Containerd, namespace: str, number: str) -> None:
        super().__init__(containerd, number)
        self._containerd = containerd
        self._namespace = namespace

    def _client(self, *words: str) -> str:
        return self._containerd.client(self._namespace, *words)

    def truth(self) -> Truth:
        info = json.loads(self._client("containers", "info", self.name))
        name = info["Labels"].get("io.kubernetes.container.name", info["ID"])
        pids = self._containerd.seen_inside(self._task()[0], self.members())
        return Truth("containerd", info["ID"], name, info["Image"], pids)

    def _task(self) -> tuple[int, str]:
        """PID of the first process, and what it does."""
        rows = [row.split() for row in self._client("tasks", "list").splitlines()[1:]]
        return next((int(pid), state) for name, pid, state in rows if name == self.name)

    def members(self) -> list[int]:
        return [int(row.split()[0]) for row in self._client("tasks", "ps", self.name).splitlines()[1:]]

    def end(self) -> None:
        self._client("tasks", "rm", "--force", self.name)
        self._client("containers", "rm", self.name)

    def restart(self) -> None:
        self._client("tasks", "kill", "--signal=SIGKILL", self.name)
        await_condition(f"the end of {self.name}", lambda: self._task()[1] == "STOPPED")
        self._client("tasks", "rm", self.name)
        self._client("tasks", "start", "--detach", "--null-io", self.name)

    def execute(self, argv: Sequence[str]) -> None:
        name = secrets.token_hex(4)
        own = (f"--exec-id={name}", f"--fifo-dir={self._containerd.directory}")
        self._client("tasks", "exec", "--detach", *own, self.name, *argv)
