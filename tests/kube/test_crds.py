"""A RayJob is checked against KubeRay's definitions as an API server would, and every slip is named."""

from typing import Any

import pytest

from tests.kube.manifests import REMOVED, changed, rayjob
from tests.kube.schema import CRDS, errors

pytestmark = pytest.mark.skipif(not CRDS.is_dir(), reason="no ../shared/reference/kuberay-crds beside this checkout")

CLUSTER = "spec/rayClusterSpec"
HEAD = f"{CLUSTER}/headGroupSpec"
WORKERS = f"{CLUSTER}/workerGroupSpecs/0"
RAY_WORKER = f"{WORKERS}/template/spec/containers/0"
RULES = "spec/deletionStrategy/deletionRules"

SLIPS: dict[str, tuple[str, object, str]] = {
    "a misspelt field": (f"{WORKERS}/replcias", 1, "workerGroupSpecs[0].replcias is unknown; did you mean 'replicas'?"),
    "a field one level too high": ("spec/rayVersion", "2.60.0", "spec.rayVersion is unknown; "),
    "a misspelt field of a pod": (
        f"{RAY_WORKER}/volumeMount",
        [],
        "volumeMount is unknown; did you mean 'volumeMounts'?",
    ),
    "a misspelt field of the metadata": ("metadata/label", {}, "metadata.label is unknown; did you mean 'labels'?"),
    "a number where text belongs": (
        f"{HEAD}/rayStartParams/num-cpus",
        0,
        "rayStartParams.num-cpus is 0; must be of type string",
    ),
    "text where a number belongs": (f"{WORKERS}/maxReplicas", "2", "maxReplicas is '2'; must be of type integer"),
    "a number that is too large": ("spec/backoffLimit", 2**31, "spec.backoffLimit is 2147483648; "),
    "a quantity that is none": (
        f"{RAY_WORKER}/resources/limits/memory",
        "4 GB",
        "limits.memory is '4 GB'; write a quantity",
    ),
    "another choice": (
        f"{CLUSTER}/authOptions/mode",
        "tokens",
        "authOptions.mode is 'tokens'; must be one of disabled, token",
    ),
    "an autoscaler there is none of": (
        f"{CLUSTER}/autoscalerOptions/version",
        "v3",
        "version is 'v3'; must be one of v1, v2",
    ),
    "a required field gone": (f"{RAY_WORKER}/name", REMOVED, "containers[0].name is missing; it is required"),
    "no pod template": (f"{WORKERS}/template", REMOVED, "workerGroupSpecs[0].template is missing; it is required"),
    "the same port twice": (
        f"{HEAD}/template/spec/containers/0/ports/-",
        {"name": "again", "containerPort": 8265},
        "ports[3] is {'containerPort': 8265, 'protocol': 'TCP'} once more; ",
    ),
    "the same mount twice": (f"{RAY_WORKER}/volumeMounts/-", {"name": "tmp", "mountPath": "/tmp"}, "once more; "),
    "two statuses in a rule": (f"{RULES}/0/condition/jobDeploymentStatus", "Failed", "deletionRules[0].condition is "),
    "no status in a rule": (f"{RULES}/0/condition/jobStatus", REMOVED, "deletionRules[0].condition is "),
    "old and new rules at once": (
        "spec/deletionStrategy/onSuccess",
        {"policy": "DeleteSelf"},
        "spec.deletionStrategy is ",
    ),
    "an empty deletion strategy": ("spec/deletionStrategy", {}, "spec.deletionStrategy is {}; "),
    "managed by nobody": ("spec/managedBy", "me", "spec.managedBy is 'me'; "),
    "an upper-case name": ("metadata/name", "GoogLeNet", "metadata.name is 'GoogLeNet'; use lower-case letters"),
    "a label with a blank": ("metadata/labels/team", "my team", "metadata.labels.team is 'my team'; use letters"),
    "a label that is a number": ("metadata/labels/seed", 7, "metadata.labels.seed is 7; put it in quotes"),
    "a label of 64 characters": ("metadata/labels/a", "x" * 64, "use at most 63 characters, not 64"),
    "an API version there is none of": (
        "apiVersion",
        "ray.io/v2",
        "apiVersion is 'ray.io/v2'; must be one of ray.io/v1",
    ),
    "another kind": ("kind", "RayJobs", "kind is 'RayJobs'; must be one of RayCluster, RayJob"),
}


def test_the_rayjob_written_by_hand_would_be_accepted() -> None:
    assert errors(rayjob()) == []


@pytest.mark.slow
def test_its_cluster_alone_would_be_accepted() -> None:
    cluster = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "alone", "namespace": "platform"}}
    assert errors(cluster | {"spec": rayjob()["spec"]["rayClusterSpec"]}) == []


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_refused_once_with_its_field_and_what_would_fit(slip: str) -> None:
    path, value, said = SLIPS[slip]
    (error,) = errors(changed(rayjob(), path, value))
    assert said in error


def test_several_slips_are_all_named() -> None:
    broken: dict[str, Any] = rayjob()
    for path, value, _ in list(SLIPS.values())[:6]:
        broken = changed(broken, path, value)
    assert len(errors(broken)) == 6


def test_defaults_come_before_the_rules_and_leave_the_manifest_alone() -> None:
    manifest = changed(rayjob(), f"{WORKERS}/replicas", REMOVED)
    assert errors(manifest) == []
    assert "replicas" not in manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
