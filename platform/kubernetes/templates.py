"""The pods of a RayJob: head, workers, submitter, by the restricted Pod Security standard.

In: the config, labels. Out: pod templates as plain dicts. No pod gets a service-account token; the autoscaler beside a
head that scales its workers mounts one by itself. Container limits are what the operator gives Ray to schedule with.
"""

import math
from typing import Any

from platform.config.kubernetes import SPOT_LABELS, KubeConfig
from platform.config.sections import Config
from platform.experiment.fresh import FRESH_FOR
from platform.kubernetes.entrypoint import CACHE, METRICS_PORT

DRAIN_S = 30  # `ray start --block` on SIGTERM: Ray's own patience, in which members save
MARGIN_S = 30  # for Ray to end
AGENT_PORT = 52365  # of each node's dashboard agent, which knows how the node is
# Ports by the names that k8s/components/monitoring asks for: the launcher, the autoscaler and the dashboard of Ray.
SCRAPED = (("launcher", METRICS_PORT), ("as-metrics", 44217), ("dash-metrics", 44227))
TOKEN = "autoscaler-token"
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
CLUSTER_LABEL = "metadata.labels['ray.io/cluster']"  # of the operator: each attempt has another
SCRATCH_GB = 10  # Ray's logs, on the node's disk
LOCKED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
USER = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "fsGroup": 1000,
    "fsGroupChangePolicy": "OnRootMismatch",  # or each start walks the whole volume
    "seccompProfile": {"type": "RuntimeDefault"},
}


def head(config: Config, kube: KubeConfig, labels: dict[str, str], *, scales: bool, cached: bool) -> dict[str, Any]:
    """The head: Ray's own processes and the launcher. Not on nodes that may be taken back."""
    shared_gb = head_shared_gb(kube)
    container = _ray_container("ray-head", config, kube, shared_gb, cached=cached)
    container["ports"] = [
        {"name": "gcs-server", "containerPort": 6379},
        {"name": "dashboard", "containerPort": 8265},
        {"name": "client", "containerPort": 10001},
        {"name": "metrics", "containerPort": 8080},  # Ray's own, by its agent; operators add it to workers
        *({"name": name, "containerPort": port} for name, port in SCRAPED if kube.metrics),
    ]
    container["env"] += [{"name": "RAY_JOB_STOP_WAIT_TIME_S", "value": str(_grace_s(config))}]  # to save a last time
    if config.fresh:  # a head that was replaced gets the same command
        container["env"] += [{"name": FRESH_FOR, "valueFrom": {"fieldRef": {"fieldPath": CLUSTER_LABEL}}}]
    container["resources"] = _resources(kube.head_cpus, kube.head_memory_gb)
    spec = _ray_spec("platform-head", config, kube, container, shared_gb, cached=cached)
    if scales:
        spec["volumes"].append(_token_volume())
    spec["affinity"] = {"nodeAffinity": _off_spot(kube)}
    return {"metadata": {"labels": labels | {"app.kubernetes.io/component": "head"}}, "spec": spec}


def worker(
    config: Config, kube: KubeConfig, labels: dict[str, str], *, topology: dict[str, str], cached: bool
) -> dict[str, Any]:
    """Where members train. `topology`: annotations by which Kueue chooses near nodes; without, the scheduler tries."""
    container = _ray_container("ray-worker", config, kube, kube.shared_memory_gb, cached=cached)
    gpus = (config.cluster.gpus_per_worker or 0) * kube.workers_per_pod
    disk_gb = cache_gb(config) if cached and kube.cache_class is None else 0
    container["resources"] = _resources(
        config.cluster.cpus_per_worker * kube.workers_per_pod,
        kube.memory_gb,
        disk_gb,
        {kube.gpu_resource: str(gpus)} if gpus else {},
    )
    spec = _ray_spec("platform-worker", config, kube, container, kube.shared_memory_gb, cached=cached)
    if tolerations := _tolerations(kube, bool(gpus)):
        spec["tolerations"] = tolerations
    if kube.node_selector:
        spec["nodeSelector"] = kube.node_selector
    if affinity := _worker_affinity(kube, labels, near=not topology):
        spec["affinity"] = affinity
    metadata = {"labels": labels | {"app.kubernetes.io/component": "worker"}}
    return {"metadata": metadata | ({"annotations": topology} if topology else {}), "spec": spec}


