"""The job that is to run, as the cluster would see it: its pods with what the operator adds to them.

In: the rendered manifest and the config. Out: names, pods, what they ask for.
"""

import copy
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from platform.config.kubernetes import KubeConfig
from platform.config.sections import Config
from platform.kubernetes.check.amounts import Amounts, of_pod
from platform.kubernetes.client import Object

# Of KubeRay 1.7.0: the container that waits for the head in each worker pod.
_WAITS = {kind: {"cpu": "200m", "memory": "256Mi"} for kind in ("requests", "limits")}


@dataclass(frozen=True)
class PodGroup:
    """So many pods of a kind."""

    name: str
    count: int
    template: Object

    @property
    def spec(self) -> Object:
        """The spec of each pod."""
        return self.template["spec"]


@dataclass(frozen=True)
class Job:
    """A rendered RayJob or RayCronJob."""

    manifest: Object
    config: Config

    @property
    def kube(self) -> KubeConfig:
        """The section `cluster.kube`."""
        kube = self.config.cluster.kube
        assert kube is not None
        return kube

    @property
    def name(self) -> str:
        """Of the RayJob."""
        return self.manifest["metadata"]["name"]

    @property
    def namespace(self) -> str:
        """Of the RayJob and its pods."""
        return self.manifest["metadata"]["namespace"]

    @property
    def is_scheduled(self) -> bool:
        """Whether it is a RayCronJob, of which each RayJob is made."""
        return self.manifest["kind"] == "RayCronJob"

    @property
    def spec(self) -> Object:
        """Of the RayJob."""
        return self.manifest["spec"].get("jobTemplate", self.manifest["spec"])

    @property
    def tracking_server(self) -> str:
        """MLflow's address as pods are told of it; "": it is no server."""
        uri = self.kube.tracking_uri_of(self.config.tracking.uri).rstrip("/")
        return uri if uri.startswith(("http://", "https://")) else ""

    @property
    def places(self) -> dict[str, str]:
        """Key -> path or URL of what its pods read and write."""
        config = self.config
        others = {
            "output_dir": config.output_dir,
            "checkpoint.copy_to": config.checkpoint.copy_to,
            "data.source": config.data.source,
        }
        return {key: place for key, place in {**config.data.places, **others}.items() if place}

    @property
    def workers(self) -> tuple[int, int]:
        """The fewest and the most worker pods."""
        group = self.spec["rayClusterSpec"]["workerGroupSpecs"][0]
        return group["minReplicas"], group["maxReplicas"]

    @property
    def head(self) -> PodGroup:
        """The head, with the autoscaler's container where there is one."""
        cluster = self.spec["rayClusterSpec"]
        template = copy.deepcopy(cluster["headGroupSpec"]["template"])
        if cluster.get("enableInTreeAutoscaling"):
            own = {"name": "autoscaler"} | cluster.get("autoscalerOptions", {})
            template["spec"]["containers"].append(own)
        return PodGroup("head", 1, template)

    @property
    def worker(self) -> PodGroup:
        """The fewest worker pods, with the container that waits for the head."""
        template = copy.deepcopy(self.spec["rayClusterSpec"]["workerGroupSpecs"][0]["template"])
        waits = {"name": "wait-gcs-ready", "resources": _WAITS}
        template["spec"]["initContainers"] = [*template["spec"].get("initContainers", []), waits]
        return PodGroup("worker", self.workers[0], template)

    @property
    def submitter(self) -> PodGroup:
        """The pod that hands over the command."""
        return PodGroup("submitter", 1, self.spec["submitterPodTemplate"])

    def pods(self, workers: int) -> list[PodGroup]:
        """All pods, with so many workers."""
        return [self.head, PodGroup("worker", workers, self.worker.template), self.submitter]

    def takes(self, kind: str, workers: int) -> Amounts:
        """Requests or limits of all its pods together, with so many workers."""
        together: Amounts = {}
        for group in self.pods(workers):
            for resource, number in of_pod(group.spec, kind).items():
                together[resource] = together.get(resource, Decimal(0)) + group.count * number
        return together


def labels_of(template: Object) -> dict[str, Any]:
    """The labels of a pod template."""
    return template.get("metadata", {}).get("labels") or {}
