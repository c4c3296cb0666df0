"""What this node is doing, under the names that MLflow's page of system metrics shows."""

import contextlib
import os
from typing import Any

import psutil
import pynvml
import torch

from platform.experiment.origin import cpu_model

MEGABYTE = 1e6
MIG = "MIG-"


def system_metrics() -> dict[str, float]:
    """CPU use of the node in percent, and memory of the node and of this process in megabytes (1e6 bytes)."""
    memory = psutil.virtual_memory()
    return {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),  # since the last call
        "system/system_memory_usage_megabytes": memory.used / MEGABYTE,
        "system/system_memory_usage_percentage": memory.percent,
        "system/process_memory_megabytes": psutil.Process().memory_info().rss / MEGABYTE,
    }


def device_name(device: torch.device) -> str:
    """What a worker computes on: the GPU's name, or the CPU's; empty where the driver does not say."""
    try:
        return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model()
    except RuntimeError:  # the training meets the same, and says it
        return ""


class Gpu:
    """One device by NVML, which any thread may ask: CUDA's own figures are of the calling thread's current device, and
    asking for them opens a context there, of half a gigabyte on the node's first GPU.

    Args:
        device: the worker's, as torch counts those that it sees.
    """

    def __init__(self, device: torch.device) -> None:
        self._names = nvml_names(os.environ.get("CUDA_VISIBLE_DEVICES", ""), device.index or 0, _uuid(device))
        self._handle: Any = None

    def metrics(self) -> dict[str, float]:
        """Memory and use of the GPU in percent.

        Raises:
            pynvml.NVMLError: the driver does not say; NVML is missing in some containers.
        """
        if self._handle is None:
            pynvml.nvmlInit()
            self._handle = _handle(self._names)
        memory = pynvml.nvmlDeviceGetMemoryInfo(self._handle)
        found = {"system/gpu_memory_usage_percentage": 100 * int(memory.used) / int(memory.total)}
        with contextlib.suppress(pynvml.NVMLError):  # a part of a GPU (MIG) has no figure of its own
            found["system/gpu_utilization_percentage"] = float(pynvml.nvmlDeviceGetUtilizationRates(self._handle).gpu)
        return found


def nvml_names(visible: str, number: int, uuid: str) -> list[str]:
    """What NVML may call a device, the likeliest first.

    Args:
        visible: CUDA_VISIBLE_DEVICES. Its numbers say nothing here: CUDA may count the fastest GPU first, NVML by
            bus. An entry for a part of a GPU (MIG) is its name; the UUID that CUDA tells may be the whole GPU's.
        number: the device's among the visible ones.
        uuid: as CUDA tells it, without a prefix.
    """
    entries = [entry.strip() for entry in visible.split(",")]
    entry = entries[number] if number < len(entries) else ""
    part = [entry] if entry.startswith(MIG) else []
    return [*part, f"GPU-{uuid}", f"{MIG}{uuid}"]


def _handle(names: list[str]) -> Any:
    for name in names[:-1]:
        with contextlib.suppress(pynvml.NVMLError):
            return pynvml.nvmlDeviceGetHandleByUUID(name)
    return pynvml.nvmlDeviceGetHandleByUUID(names[-1])


def _uuid(device: torch.device) -> str:
    return str(torch.cuda.get_device_properties(device).uuid)
