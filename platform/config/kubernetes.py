"""`cluster.kube`: the RayJob of a run on Kubernetes."""

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from platform.config.checks import is_range, is_whole, require, require_at_least, require_choice, seal
from platform.config.cron import is_cron, shortest_gap_s
from platform.config.kube_syntax import (
    is_address,
    is_image,
    is_label_key,
    is_label_value,
    is_name,
    is_subdomain,
    is_time_zone,
)
from platform.redaction import holds_secret

KUBE_NAME = 47  # characters of a RayJob's name: the operator adds to it, and Kubernetes allows 63
KUBE_CRON_NAME = 36  # of a RayCronJob's, which adds the time to that of its RayJobs
CAPACITIES = ("any", "spot", "on_demand")
GANG_SCHEDULERS = ("none", "volcano", "yunikorn", "kai-scheduler", "scheduler-plugins")
# How each provider marks nodes that it may take back; karpenter does on any of them.
SPOT_LABELS = {
    "gke": ("cloud.google.com/gke-spot", "true"),
    "eks": ("eks.amazonaws.com/capacityType", "SPOT"),
    "aks": ("kubernetes.azure.com/scalesetpriority", "spot"),
    "karpenter": ("karpenter.sh/capacity-type", "spot"),
}
_SECRET_WORDS = ("password", "passwd", "secret", "token", "credential", "access_key", "api_key", "private_key")
MLFLOW = "http://mlflow:5000"  # of k8s/base
ENDING_S = 300  # of a schedule's job: from its deadline until its pods are gone
_OWN_ENV = ("HOME", "RAY_JOB_STOP_WAIT_TIME_S", "PLATFORM_FRESH_FOR")  # what pods have anyway
_TAKEN_PATHS = ("/tmp", "/dev", "/cache", "/opt", "/usr", "/bin", "/etc", "/proc", "/sys", "/var")


def is_reached_by_pods(uri: str) -> bool:
    """Whether pods could reach an MLflow address: not files and servers of this machine."""
    return "://" in uri and not re.match(r"sqlite|file:|https?://(localhost|127\.|\[::1\])", uri)


