"""Our own lint of Kubernetes manifests: a security checklist for every pod, and what only KubeRay's operator checks.

    python -m tests.kube.lint FILE...                       YAML files of one or more documents
    kubectl kustomize k8s/overlays/dev | python -m tests.kube.lint -

Prints one line `FILE: field is VALUE; remedy` for each finding; exits 1 where there is one, 2 where a file is no YAML.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.kube import builtin, schema
from tests.kube.cluster_rules import LONGEST_NAME, cluster_findings, name_findings
from tests.kube.job_rules import cron_findings, rayjob_findings
from tests.kube.names import metadata_errors
from tests.kube.overlay_rules import overlay_findings
from tests.kube.pods import HIDDEN, USERINFO, Finding, line, pod_findings, pods

WITHOUT_NAMESPACE = (
    "Namespace", "PriorityClass", "StorageClass", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition",
    "PersistentVolume", "ResourceFlavor", "ClusterQueue", "WorkloadPriorityClass", "Topology", "Cohort",
    "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
)  # fmt: skip


def findings(manifest: dict[str, Any], file: str) -> list[str]:
    """One line for each thing to change; kinds without pods are checked for names, namespace and secrets."""
    return [f"{file}: {error}" for error in metadata_errors(manifest)] + [
        line(file, finding) for finding in object_findings(manifest)
    ]


def whole_findings(objects: list[dict[str, Any]], file: str) -> list[str]:
    """One line for each thing to change that only an overlay as a whole shows."""
    return [line(place(each, file), finding) for each, finding in overlay_findings(objects)]


def place(manifest: dict[str, Any], file: str) -> str:
    return f"{file} ({manifest.get('kind')} {(manifest.get('metadata') or {}).get('name')})"


def object_findings(manifest: dict[str, Any]) -> Iterator[Finding]:
    kind, metadata = manifest.get("kind"), manifest.get("metadata") or {}
    if kind not in WITHOUT_NAMESPACE and not metadata.get("namespace"):
        yield ("metadata", "namespace"), None, "write one: an object without it lands in whatever is current"
    yield from plain_secrets(manifest)
    match kind:
        case "RayJob":
            yield from rayjob_findings(manifest)
        case "RayCronJob":
            yield from cron_findings(manifest)
        case "Job":
            yield from once_findings(manifest)
        case "RayCluster":
            yield from name_findings(metadata.get("name"), LONGEST_NAME)
            yield from cluster_findings(manifest.get("spec") or {}, ("spec",))
    for pod in pods(manifest):
        yield from pod_findings(pod)


def once_findings(manifest: dict[str, Any]) -> Iterator[Finding]:
    """A Job's pod cannot change: `kubectl apply` of the next image is refused unless the Job is another one then."""
    metadata, spec = manifest.get("metadata") or {}, manifest.get("spec") or {}
    if "ttlSecondsAfterFinished" not in spec:
        yield ("spec", "ttlSecondsAfterFinished"), None, "write one: there is a new Job for each version"
    if "generateName" in metadata:
        return
    for image in images(manifest):
        tag = re.sub(r"[^a-z0-9]+", "-", image.partition("@")[0].rpartition("/")[2].partition(":")[2].lower())
        if not str(metadata.get("name")).endswith(tag):
            remedy = f"end it in {tag}, its image's tag: a Job's pod cannot change; or make it an init container"
            yield ("metadata", "name"), metadata.get("name"), remedy


def images(manifest: dict[str, Any]) -> Iterator[str]:
    for pod in pods(manifest):
        for container in [*(pod.spec.get("initContainers") or []), *(pod.spec.get("containers") or [])]:
            yield str(container.get("image", ""))


def plain_secrets(manifest: dict[str, Any]) -> Iterator[Finding]:
    """Secrets as objects, and passwords in what everybody may read."""
    if manifest.get("kind") == "Secret":
        for name in ("data", "stringData"):
            for key in manifest.get(name) or {}:
                yield (name, key), HIDDEN, "make it with kubectl create secret, never in a file"
    if manifest.get("kind") == "ConfigMap":
        for key, text in (manifest.get("data") or {}).items():
            if USERINFO.search(str(text)):
                yield ("data", key), HIDDEN, "put it into a Secret and refer to that"


def unknown(manifest: dict[str, Any]) -> list[str]:
    """What the schemas of Kubernetes and KubeRay do not have; nothing for kinds of which there is no schema at hand."""
    kind = manifest.get("kind")
    if kind in ("RayJob", "RayCluster"):
        return schema.errors(manifest) if schema.CRDS.is_dir() else []
    try:
        return builtin.errors(manifest)
    except KeyError:
        return []


def documents(text: str) -> Iterator[dict[str, Any]]:
    for document in yaml.safe_load_all(text):
        if isinstance(document, dict):
            yield from document["items"] if document.get("kind") == "List" else [document]


def main(files: list[str]) -> int:
    if not files:
        print(__doc__, file=sys.stderr)
        return 2
    found: list[str] = []
    count = 0
    for file in files:
        try:
            text = sys.stdin.read() if file == "-" else Path(file).read_text()
            objects = list(documents(text))
            for document in objects:
                where = place(document, file)
                found += findings(document, where) + [f"{where}: {error}" for error in unknown(document)]
            found += whole_findings(objects, file)
            count += len(objects)
        except (OSError, yaml.YAMLError) as error:
            print(f"{file}: {' '.join(str(error).split())}", file=sys.stderr)
            return 2
    if not count:
        print(f"{' '.join(files)}: no object in it; give manifests, as kubectl kustomize prints them", file=sys.stderr)
        return 2
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
