"""Pods on this machine: init containers, the first container, its probes and restarts, as the kubelet has it.

In: a pod's manifest with a name, the machine's places, secrets. Out: phase and readiness. `tick` moves it on; nothing
here waits. Only the first container is run; limits are not enforced.
"""

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from platform.cluster.cleanup import MARK as GUARDED
from tests.kube.standin.container import Secrets, resolve
from tests.kube.standin.derive import Manifest
from tests.kube.standin.machine import Places, image_variables
from tests.kube.standin.probes import Probe, command, http
from tests.kube.standin.processes import KILLED, Processes

STARTED = "Ray runtime started."  # what `ray start` says once its node is in the cluster
GRACE_S = 30.0  # Kubernetes' default of terminationGracePeriodSeconds
CRASH_LOOP_S = 10.0  # before a container is started again in its pod


@dataclass(frozen=True)
class Node:
    """What a pod needs of the machine: the folders that exist for it, what stands for names, who may see what."""

    scratch: Path  # of this pod
    log: Path
    places: Places
    secrets: Secrets
    variables: dict[str, str]  # of the image
    guarded: str  # the operator's scratch folder
    address: str


@dataclass
class Pod:
    """One pod, from its creation until it is gone."""

    manifest: Manifest
    node: Node
    threads: Executor
    phase: str = "Pending"  # Running, Succeeded, Failed
    ready: bool = False
    restarts: int = 0
    exit_code: int | None = None
    _done_inits: int = 0
    _processes: Processes | None = None
    _probes: dict[str, Probe] = field(default_factory=dict)
    _environment: dict[str, str] = field(default_factory=dict)  # of the newest start
    _again_at: float = 0.0
    _seen: int = 0  # characters of the log that are of earlier starts
    _killed_at: float | None = None  # of a pod that is being deleted: when its grace period is over

    @property
    def name(self) -> str:
        return self.manifest["metadata"]["name"]

    @property
    def labels(self) -> dict[str, str]:
        return self.manifest["metadata"].get("labels", {})

    @property
    def is_head(self) -> bool:
        return self.labels.get("ray.io/node-type") == "head"

    @property
    def group(self) -> str:
        return self.labels.get("ray.io/group", "")

    @property
    def is_over(self) -> bool:
        return self.phase in ("Succeeded", "Failed")

    @property
    def is_deleted(self) -> bool:
        """Somebody wants it gone; it is when `is_gone`."""
        return self._killed_at is not None

    @property
    def is_gone(self) -> bool:
        return self.is_deleted and self._processes is None

    @property
    def is_starting(self) -> bool:
        """Whether its `ray start` is at work, which must be alone on a machine: two would choose the same names."""
        is_at_work = self.phase == "Running" and self._processes is not None and self._is_ray
        return is_at_work and STARTED not in self.output()[self._seen :]

    @property
    def _is_ray(self) -> bool:
        return self.labels.get("ray.io/is-ray-node") == "yes"

    def processes(self) -> list[psutil.Process]:
        return self._processes.living() if self._processes else []

    def probe(self, kind: str) -> Probe:
        """Of the container's newest start."""
        return self._probes[kind]

    def output(self) -> str:
        return self.node.log.read_text(errors="replace") if self.node.log.exists() else ""

    def tick(self, *, may_start: bool) -> None:
        """Move on. `may_start` tells whether a process may be started now."""
        code = self._processes.exit_code() if self._processes else None
        if code is not None:
            self._processes = None
        if self.is_deleted:
            self._tick_deletion()
        elif self.phase == "Pending":
            self._tick_inits(code, may_start)
        elif self.phase == "Running":
            self._tick_container(code, may_start)

    def delete(self, grace_s: float | None = None) -> None:
        """As `kubectl delete pod`: SIGTERM now, SIGKILL when the grace period is over. Does not wait."""
        if self.is_deleted:
            return
        if grace_s is None:
            grace_s = float(self.manifest["spec"].get("terminationGracePeriodSeconds", GRACE_S))
        self.ready = False
        self._killed_at = time.monotonic() + grace_s
        if self._processes:
            self._processes.terminate()

    def kill(self) -> None:
        """As when its machine is lost: nothing of it runs any more, nor will again."""
        self.ready, self.phase = False, "Failed"
        if self._processes:
            self._processes.kill()
            self._processes, self.exit_code = None, KILLED

    def _tick_deletion(self) -> None:
        if self._processes and self._killed_at is not None and time.monotonic() >= self._killed_at:
            self._processes.kill()
            self._processes = None

    def _tick_inits(self, code: int | None, may_start: bool) -> None:
        if code == 0:
            self._done_inits += 1
        if self._processes or not may_start:
            return
        inits = self.manifest["spec"].get("initContainers", [])
        if self._done_inits < len(inits):
            self._start(inits[self._done_inits])
        else:
            self._start_container()

    def _tick_container(self, code: int | None, may_start: bool) -> None:
        if code is not None:
            self._end(code)
        elif self._processes is None:
            if may_start and time.monotonic() >= self._again_at:
                self.restarts += 1
                self._start_container()
        else:
            self._tick_probes(self._processes)

    def _end(self, code: int) -> None:
        self.ready, self.exit_code = False, code
        policy = self.manifest["spec"].get("restartPolicy", "Always")
        if policy == "Always" or (policy == "OnFailure" and code != 0):
            self._again_at = time.monotonic() + CRASH_LOOP_S
        else:
            self.phase = "Failed" if code else "Succeeded"

    def _tick_probes(self, processes: Processes) -> None:
        for probe in self._probes.values():
            probe.tick()
        readiness, liveness = self._probes.get("readinessProbe"), self._probes.get("livenessProbe")
        if readiness is None or readiness.succeeds:
            self.ready = True
        elif readiness.fails:
            self.ready = False
        if liveness is not None and liveness.fails:
            processes.kill()  # the grace period is for those that still listen

    def _start_container(self) -> None:
        container = self.manifest["spec"]["containers"][0]
        self._seen = len(self.output())
        self._start(container)
        self.phase = "Running"
        self._probes = {
            kind: Probe(container[kind], self._ask(container[kind]), self.threads)
            for kind in ("readinessProbe", "livenessProbe")
            if kind in container
        }

    def _ask(self, probe: Manifest) -> Callable[[], bool]:
        if "exec" in probe:
            words = [self.node.places.localize(word) for word in probe["exec"]["command"]]
            return command(words, self._environment, self.node.scratch, probe)
        return http(self.node.places, self.node.address, probe)

    def _start(self, container: Manifest) -> None:
        node, places = self.node, self.node.places
        own = node.scratch
        own.mkdir(parents=True, exist_ok=True)
        command = resolve(self.manifest, container, node.secrets)
        localize: Callable[[str], str] = places.localize
        if self._is_ray:
            localize = lambda text: places.localize_start(text, head=self.is_head, scratch=own / "ray")  # noqa: E731
        variables = {name: localize(value) for name, value in command.variables.items()}
        if "RAY_PORT" in variables:
            variables["RAY_PORT"] = str(places.ports[int(variables["RAY_PORT"])])
        base = {
            **image_variables(), **node.variables, "HOSTNAME": self.name, "HOME": str(own), "TMPDIR": str(own),
            "RAY_USAGE_STATS_ENABLED": "0", GUARDED: node.guarded,
        }  # fmt: skip
        folder = Path(localize(command.folder)) if command.folder else own
        words = [localize(word) for word in command.words]
        self._environment = {**base, **variables}
        self._processes = Processes(words, self._environment, folder, node.log, own)
