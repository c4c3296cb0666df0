"""What the page of GPU nodes says is what the pins and the rendered pods ask for."""

import re
from typing import Any

import pytest

from platform.checkout import ROOT
from tests.kube.lint import findings
from tests.kube.rendered import render

PAGE = (ROOT / "docs" / "gpu-nodes.md").read_text(encoding="utf-8")
# The oldest driver branch of a CUDA major: docs.nvidia.com/deploy/cuda-compatibility, "Minor Version Compatibility".
DRIVERS = {12: 525, 13: 580}


def cuda() -> tuple[int, int]:
    """Major and minor of the CUDA that the pinned torch brings."""
    (version,) = re.findall(r"^nvidia-cuda-runtime==(\d+\.\d+)\.", (ROOT / "constraints.txt").read_text(), re.M)
    major, minor = version.split(".")
    return int(major), int(minor)


def test_the_page_names_the_driver_that_the_pinned_torch_needs():
    major, minor = cuda()
    assert f"CUDA {major}.{minor}" in PAGE
    assert set(re.findall(r"\b(?:driver|branch) (\d{3})\b", PAGE)) == {str(DRIVERS[major])}


@pytest.mark.slow
def test_the_installed_torch_is_of_that_cuda():
    import torch

    assert torch.version.cuda in (None, ".".join(map(str, cuda())))  # None: a build for CPUs


def worker(job: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    return group["rayStartParams"], group["template"]["spec"]


def tolerated(pod: dict[str, Any]) -> list[str]:
    return [each["key"] for each in pod["tolerations"]]


@pytest.mark.slow
def test_a_part_of_a_gpu_is_counted_by_ray_and_its_node_tolerated():
    job = render("+experiment=googlenet", "cluster.kube.gpu_resource=nvidia.com/mig-2g.20gb")
    params, pod = worker(job)
    assert params["num-gpus"] == "1"
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/mig-2g.20gb"] == "1"
    assert tolerated(pod) == ["nvidia.com/gpu", "nvidia.com/mig-2g.20gb"]
    assert findings(job, "x") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ([], ["nvidia.com/gpu"]),
        (["cluster.kube.capacity=spot"], ["nvidia.com/gpu", "cloud.google.com/gke-spot"]),
        (
            ["cluster.kube.capacity=spot", "cluster.kube.provider=aks"],
            ["nvidia.com/gpu", "kubernetes.azure.com/scalesetpriority"],
        ),
        (["cluster.kube.gpu_resource=amd.com/gpu"], ["amd.com/gpu"]),
    ],
)
def test_whole_gpus_are_counted_by_the_operator_and_taints_tolerated(words: list[str], keys: list[str]):
    params, pod = worker(render("+experiment=googlenet", *words))
    assert "num-gpus" not in params
    assert tolerated(pod) == keys
