"""One machine in the place of a cluster: what a pod's command has to say otherwise to run here beside others.

In: a pod's manifest and what stands for its volumes and services. Out: texts with paths, names and ports replaced.
Only that is changed: the rest is what the operator wrote.
"""

import contextlib
import os
import re
import shlex
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from platform.checkout import ROOT
from tests.kube.standin.container import ManifestError
from tests.kube.standin.derive import AGENT_PORT, CLIENT_PORT, DASHBOARD_PORT, GCS_PORT, METRICS_PORT, Manifest

IN_IMAGE = "/opt/platform"  # where images have this checkout
OBJECT_STORE_BYTES = 100_000_000  # of nodes that do not say; Ray would take a third of the memory, each of them
SHARED_MEMORY = "/dev/shm"
OPTIONS = {  # of `ray start` that name a port, and the port that each has where it is not said
    "port": GCS_PORT,
    "dashboard-port": DASHBOARD_PORT,
    "ray-client-server-port": CLIENT_PORT,
    "dashboard-agent-listen-port": AGENT_PORT,
    "metrics-export-port": METRICS_PORT,
}
SERVICE_OPTIONS = ("port", "dashboard-port", "ray-client-server-port")  # the head's alone
Ports = dict[int, int]  # a container's, and those in their place here


def image_variables() -> dict[str, str]:
    """What an image of this checkout would set: its interpreter and this repository, nothing of the caller's."""
    paths = [str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]
    return {"PATH": os.pathsep.join(paths), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}


def free_ports(containers: Iterable[int]) -> Ports:
    """A port that is free now for each of a container's."""
    ports = {}
    with contextlib.ExitStack() as held:
        for container in containers:
            each = held.enter_context(socket.socket())
            each.bind(("", 0))
            ports[container] = each.getsockname()[1]
    return ports


def own_address() -> str:
    """As Ray finds it, which refuses 127.0.0.1 for clusters of several nodes."""
    from ray.util import get_node_ip_address

    return get_node_ip_address() or "127.0.0.1"


@dataclass(frozen=True)
class Places:
    """What stands where: each table's keys are what the manifest says, its values what is so here."""

    paths: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # of hosts, with or without their ports
    ports: Ports = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in self.paths.values():
            if shlex.quote(path) != path:
                raise ValueError(f"folder {path!r} would need quotes in a shell; take one with plain letters")

    def localize(self, text: str) -> str:
        """Replace all names and paths, longest first; what has been put in their place is not looked at again."""
        # Not within longer ones: /mnt/platform is no part of /data/mnt/platform, nor mlflow:5000 of my.mlflow:50001.
        starts = {r"(?:(?<![\w./-])|(?<=file://))": self.paths, r"(?<![\w.-])": self.names}
        patterns = [
            f"{start}(?:{'|'.join(re.escape(key) for key in sorted(table, key=len, reverse=True))})(?![\\w.-])"
            for start, table in starts.items()
            if table
        ]
        table = {**self.paths, **self.names}
        return re.sub("|".join(patterns), lambda match: table[match.group()], text) if patterns else text

    def localize_start(self, text: str, *, head: bool, scratch: Path) -> str:
        """The same for a shell's text with `ray start` in it, and its ports and scratch folder."""
        text = self.localize(text)
        if "ray start" not in text:
            return text
        missing = []
        for option, default in OPTIONS.items():
            if option in SERVICE_OPTIONS and not head:
                continue
            local = self.ports[default]
            text, count = re.subn(rf"--{option}[= ]\d+", f"--{option}={local}", text)
            missing += [] if count else [f"--{option}={local}"]
        missing += [f"--temp-dir={scratch}", "--min-worker-port=0", "--max-worker-port=0"]  # ranges would meet
        if "--object-store-memory" not in text:
            missing.append(f"--object-store-memory={OBJECT_STORE_BYTES}")
        first = "ray start --head" if head else "ray start"
        return text.replace(first, f"{first} {' '.join(missing)}", 1)


def mounts(pod: Manifest, container: Manifest, claims: dict[str, Path], scratch: Path, own: Path) -> dict[str, str]:
    """Folders in the place of a container's mounts.

    A claim's is given, an emptyDir's is made: of this pod alone below /tmp, else one for all pods of the cluster, as
    the entrypoint names it once for all of them. Shared memory is the machine's.

    Raises:
        ManifestError: a claim that was not given, a volume of a kind that the stand-in does not know.
    """
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
    found = {"/tmp": str(own), IN_IMAGE: str(ROOT)}
    for mount in container.get("volumeMounts", []):
        path, name = mount["mountPath"].rstrip("/"), mount["name"]
        if name not in volumes:
            raise ManifestError(f"{path} is mounted from volume {name}, which the pod does not have")
        if path == SHARED_MEMORY or path == "/tmp" or path.startswith("/tmp/"):
            continue
        folder = _folder(volumes[name], claims, scratch) / mount.get("subPath", "")
        folder.mkdir(parents=True, exist_ok=True)
        found[path] = str(folder)
    return found


def _folder(volume: Manifest, claims: dict[str, Path], scratch: Path) -> Path:
    if "persistentVolumeClaim" in volume:
        claim = volume["persistentVolumeClaim"]["claimName"]
        if claim not in claims:
            raise ManifestError(f"there is no persistent volume claim {claim}, only {sorted(claims)}")
        return claims[claim].resolve()
    if "emptyDir" in volume:
        return scratch / "volumes" / volume["name"]
    raise ManifestError(f"volume {volume['name']}: the stand-in knows claims and emptyDirs only")
