"""A cluster in which everything that `job=check` looks at is as the job needs it: a test takes one thing away.

In: the objects of a server, an overlay. Out: operator, nodes, classes, secrets and the status of all, as KubeRay 1.7.0,
Kueue 0.19 and Kubernetes 1.36 would show them.
"""

from typing import Any

import yaml

from tests.kube.cluster_objects import ClusterObjects
from tests.kube.overlays import Build

GATES = "RayClusterStatusConditions=true,RayJobDeletionPolicy=true,RayMultiHostIndexing=true,RayCronJob=false"
OPERATOR = {"app.kubernetes.io/name": "kuberay-operator", "app.kubernetes.io/instance": "kuberay-operator"}
PATIENCE = {"name": "RAYJOB_STATUS_CHECK_TIMEOUT_SECONDS", "value": "1800"}
ACTIVE = {"conditions": [{"type": "Active", "status": "True", "reason": "Ready", "message": "Can admit new workloads"}]}
GPU_NODE = {
    "nvidia.com/gpu.present": "true",
    "nvidia.com/gpu.product": "NVIDIA-H200",
    "pool": "h200",
    "cloud.google.com/gke-spot": "true",
}
CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


def furnish(objects: ClusterObjects, build: Build) -> None:
    """Apply the overlay to a cluster with operator, nodes and network plugin."""
    objects.add_build(build)
    objects.add("apps/v1", "deployments", operator(f"--feature-gates={GATES}"))
    for number in range(8):
        objects.add("v1", "nodes", node(f"gpu-{number}", cpu="95", memory="1000Gi", gpus=8, labels=GPU_NODE))
    on_demand = {"cloud.google.com/gke-provisioning": "standard"}
    objects.add("v1", "nodes", node("system-0", cpu="16", memory="60Gi", labels=on_demand))
    objects.add("apps/v1", "deployments", kueue())
    objects.add("v1", "configmaps", kueue_settings())
    objects.add("apps/v1", "daemonsets", daemon_set("cilium", "quay.io/cilium/cilium:v1.18.1"))
    objects.add("storage.k8s.io/v1", "storageclasses", storage_class("platform-shared"))
    objects.add("v1", "secrets", secret("platform-credentials", *CREDENTIALS))
    objects.one("persistentvolumeclaims", "platform-data")["status"] = {
        "phase": "Bound",
        "capacity": {"storage": "10Ti"},
    }
    quota = objects.one("resourcequotas", "platform")
    quota["status"] = {"hard": quota["spec"]["hard"], "used": dict.fromkeys(quota["spec"]["hard"], "0")}
    objects.add("discovery.k8s.io/v1", "endpointslices", endpoints("mlflow", ready=[True, True]))
    for queue in [*build.of("LocalQueue"), *build.of("ClusterQueue")]:
        objects.one(f"{queue['kind'].lower()}s", queue["metadata"]["name"])["status"] = {**ACTIVE}


def operator(*arguments: str, namespace: str = "kuberay-system", image: str = "quay.io/kuberay/operator:v1.7.0") -> Any:
    """The deployment of the Helm chart, which waits longer for a head than by default."""
    container = {"name": "kuberay-operator", "image": image, "command": ["/manager"], "args": list(arguments)}
    container["env"] = [PATIENCE]
    labels = OPERATOR | {"helm.sh/chart": "kuberay-operator-1.7.0"}
    pod = {"metadata": {"labels": OPERATOR | {"app.kubernetes.io/component": "kuberay-operator"}}}
    return {
        "metadata": {"name": "kuberay-operator", "namespace": namespace, "labels": labels},
        "spec": {"template": pod | {"spec": {"containers": [container]}}},
        "status": {"readyReplicas": 1},
    }


def kueue(*arguments: str, image: str = "registry.k8s.io/kueue/kueue:v0.19.2") -> Any:
    """The deployment of Kueue's Helm chart, which has its file of settings in a ConfigMap."""
    labels = {"app.kubernetes.io/name": "kueue", "control-plane": "controller-manager"}
    words = ["--config=/controller_manager_config.yaml", "--zap-log-level=2", *arguments]
    container = {"name": "manager", "image": image, "command": ["/manager"], "args": words}
    volume = {"name": "manager-config", "configMap": {"name": "kueue-manager-config"}}
    pod = {"containers": [container], "volumes": [volume]}
    return {
        "metadata": {"name": "kueue-controller-manager", "namespace": "kueue-system", "labels": labels},
        "spec": {"template": {"metadata": {"labels": labels}, "spec": pod}},
        "status": {"readyReplicas": 1},
    }


def kueue_settings(**settings: Any) -> Any:
    """The ConfigMap of its chart."""
    meta = {"name": "kueue-manager-config", "namespace": "kueue-system"}
    content = {"apiVersion": "config.kueue.x-k8s.io/v1beta2", "kind": "Configuration", **settings}
    return {"metadata": meta, "data": {"controller_manager_config.yaml": yaml.safe_dump(content)}}


def node(name: str, *, cpu: str, memory: str, gpus: int = 0, labels: dict[str, str] | None = None) -> Any:
    """A node; those with GPUs are tainted, as clouds do it."""
    offered = {"cpu": cpu, "memory": memory, "ephemeral-storage": "900Gi", "pods": "110"}
    taints = [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}] if gpus else []
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": {"taints": taints},
        "status": {
            "allocatable": offered | ({"nvidia.com/gpu": str(gpus)} if gpus else {}),
            "nodeInfo": {"kubeletVersion": "v1.36.0"},
        },
    }


def daemon_set(name: str, image: str, *arguments: str) -> Any:
    """A network plugin."""
    container = {"name": name, "image": image, "args": list(arguments)}
    return {
        "metadata": {"name": name, "namespace": "kube-system"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


def storage_class(name: str, *, default: bool = False, binding: str = "Immediate") -> Any:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {"metadata": {"name": name, "annotations": annotations}, "volumeBindingMode": binding}


def secret(name: str, *keys: str) -> Any:
    """As `kubectl create secret` leaves it: who set which field is in its metadata."""
    fields = {"f:data": {".": {}, **{f"f:{key}": {} for key in keys}}, "f:type": {}}
    managed = [{"manager": "kubectl-create", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields}]
    meta = {"name": name, "namespace": "platform", "managedFields": managed}
    return {"metadata": meta, "data": dict.fromkeys(keys, "bmV2ZXIgc2hvd24="), "type": "Opaque"}


def endpoints(service: str, *, ready: list[bool]) -> Any:
    labels = {"kubernetes.io/service-name": service}
    listed = [{"addresses": [f"10.0.0.{number}"], "conditions": {"ready": each}} for number, each in enumerate(ready)]
    return {"metadata": {"name": f"{service}-x1", "namespace": "platform", "labels": labels}, "endpoints": listed}