def submitter(kube: KubeConfig, labels: dict[str, str]) -> dict[str, Any]:
    """The pod that hands the command to the head and prints its output. The operator sets what it runs. It is ended
    within two minutes of the loss of the head's node (see `submitter_probe`), and its next pod finds the next head."""
    container = {
        "name": "ray-job-submitter",
        "image": kube.image,
        "env": [{"name": "HOME", "value": "/tmp"}],
        "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        "securityContext": LOCKED,
        "livenessProbe": {
            "exec": {"command": ["python", "-m", "platform.kubernetes.submitter_probe"]},
            "periodSeconds": 15,
            "timeoutSeconds": 15,  # Python starts, and waits 5 s for an answer
            "failureThreshold": 5,
            "terminationGracePeriodSeconds": 5,  # a shell that waits for a command does not hear SIGTERM
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    spec = _spec("platform-worker", kube, container) | {"volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}]}
    return {"metadata": {"labels": labels | {"app.kubernetes.io/component": "submitter"}}, "spec": spec}


def head_shared_gb(kube: KubeConfig) -> int:
    """Nothing trains on the head: Ray's objects are all that it shares."""
    return max(1, kube.head_memory_gb // 4)


def cache_gb(config: Config) -> int:
    """Gi of disk for `storage.cache_gb`, which blocks in use may pass: Kubernetes would evict the pod."""
    return math.ceil(config.storage.cache_gb * 1e9 / 2**30 * 1.5)


def autoscaler(kube: KubeConfig) -> dict[str, Any]:
    """The container that the operator puts beside the head: it alone talks to Kubernetes' API."""
    return {
        "version": "v2",
        "idleTimeoutSeconds": kube.idle_s,
        "upscalingMode": "Default",
        "env": [{"name": "HOME", "value": "/tmp"}],
        "resources": {"requests": {"cpu": "200m", "memory": "512Mi"}, "limits": {"cpu": "500m", "memory": "1Gi"}},
        "securityContext": LOCKED,
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": TOKEN, "mountPath": TOKEN_PATH, "readOnly": True},
        ],
    }


def _ray_container(name: str, config: Config, kube: KubeConfig, shared_gb: int, *, cached: bool) -> dict[str, Any]:
    mounts = {"data": kube.mount, "tmp": "/tmp", "shm": "/dev/shm"} | ({"cache": CACHE} if cached else {})
    container: dict[str, Any] = {
        "name": name,
        "image": kube.image,
        "workingDir": kube.mount,  # so that relative paths of the command lie on the volume
        "env": [{"name": "HOME", "value": "/tmp"}, *({"name": key, "value": kube.env[key]} for key in kube.env)],
        "securityContext": LOCKED,
        "readinessProbe": _probe(period_s=5, failures=24),
        "livenessProbe": _probe(period_s=15, failures=20) | {"initialDelaySeconds": 60},  # a busy node answers late
        "volumeMounts": [{"name": key, "mountPath": path} for key, path in mounts.items()],
    }
    if kube.secrets:
        container["envFrom"] = [{"secretRef": {"name": each, "optional": True}} for each in kube.secrets]
    return container


def _ray_spec(
    account: str, config: Config, kube: KubeConfig, container: dict[str, Any], shared_gb: int, *, cached: bool
) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [
        {"name": "data", "persistentVolumeClaim": {"claimName": kube.claim}},
        {"name": "tmp", "emptyDir": {"sizeLimit": f"{SCRATCH_GB}Gi"}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{shared_gb}Gi"}},
    ]
    if cached:
        volumes.append({"name": "cache"} | _cache_volume(config, kube))
    spec = _spec(account, kube, container) | {"terminationGracePeriodSeconds": _grace_s(config) + DRAIN_S}
    if kube.priority_class is not None:
        spec["priorityClassName"] = kube.priority_class
    return spec | {"volumes": volumes}


def _spec(account: str, kube: KubeConfig, container: dict[str, Any]) -> dict[str, Any]:
    pull = {"imagePullSecrets": [{"name": each} for each in kube.pull_secrets]} if kube.pull_secrets else {}
    return {
        "restartPolicy": "Never",  # the operator makes a new pod; autoscaling v2 asks for it
        "serviceAccountName": account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # or every Service of the namespace becomes environment
        "securityContext": USER,
        **pull,
        "containers": [container],
    }


def _grace_s(config: Config) -> int:
    """For a last checkpoint, and for Ray to end."""
    return math.ceil(config.checkpoint.grace_s) + MARGIN_S


def _probe(period_s: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": "/api/healthz", "port": AGENT_PORT},
        "periodSeconds": period_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _resources(cpus: int, memory_gb: int, disk_gb: int = 0, gpus: dict[str, str] | None = None) -> dict[str, Any]:
    """Requests equal limits: a node never promises a training twice."""
    amounts = {"cpu": str(cpus), "memory": f"{memory_gb}Gi", **(gpus or {})}
    disk = {"ephemeral-storage": f"{disk_gb + SCRATCH_GB}Gi"}
    return {"requests": amounts | disk, "limits": amounts | disk}


def _cache_volume(config: Config, kube: KubeConfig) -> dict[str, Any]:
    size = f"{cache_gb(config)}Gi"
    if kube.cache_class is None:
        return {"emptyDir": {"sizeLimit": size}}
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": kube.cache_class,
        "resources": {"requests": {"storage": size}},
    }
    return {"ephemeral": {"volumeClaimTemplate": {"spec": claim}}}


def _token_volume() -> dict[str, Any]:
    """What `automountServiceAccountToken` would mount in every container of the head."""
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    return {"name": TOKEN, "projected": {"sources": sources}}


def _tolerations(kube: KubeConfig, gpus: bool) -> list[dict[str, Any]]:
    domain = kube.gpu_resource.partition("/")[0]
    marks = (
        [f"{domain}/gpu", kube.gpu_resource] if domain == "nvidia.com" else [kube.gpu_resource]
    )  # parts of GPUs, too
    keys = [*dict.fromkeys(marks)] if gpus else []
    keys += [SPOT_LABELS[kube.provider][0]] if kube.capacity == "spot" else []
    return [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in keys]


def _worker_affinity(kube: KubeConfig, labels: dict[str, str], *, near: bool) -> dict[str, Any]:
    affinity: dict[str, Any] = {}
    if kube.capacity != "any":
        affinity["nodeAffinity"] = _capacity(kube.provider, "In" if kube.capacity == "spot" else "NotIn")
    if near and kube.topology_key is not None:
        together = {
            "topologyKey": kube.topology_key,
            "labelSelector": {"matchLabels": labels | {"app.kubernetes.io/component": "worker"}},
        }
        affinity["podAffinity"] = {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": together}]
        }
    return affinity


def _off_spot(kube: KubeConfig) -> dict[str, Any]:
    """The head's: off every provider's spot nodes, as losing it costs an attempt. A wish where nothing says that there
    are others; with a queue it must be said, as Kueue takes the first flavor that has room."""
    off = {
        "matchExpressions": [
            {"key": key, "operator": "NotIn", "values": [spot]} for key, spot in sorted(SPOT_LABELS.values())
        ]
    }
    if kube.capacity == "any" and kube.queue is None:
        return {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": off}]}
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [off]}}


def _capacity(provider: str, operator: str) -> dict[str, Any]:
    """NotIn holds for nodes without the label, too."""
    key, spot = SPOT_LABELS[provider]
    term = {"matchExpressions": [{"key": key, "operator": operator, "values": [spot]}]}
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
