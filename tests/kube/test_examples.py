"""The RayJobs of k8s/jobs name what the overlays have."""

from typing import Any

import pytest
import yaml

from tests.kube.overlays import build
from tests.kube.test_rayjob import COMMANDS, EXAMPLES, job_of

OVERLAYS = {"googlenet-ens-dev": "dev", "queued": "queue"}  # the others run on the gpu overlay


def example(name: str) -> dict[str, Any]:
    return job_of(yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text()))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_tracking_server_is_where_they_look(name: str):
    (service,) = [
        each for each in build(OVERLAYS.get(name, "gpu")).of("Service") if each["metadata"]["name"] == "mlflow"
    ]
    (port,) = service["spec"]["ports"]
    assert f"tracking.uri=http://mlflow:{port['port']}" in example(name)["spec"]["entrypoint"]


def test_the_queued_example_names_the_queue_and_the_class_of_the_overlay():
    built, labels = build("queue"), example("queued")["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] in _names(built.of("LocalQueue"))
    assert labels["kueue.x-k8s.io/priority-class"] in _names(built.of("WorkloadPriorityClass"))


def test_the_queue_has_all_that_the_queued_example_asks_for():
    (queue,) = build("queue").of("ClusterQueue")
    (group,) = queue["spec"]["resourceGroups"]
    cluster = example("queued")["spec"]["rayClusterSpec"]
    for each in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        for container in each["template"]["spec"]["containers"]:
            assert container["resources"]["requests"].keys() <= set(group["coveredResources"])


def _names(objects: list[dict[str, Any]]) -> set[str]:
    return {each["metadata"]["name"] for each in objects}
