"""What a node measures, and by what name NVML is asked for a worker's own GPU."""

from typing import Any

import pynvml
import pytest
import torch

import platform.lanes.system_metrics as metrics
from platform.lanes.system_metrics import Gpu, nvml_names, system_metrics


def test_a_node_without_gpu_has_the_other_figures() -> None:
    found = system_metrics()
    assert found["system/process_memory_megabytes"] > 10
    assert not [name for name in found if "gpu" in name]


@pytest.mark.parametrize(
    ("visible", "number", "names"),
    [
        ("", 1, ["GPU-ab-1", "MIG-ab-1"]),
        ("3,2", 1, ["GPU-ab-1", "MIG-ab-1"]),  # 2 of CUDA may be any of NVML
        ("GPU-ff, GPU-ab", 1, ["GPU-ab-1", "MIG-ab-1"]),  # may be short; CUDA knows all of it
        ("MIG-11,MIG-22", 1, ["MIG-22", "GPU-ab-1", "MIG-ab-1"]),
    ],
)
def test_a_device_is_asked_for_by_its_own_identity(visible: str, number: int, names: list[str]) -> None:
    assert nvml_names(visible, number, "ab-1") == names


def test_the_workers_own_gpu_is_measured_and_no_context_of_cuda_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML as a machine with two GPUs and a part of one would answer."""

    def handle(name: str) -> str:
        if name != "GPU-of-cuda:1":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return name

    def memory(handle: str) -> Any:
        return type("Memory", (), {"used": 3, "total": 4})

    def utilization(handle: str) -> Any:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    def context(*args: Any) -> Any:
        raise AssertionError("CUDA was asked")

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-0,MIG-1")
    monkeypatch.setattr(metrics, "_uuid", lambda device: f"of-{device}")
    monkeypatch.setattr(torch.cuda, "mem_get_info", context)
    for name, answer in {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByUUID": handle,
        "nvmlDeviceGetMemoryInfo": memory,
        "nvmlDeviceGetUtilizationRates": utilization,
    }.items():
        monkeypatch.setattr(pynvml, name, answer)
    found = Gpu(torch.device("cuda", 1)).metrics()
    assert found["system/gpu_memory_usage_percentage"] == 75.0
    assert "system/gpu_utilization_percentage" not in found