@dataclass
class KubeConfig:
    """The RayJob that `cluster=kuberay` makes. Sizes are those of one pod; a gb is 2**30 bytes, Kubernetes' Gi."""

    image: str = "platform:0.1.0-ray2.60.0"  # of the Dockerfile, in a registry that the nodes can pull from
    pull_secrets: list[str] = field(default_factory=list)  # names of Secrets with the registry's login
    namespace: str = "platform"  # of the RayJob and its pods
    context: str | None = None  # of the kubeconfig; None: the current one
    follow: bool = True  # print the log until the end; false: submit and exit
    # Worker pods
    workers_per_pod: int = 1  # a node of eight GPUs is best used by one pod of eight workers
    pods: Any = None  # a number, or {min: 1, max: 8} for the autoscaler; None: enough for the members side by side
    memory_gb: int = 32  # of a worker pod
    shared_memory_gb: int = 8  # /dev/shm, a part of memory_gb: NCCL's, and Ray's objects
    head_cpus: int = 2  # of the head's pod
    head_memory_gb: int = 8  # the launcher runs there, beside Ray's own
    # Storage
    claim: str = "platform-data"  # PersistentVolumeClaim (ReadWriteMany) with runs and data, seen by every pod
    mount: str = "/mnt/platform"  # where; relative paths of the command lie below it
    cache_class: str | None = None  # StorageClass of each pod's cache of shards; None: the node's own disk
    # Tracking and access
    tracking_uri: str = MLFLOW  # where tracking.uri names a file of this machine
    secrets: list[str] = field(default_factory=lambda: ["platform-credentials"])  # Secrets that become the environment
    env: dict[str, str] = field(default_factory=dict)  # plain settings; nothing secret
    metrics: bool = True  # the launcher answers Prometheus on port 9464 of the head's pod
    # Which nodes
    gpu_resource: str = "nvidia.com/gpu"  # nodes tainted with it are tolerated
    node_selector: dict[str, str] = field(default_factory=dict)  # of worker pods
    # Of worker pods: any, spot or on_demand. The head keeps off the spot nodes of all providers; with any, and without
    # a queue, it may go there where there are no others
    capacity: str = "any"
    provider: str = "gke"  # whose labels mark the workers' spot nodes: gke, eks, aks, karpenter
    # A node label, topology.kubernetes.io/zone say: workers close together by it. With a queue, and members that span
    # pods, a level of Kueue's Topology: one member fits within it, several prefer it
    topology_key: str | None = None
    # Queue and priority
    queue: str | None = None  # Kueue's LocalQueue: the job waits, suspended, until there is room
    queue_priority: str | None = None  # Kueue's WorkloadPriorityClass
    priority_class: str | None = None  # Kubernetes' PriorityClass of the pods
    gang: str = "none"  # gang scheduler (all pods start, or none) that the KubeRay operator was set up with
    gang_queue: str | None = None  # queue of that scheduler
    # Time
    schedule: str | None = None  # cron expression, as "0 2 * * *": a RayCronJob, which makes such a job each time
    time_zone: str = "UTC"  # of schedule, as Europe/Berlin
    retries: int = 3  # clusters after the first; each resumes from the newest checkpoints
    # Of each attempt, then the job fails. With a schedule less than the time between two of its jobs, of which the
    # second would not wait for the first
    deadline_h: float = 168.0
    start_timeout_s: int = 3600  # of each attempt, from its beginning until its command runs; not with a queue
    keep_failed_s: int = 0  # a failed job's cluster stays for so long, for debugging; not with a queue
    keep_days: float = 7.0  # then the RayJob is deleted; runs and MLflow stay. With a queue it stays until you do
    check_pod_s: int = 180  # job=check starts a pod of the image for at most so long, where you may; 0: none
    idle_s: int = 300  # the autoscaler removes a pod that is idle for so long
    # Ray's own state in Redis: the cluster survives its head's restart (the launcher there does not; it is retried)
    redis_address: str | None = None
    redis_secret: str = "platform-redis"  # name of the Secret with its `password`

    def tracking_uri_of(self, uri: str) -> str:
        """MLflow's address as the pods have it: `tracking.uri`, or theirs where only this machine reaches that."""
        return uri if is_reached_by_pods(uri) else self.tracking_uri

    def in_pods(self, *parts: str) -> str:
        """A path as the pods have it, which work in `mount`: joined, normal, absolute."""
        return posixpath.normpath(posixpath.join(self.mount, *parts))

    def __post_init__(self) -> None:
        seal(self, "cluster.kube.")
        self._require_names()
        require(
            self.pods is None or is_whole(self.pods) or is_range(self.pods),
            f"cluster.kube.pods is {self.pods!r}; give a number, or a range as {{min:1,max:8}}",
        )
        low, high = self.pods_range or (1, 1)
        require(
            1 <= low <= high, f"cluster.kube.pods is {self.pods!r}; give at least 1, and a min that is at most the max"
        )
        for key in ("workers_per_pod", "memory_gb", "shared_memory_gb", "head_cpus", "head_memory_gb"):
            require_at_least(f"cluster.kube.{key}", getattr(self, key), 1)
        for key in ("start_timeout_s", "idle_s"):
            require_at_least(f"cluster.kube.{key}", getattr(self, key), 60)
        for key in ("retries", "keep_failed_s", "check_pod_s"):
            require_at_least(f"cluster.kube.{key}", getattr(self, key), 0)
        for key in ("deadline_h", "keep_days"):
            require(getattr(self, key) > 0, f"cluster.kube.{key} is {getattr(self, key)}; give more than 0")
        require(
            self.shared_memory_gb < self.memory_gb,
            f"cluster.kube.shared_memory_gb is {self.shared_memory_gb}, and a part of memory_gb ({self.memory_gb}); "
            "lower it",
        )
        plain = posixpath.normpath(self.mount) == self.mount and self.mount.startswith("/")
        taken = [path for path in _TAKEN_PATHS if f"{self.mount}/".startswith(f"{path}/") or self.mount == "/"]
        require(
            plain and not taken,
            f"cluster.kube.mount is {self.mount!r}; give /a/path that the image does not use, as /mnt/platform",
        )
        require_choice("cluster.kube.capacity", self.capacity, CAPACITIES)
        require_choice("cluster.kube.provider", self.provider, tuple(SPOT_LABELS))
        require_choice("cluster.kube.gang", self.gang, GANG_SCHEDULERS)
        require(
            self.queue is None or self.gang == "none",
            f"cluster.kube.queue is {self.queue}, gang is {self.gang}; choose one: Kueue starts all or none, too",
        )
        require(
            self.schedule is None or is_cron(self.schedule),
            f"cluster.kube.schedule is {self.schedule!r}; give minute, hour, day, month and weekday, as '0 2 * * *'",
        )
        require(
            is_time_zone(self.time_zone),
            f"cluster.kube.time_zone is {self.time_zone!r}; give UTC, or a name as Europe/Berlin",
        )
        require(
            self.schedule is None or (self.queue is None and self.gang == "none"),
            "cluster.kube.schedule does not go with queue or gang: a RayCronJob hands no labels on to its jobs, "
            "and nobody would start them; leave out one of them",
        )
        self._require_an_end_before_the_next()
        require(
            not (self.queue and self.keep_failed_s),
            f"cluster.kube.keep_failed_s is {self.keep_failed_s}, and with a queue KubeRay would keep the cluster of a "
            "job that succeeded as long, while Kueue gives its room to others; set it to 0: logs are kept in "
            "runs/NAME/logs in any case",
        )
        for key, needs in (("queue_priority", self.queue is not None), ("gang_queue", self.gang != "none")):
            require(
                getattr(self, key) is None or needs,
                f"cluster.kube.{key} is {getattr(self, key)}, without effect; add cluster.kube.{key.split('_')[0]}",
            )

    def most_hours(self, attempts: int) -> float | None:
        """The highest `deadline_h` with which so many attempts of a schedule's job end before the next job begins,
        rounded down to tenths; 0: none does. None: there is no schedule, or it begins no second job.
        """
        gap_s = shortest_gap_s(self.schedule, self.time_zone) if self.schedule is not None else None
        return None if gap_s is None else max(0, (gap_s // attempts - ENDING_S) // 360) / 10

    def _require_an_end_before_the_next(self) -> None:
        """Refuse a schedule whose jobs overlap: KubeRay 1.7 begins each at its time, whether the last one has ended."""
        most = self.most_hours(attempts=1)
        require(
            most != 0,
            f"cluster.kube.schedule is {self.schedule!r}, too often for a cluster to begin and end; give a time every "
            "quarter of an hour at most",
        )
        require(
            most is None or self.deadline_h <= most,
            f"cluster.kube.deadline_h is {self.deadline_h}, and cluster.kube.schedule ({self.schedule}) begins the "
            f"next job before that, on a cluster of its own, which fails as the run's folder is in use; lower "
            f"deadline_h to {most} or less",
        )

    @property
    def pods_range(self) -> tuple[int, int] | None:
        """The fewest and the most worker pods; None: not given."""
        if isinstance(self.pods, dict):
            return self.pods["min"], self.pods["max"]
        return None if self.pods is None else (self.pods, self.pods)

    def _require_names(self) -> None:
        names = ("namespace", "claim", "queue", "queue_priority", "priority_class", "redis_secret")
        self._require_all(names, is_name, "Kubernetes takes names of up to 63 of a-z, 0-9 and '-'")
        self._require_all(("pull_secrets", "secrets"), is_name, "give names of Secrets")
        self._require_all(("cache_class",), is_subdomain, "give the name of a StorageClass")
        self._require_all(("gang_queue",), is_label_value, "a label takes 63 letters, digits, '-', '_', '.'")
        self._require_all(("topology_key", "gpu_resource"), is_label_key, "give NAME or DOMAIN/NAME")
        self._require_all(("redis_address",), is_address, "give HOST:PORT")
        self._require_all(("image",), is_image, "give REPOSITORY:TAG, in small letters")
        for key, value in self.node_selector.items():
            require(
                is_label_key(key) and is_label_value(value),
                f"cluster.kube.node_selector has {key}={value}, which is no label of a node; give {{KEY: VALUE}}",
            )
        for name in self.env:
            require(
                re.fullmatch(r"[A-Za-z_]\w*", name) is not None and name not in _OWN_ENV,
                f"cluster.kube.env has {name!r}; give names of letters, digits and '_', none of {', '.join(_OWN_ENV)}",
            )
            require(
                not any(word in name.lower() for word in _SECRET_WORDS),
                f"cluster.kube.env has {name}, and a manifest is no place for secrets; "
                "put it into a Secret that cluster.kube.secrets names",
            )
            require(
                not holds_secret(self.env[name]),
                f"cluster.kube.env has {name} with a password or token in its address, and a manifest is no place for "
                "secrets; put it into a Secret that cluster.kube.secrets names",
            )

    def _require_all(self, keys: tuple[str, ...], fits: Callable[[str], bool], remedy: str) -> None:
        for key in keys:
            value = getattr(self, key)
            for each in value if isinstance(value, list) else [value]:
                require(each is None or fits(each), f"cluster.kube.{key} is {each!r}; {remedy}")
