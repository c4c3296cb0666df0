"""A RayCluster on this machine: its pods are made, counted and replaced as KubeRay does.

In: the RayCluster's manifest and the machine. Out: pods, and whether all that should be are ready. `tick` moves it on.
"""

import copy
import random
import secrets as randomness
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from platform.kubernetes.entrypoint import METRICS_PORT
from tests.kube.standin import derive
from tests.kube.standin.container import Secrets
from tests.kube.standin.derive import Manifest
from tests.kube.standin.machine import OPTIONS, SERVICE_OPTIONS, Places, Ports, free_ports, mounts
from tests.kube.standin.pods import Node, Pod

LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # of which Kubernetes makes names that are no words


def random_name(prefix: str) -> str:
    return f"{prefix}-{''.join(random.choices(LETTERS, k=5))}"


@dataclass(frozen=True)
class Machine:
    """What pods share."""

    scratch: Path
    logs: Path
    claims: dict[str, Path]
    services: dict[str, str]
    secrets: Secrets
    variables: dict[str, str]
    address: str
    threads: Executor
    _numbers: "count[int]" = field(default_factory=count)

    def pod(
        self, manifest: Manifest, name: str, names: dict[str, str], ports: Ports, paths: dict[str, str] | None = None
    ) -> Pod:
        """`paths`: those of another pod, whose paths are in this one's words."""
        manifest = {**manifest, "metadata": {**manifest["metadata"], "name": name}}
        own = self.scratch / str(next(self._numbers))  # short: Ray's sockets live below it
        container = manifest["spec"]["containers"][0]
        paths = paths or mounts(manifest, container, self.claims, self.scratch, own)
        node = Node(
            scratch=own,
            log=self.logs / f"{name}.log",
            places=Places(paths, {**self._service_names(derive.namespace(manifest)), **names}, ports),
            secrets=self.secrets,
            variables=self.variables,
            guarded=str(self.scratch),
            address=self.address,
        )
        return Pod(manifest, node, self.threads)

    def _service_names(self, namespace: str) -> dict[str, str]:
        """By every name that Kubernetes' DNS would know."""
        domains = ("", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.cluster.local")
        return {
            f"{name}{domain}:{port}": local
            for service, local in self.services.items()
            for name, _, port in [service.partition(":")]
            for domain in domains
        }


class RayCluster:
    """One attempt's cluster; nothing runs before the first `tick`."""

    def __init__(self, manifest: Manifest, machine: Machine) -> None:
        self.manifest = copy.deepcopy(manifest)
        self.pods: list[Pod] = []
        self._machine = machine
        own = [OPTIONS[option] for option in SERVICE_OPTIONS]  # of the service: also of a new head
        self._ports = free_ports([*own, METRICS_PORT])
        self._is_deleted = False
        if derive.has_token(manifest):
            token = {derive.TOKEN_KEY: randomness.token_urlsafe(32)}
            machine.secrets.setdefault(derive.token_secret(manifest), token)

    @property
    def name(self) -> str:
        return self.manifest["metadata"]["name"]

    @property
    def token(self) -> str | None:
        if not derive.has_token(self.manifest):
            return None
        return self._machine.secrets[derive.token_secret(self.manifest)][derive.TOKEN_KEY]

    @property
    def dashboard(self) -> str:
        return f"http://{self._machine.address}:{self._ports[derive.DASHBOARD_PORT]}"

    @property
    def metrics(self) -> str:
        """The page of the launcher's metrics, as Prometheus would ask for it."""
        return f"http://{self._machine.address}:{self._ports[METRICS_PORT]}/metrics"

    @property
    def address(self) -> str:
        """Of the GCS, for drivers."""
        return f"{self._machine.address}:{self._ports[derive.GCS_PORT]}"

    @property
    def names(self) -> dict[str, str]:
        """What stands for the head's service here, and for the head itself within its pod."""
        service = derive.service(self.manifest)
        names = {service: self._machine.address, service.partition(".")[0]: self._machine.address}
        for port, local in self._ports.items():
            for host in (service, "127.0.0.1", "0.0.0.0"):
                names[f"{host}:{port}"] = f"{self._machine.address}:{local}"
        return names

    @property
    def head(self) -> Pod | None:
        return next((pod for pod in self.pods if pod.is_head and not pod.is_deleted), None)

    def workers(self, group: str | None = None) -> list[Pod]:
        """Those that nobody has deleted, oldest first."""
        return [
            pod for pod in self.pods
            if not pod.is_head and not pod.is_deleted and (group is None or pod.group == group)
        ]  # fmt: skip

    @property
    def groups(self) -> list[Manifest]:
        return self.manifest["spec"].get("workerGroupSpecs", [])

    @property
    def is_ready(self) -> bool:
        """As RayCluster's status.state (utils.CheckAllPodsRunning and the count of replicas)."""
        alive = [pod for pod in self.pods if not pod.is_deleted]
        wanted = 1 + sum(map(derive.replicas, self.groups))
        return len(alive) == wanted and all(pod.phase == "Running" and pod.ready for pod in alive)

    @property
    def is_gone(self) -> bool:
        return self._is_deleted and not self.pods

    @property
    def is_deleted(self) -> bool:
        return self._is_deleted

    def scale(self, group_name: str, replicas: int) -> None:
        """What the autoscaler would do: it patches the group's replicas."""
        next(group for group in self.groups if group["groupName"] == group_name)["replicas"] = replicas

    def suspend_workers(self) -> None:
        for group in self.groups:
            group["suspend"] = True

    def delete(self) -> None:
        """All pods are told at once."""
        self._is_deleted = True
        for pod in self.pods:
            pod.delete()

    def kill(self) -> None:
        self._is_deleted = True
        for pod in self.pods:
            pod.kill()
        self.pods.clear()

    def tick(self) -> None:
        for pod in self.pods:
            pod.tick(may_start=self._may_start(pod))
        self.pods = [pod for pod in self.pods if not pod.is_gone]
        if self._is_deleted:
            return
        for pod in self.pods:
            if pod.is_over:  # raycluster_controller.shouldDeletePod
                pod.delete()
        if self.head is None:
            self._add(derive.head_pod(self.manifest), f"{self.name}-head")
        for group in self.groups:
            self._set_count(group["groupName"], derive.replicas(group))

    def _may_start(self, pod: Pod) -> bool:
        """One `ray start` after another, the head's first: its workers' pods would wait for it anyhow."""
        head = self.head
        if any(other.is_starting for other in self.pods if other is not pod):
            return False
        return pod.is_head or (head is not None and head.phase == "Running" and not head.is_starting)

    def _set_count(self, group: str, wanted: int) -> None:
        found = self.workers(group)
        for _ in range(wanted - len(found)):
            self._add(derive.worker_pod(self.manifest, group), f"{self.name}-{group}-worker")
        for pod in found[wanted:]:
            pod.delete()

    def _add(self, manifest: Manifest, prefix: str) -> None:
        own = free_ports(port for option, port in OPTIONS.items() if option not in SERVICE_OPTIONS)
        self.pods.append(self._machine.pod(manifest, random_name(prefix), self.names, {**self._ports, **own}))
