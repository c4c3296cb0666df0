"""What an API server keeps of overlays that are applied one after the other; changes of fixed fields are refused.

kept = Objects(); kept.apply(build("dev").objects)      RefusedError where Kubernetes would answer 422 to an update
"""

import copy
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from tests.kube.quantities import quantity

Object = dict[str, Any]
Key = tuple[str, str, str]  # kind, namespace, name
FIXED: dict[str, tuple[str, ...]] = {
    "Job": (
        "spec.completionMode", "spec.podFailurePolicy", "spec.podReplacementPolicy", "spec.selector",
        "spec.successPolicy", "spec.template",
    ),
    "Deployment": ("spec.selector",),
    "DaemonSet": ("spec.selector",),
    "ReplicaSet": ("spec.selector",),
    "Service": ("spec.clusterIP",),
    "RoleBinding": ("roleRef",),
    "ClusterRoleBinding": ("roleRef",),
    "PriorityClass": ("value", "preemptionPolicy"),
    "StorageClass": ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"),
}  # fmt: skip
ONLY_THESE_CHANGE: dict[str, tuple[str, ...]] = {  # of the spec
    "StatefulSet": (
        "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "minReadySeconds",
        "persistentVolumeClaimRetentionPolicy",
    ),
    "PersistentVolumeClaim": ("resources", "volumeAttributesClassName"),
}  # fmt: skip


class RefusedError(Exception):
    """What a server answers."""


class Objects:
    """Of one server. What is no longer applied stays, as `kubectl apply` leaves it."""

    def __init__(self) -> None:
        self.kept: dict[Key, Object] = {}

    def apply(self, objects: list[Object]) -> None:
        for each in objects:
            before = self.kept.get(key(each))
            fields = list(refused(before, each)) if before else []
            if fields:
                reasons = ", ".join(f"{field}: Invalid value: field is immutable" for field in fields)
                raise RefusedError(f'The {each["kind"]} "{each["metadata"]["name"]}" is invalid: {reasons}')
            self.kept[key(each)] = copy.deepcopy(each)


def key(manifest: Object) -> Key:
    metadata = manifest["metadata"]
    return manifest["kind"], metadata.get("namespace", ""), metadata["name"]


def refused(before: Object, after: Object) -> Iterator[str]:
    """Fields that differ and must not."""
    kind = after["kind"]
    fixed = FIXED.get(kind, ())
    if kind in ("ConfigMap", "Secret") and before.get("immutable"):
        fixed = ("data", "binaryData", "stringData")
    if kind in ONLY_THESE_CHANGE:
        names = before["spec"].keys() | after["spec"].keys()
        fixed = tuple(f"spec.{name}" for name in sorted(names - set(ONLY_THESE_CHANGE[kind])))
    yield from (path for path in fixed if at(before, path) != at(after, path))
    if kind == "PersistentVolumeClaim" and requested(after) < requested(before):
        yield "spec.resources.requests.storage"  # it may only grow


def at(manifest: Object, path: str) -> object:
    value: Any = manifest
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def requested(claim: Object) -> Decimal:
    return quantity(claim["spec"]["resources"]["requests"]["storage"])
