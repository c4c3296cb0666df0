"""The Kubernetes Job that submits a Ray job: one pod after another until one ends well or the limit is reached.

In: the pod's manifest, the limit. Out: whether it has completed or failed, and when.
"""

import time

from tests.kube.standin.cluster import Machine, RayCluster, random_name
from tests.kube.standin.derive import DASHBOARD_PORT, Manifest
from tests.kube.standin.pods import Pod
from tests.kube.standin.relay import Relay

DEFAULT_LIMIT = 2  # rayjob_controller.createNewK8sJob
FIRST_DELAY_S, LONGEST_DELAY_S = 10.0, 600.0  # Kubernetes' own between a Job's pods; doubled each time


class Submitter:
    def __init__(
        self, manifest: Manifest, name: str, limit: int, machine: Machine, cluster: RayCluster, first_delay_s: float
    ) -> None:
        self.pods: list[Pod] = []
        self.finished_at: float | None = None  # time.time()
        self.has_failed = False
        self.failure = ""
        self._manifest, self._name, self._limit = manifest, name, limit
        self._machine, self._cluster, self._first_delay_s = machine, cluster, first_delay_s
        self._failures, self._next_at = 0, 0.0
        self._relays: list[Relay] = []  # to the head, one of each pod
        self._is_deleted = False

    @property
    def is_gone(self) -> bool:
        return self._is_deleted and all(pod.is_gone or pod.is_over for pod in self.pods)

    def tick(self) -> None:
        for pod in self.pods:
            pod.tick(may_start=True)
        if self._is_deleted or self.finished_at is not None:
            return
        if not self.pods or (self.pods[-1].is_over or self.pods[-1].is_gone):
            self._go_on(self.pods[-1] if self.pods else None)

    def delete(self) -> None:
        self._is_deleted = True
        for pod in self.pods:
            if not pod.is_over:
                pod.delete()

    def kill(self) -> None:
        self._is_deleted = True
        for pod in self.pods:
            pod.kill()
        for relay in self._relays:
            relay.close()

    def lose_head(self) -> None:
        """The machine at the other end is gone, and nothing says so."""
        for relay in self._relays:
            relay.vanish()

    def _go_on(self, last: Pod | None) -> None:
        """Count the last pod once, then start the next when its time has come."""
        if last is not None and len(self.pods) > self._failures:
            if last.phase == "Succeeded":
                self.finished_at = time.time()
                return
            self._failures += 1
            delay_s = min(self._first_delay_s * 2 ** (self._failures - 1), LONGEST_DELAY_S)
            self._next_at = time.monotonic() + delay_s
            if self._failures > self._limit:
                self.finished_at, self.has_failed = time.time(), True
                self.failure = "Reason: BackoffLimitExceeded. Message: Job has reached the specified backoff limit"
                return
        if time.monotonic() >= self._next_at:
            self._add()

    def _add(self) -> None:
        """The entrypoint runs in the head's pod: the paths in it are the head's, of which a submitter has no mounts."""
        cluster = self._cluster
        paths = cluster.head.node.places.paths if cluster.head else None
        relay = Relay(cluster.dashboard.removeprefix("http://"))
        self._relays.append(relay)
        names = cluster.names
        names |= {name: relay.address for name in names if name.endswith(f":{DASHBOARD_PORT}")}
        self.pods.append(self._machine.pod(self._manifest, random_name(self._name), names, {}, paths))
