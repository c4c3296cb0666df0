"""What is wrong with an overlay as a whole, though each of its objects is right.

In: the objects that kustomize prints. Out: findings: our images that nobody could pull.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from tests.kube.pods import Finding, pods

OURS = ("platform", "platform-mlflow")


def overlay_findings(objects: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Finding]]:
    """(object, finding) of images without a registry.

    A name without one is looked for at Docker Hub, where ours are not. On one machine, `dev` and `kind`, they are
    loaded into its nodes: these overlays have a database in the namespace. Single manifests are no overlay.
    """
    named = {(each.get("kind"), (each.get("metadata") or {}).get("name")) for each in objects}
    if ("Deployment", "mlflow") not in named or ("StatefulSet", "postgres") in named:
        return
    for each in objects:
        for pod in pods(each):
            for kind in ("initContainers", "containers"):
                for number, container in enumerate(pod.spec.get(kind) or []):
                    image = str(container.get("image") or "")
                    name = image.partition("@")[0].partition(":")[0]
                    if name in OURS:
                        remedy = (
                            f"say where it is: images: [{{name: {name}, newName: REGISTRY/{name}}}] in your overlay"
                        )
                        yield each, ((*pod.at, kind, number, "image"), image, remedy)
