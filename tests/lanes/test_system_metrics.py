"""What a worker measures of itself and its node, and by what name NVML is asked for a worker's own GPU."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pynvml
import pytest
import torch

import platform.lanes.system_metrics as metrics
from platform.lanes.system_metrics import SystemMeter, nvml_names

CPU = torch.device("cpu")


def test_a_worker_without_gpu_has_all_other_figures(tmp_path: Path) -> None:
    meter = SystemMeter(CPU, tmp_path / "not" / "there yet", 10.0)
    meter.measure()
    began = time.monotonic()
    while time.monotonic() - began < 0.1:
        pass
    found = meter.measure()
    assert (found.number, found.every_s, found.failures) == (1, 10.0, ())
    assert found.process["process_memory_megabytes"] > 10
    assert found.process["process_cpus_busy"] > 0.05
    assert 0 < found.node["cpu_utilization_percentage"] <= 100
    disk, memory = psutil.disk_usage(str(tmp_path)), psutil.virtual_memory()
    assert found.node["disk_usage_megabytes"] == pytest.approx(disk.used / 1e6, rel=0.1)
    assert found.node["disk_available_megabytes"] == pytest.approx(disk.free / 1e6, rel=0.1)
    assert found.node["system_memory_usage_megabytes"] < memory.total / 1e6
    assert found.node["system_memory_usage_percentage"] <= 100
    assert not found.gpu


def test_counters_are_told_with_those_of_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    received = iter([5e6, 7.5e6, 9e6])
    counters = lambda: SimpleNamespace(bytes_recv=next(received), bytes_sent=1e6)  # noqa: E731
    monkeypatch.setattr(psutil, "net_io_counters", counters)
    meter = SystemMeter(CPU, tmp_path, 10.0)
    found = [meter.measure().counters for _ in range(3)]
    assert [each["network_receive_megabytes"] for each in found] == [(5.0, 5.0), (5.0, 7.5), (5.0, 9.0)]
    assert found[2]["network_transmit_megabytes"] == (1.0, 1.0)


def test_what_cannot_be_measured_is_said_and_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container without disks, whose NVML is missing."""
    monkeypatch.setattr(psutil, "disk_io_counters", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlInit", _no_driver)
    meter = SystemMeter(torch.device("cuda", 0), tmp_path, 10.0)
    meter.measure()
    found = meter.measure()
    assert sorted(found.failures) == [
        "measuring the GPU failed (NVMLError_LibraryNotFound: NVML Shared Library Not Found)",
        "measuring what the disk does failed (RuntimeError: there are no counters of disks)",
    ]
    assert not found.gpu
    assert {"process_memory_megabytes", "process_cpus_busy"} == set(found.process)
    assert "network_receive_megabytes" in found.counters


def _no_driver() -> None:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)


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


@pytest.mark.parametrize("part", [False, True])
def test_the_workers_own_gpu_is_measured_and_no_context_of_cuda_is_opened(
    part: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NVML as a machine with two GPUs, or a part of one, would answer."""

    def handle(name: str) -> str:
        if name != "GPU-of-cuda:1":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return name

    def of_whole(answer: Any) -> Any:
        def asked(handle: str) -> Any:
            if part:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return answer

        return asked

    def context(*args: Any) -> Any:
        raise AssertionError("CUDA was asked")

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-0,MIG-1")
    monkeypatch.setattr(metrics, "_uuid", lambda device: f"of-{device}")
    monkeypatch.setattr(torch.cuda, "mem_get_info", context)
    for name, answer in {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByUUID": handle,
        "nvmlDeviceIsMigDeviceHandle": lambda handle: part,
        "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": lambda handle: "whole",
        "nvmlDeviceGetGpuInstanceId": lambda handle: 7,
        "nvmlDeviceGetIndex": lambda handle: 3 if handle == "whole" else 1,
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=3_000_000, total=4_000_000),
        "nvmlDeviceGetUtilizationRates": of_whole(SimpleNamespace(gpu=42)),
        "nvmlDeviceGetPowerUsage": of_whole(300_000),
        "nvmlDeviceGetEnforcedPowerLimit": of_whole(600_000),
    }.items():
        monkeypatch.setattr(pynvml, name, answer)
    found = SystemMeter(torch.device("cuda", 1), tmp_path, 10.0).measure()
    whole = {"utilization_percentage": 42.0, "power_usage_watts": 300.0, "power_usage_percentage": 50.0}
    assert found.gpu == {"memory_usage_percentage": 75.0, "memory_usage_megabytes": 3.0} | ({} if part else whole)
    assert found.gpu_name == ("gpu_3_mig_7" if part else "gpu_1")
    assert len(found.failures) == (2 if part else 0)
