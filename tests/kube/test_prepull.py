"""The component that brings the image to GPU nodes before the first job."""

from pathlib import Path

import pytest

from platform.config.kubernetes import KubeConfig
from tests.kube import builtin
from tests.kube.components import brought, with_component
from tests.kube.lint import findings, whole_findings
from tests.kube.overlays import OVERLAYS, build
from tests.kube.reach import selects

MORE = "images: [{name: platform, newName: registry.test/platform, newTag: 0.1.0-abc}]\n"


def test_it_is_valid_and_holds_the_image_that_jobs_use(tmp_path: Path) -> None:
    plain, named = tmp_path / "plain", tmp_path / "named"
    plain.mkdir()
    named.mkdir()
    found = brought("gpu", "prepull", plain)
    assert [each["kind"] for each in found.objects] == ["ServiceAccount", "DaemonSet"]
    for each in found.objects:
        assert builtin.errors(each) == []
        assert findings(each, "prepull") == []
    pod = found.one("DaemonSet", "prepull")["spec"]["template"]
    assert [each["image"] for each in pod["spec"]["containers"]] == [KubeConfig().image]
    assert pod["metadata"]["labels"]["app.kubernetes.io/part-of"] == "platform"
    (container,) = brought("gpu", "prepull", named, MORE).one("DaemonSet", "prepull")["spec"]["template"]["spec"][
        "containers"
    ]
    assert container["image"] == "registry.test/platform:0.1.0-abc"


def test_its_process_ends_at_once_with_the_pod(tmp_path: Path) -> None:
    """`command` would take the place of the image's init, and a sleep that is process 1 does not hear SIGTERM."""
    spec = brought("gpu", "prepull", tmp_path).one("DaemonSet", "prepull")["spec"]["template"]["spec"]
    assert all("command" not in container for container in spec["containers"])


def test_it_goes_to_nodes_with_gpus_whoever_labelled_them(tmp_path: Path) -> None:
    spec = brought("gpu", "prepull", tmp_path).one("DaemonSet", "prepull")["spec"]["template"]["spec"]
    assert "nodeSelector" not in spec  # it would have to hold besides
    required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    gpus = [
        {"nvidia.com/gpu.present": "true"},
        {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"},
        {"kubernetes.azure.com/accelerator": "nvidia"},
        {"karpenter.k8s.aws/instance-gpu-count": "8"},
        {"eks.amazonaws.com/instance-gpu-count": "8"},
    ]
    for labels in gpus:
        assert any(selects(term, labels) for term in required["nodeSelectorTerms"]), labels
    for labels in ({}, {"nvidia.com/gpu.present": "false"}, {"cloud.google.com/gke-nodepool": "cpus"}):
        assert not any(selects(term, labels) for term in required["nodeSelectorTerms"]), labels


@pytest.mark.slow
def test_an_image_without_a_registry_is_named_with_the_remedy_where_nodes_pull(tmp_path: Path) -> None:
    (said,) = whole_findings(with_component("gpu", "prepull", tmp_path).objects, "ours")
    assert said.startswith("ours (DaemonSet prepull): spec.template.spec.containers[0].image is ")
    image = KubeConfig().image
    assert f"'{image}'; say where it is: images: [{{name: platform, newName: REGISTRY/platform}}]" in said
    assert whole_findings(with_component("kind", "prepull", tmp_path).objects, "loaded") == []
    assert whole_findings(with_component("gpu", "prepull", tmp_path, MORE).objects, "named") == []


@pytest.mark.slow
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_of_the_overlays_come_from_a_registry_or_are_loaded(overlay: str) -> None:
    assert whole_findings(build(overlay).objects, overlay) == []


@pytest.mark.slow
def test_an_overlay_that_names_no_registry_at_all_is_noticed_too() -> None:
    said = whole_findings(build("base").objects, "base")
    assert len(said) == 2
    assert all("newName: REGISTRY/platform-mlflow" in each for each in said)
