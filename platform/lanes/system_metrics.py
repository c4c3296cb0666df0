"""What a worker and its node are using, measured on the worker under the names of MLflow's own system metrics.

In: psutil and NVML. Out: figures, and what could not be measured; `system_series` makes metrics of them.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pynvml
import torch

from platform.experiment.origin import cpu_model
from platform.lanes.usage import Usage
from platform.text import first_line

MEGABYTE = 1e6
MIG = "MIG-"


class SystemMeter:
    """Measures one worker; what fails costs its own figures only.

    Args:
        device: the worker's.
        disk: a folder on the file system whose room matters; it need not be there yet.
        every_s: seconds from one measurement to the next.
    """

    def __init__(self, device: torch.device, disk: Path, every_s: float) -> None:
        self._device, self._disk, self._every_s = device, disk.absolute(), every_s
        self._process = psutil.Process()
        self._gpu: Gpu | None = None
        self._began: dict[str, float] = {}  # counters at the first measurement
        self._failures: dict[str, str] = {}
        self._number = -1

    def measure(self) -> Usage:
        """What is used now. Of the first measurement the use of the CPU means nothing: it is since the last one."""
        self._number += 1
        node = self._tried("CPU and memory", _cpu_and_memory) | self._tried("the disk's room", self._disk_room)
        counters = self._tried("the network", _network) | self._tried("what the disk does", _disk_traffic)
        for name, total in counters.items():
            self._began.setdefault(name, total)
        since = {name: (self._began[name], total) for name, total in counters.items()}
        process = self._tried("the process", self._of_process)
        gpu = self._of_gpu() if self._device.type == "cuda" else {}
        name = self._gpu.name if self._gpu else ""
        failures = tuple(f"measuring {what} failed ({why})" for what, why in self._failures.items())
        return Usage(self._number, self._every_s, node, since, process, gpu, name, failures)

    def _tried(self, what: str, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
        try:
            return measure()
        except Exception as error:  # of drivers and kernels of any kind
            self._failures[what] = f"{type(error).__name__}: {first_line(error)}"
            return {}

    def _disk_room(self) -> dict[str, float]:
        place = next(folder for folder in (self._disk, *self._disk.parents) if folder.exists())
        usage = psutil.disk_usage(str(place))
        return {
            "disk_usage_percentage": usage.percent,
            "disk_usage_megabytes": usage.used / MEGABYTE,
            "disk_available_megabytes": usage.free / MEGABYTE,
        }

    def _of_process(self) -> dict[str, float]:
        return {
            "process_cpus_busy": self._process.cpu_percent() / 100,  # since the last call
            "process_memory_megabytes": self._process.memory_info().rss / MEGABYTE,
        }

    def _of_gpu(self) -> dict[str, float]:
        def opened() -> dict[str, float]:
            self._gpu = self._gpu or Gpu(self._device)
            return {}

        self._tried("the GPU", opened)
        if not (gpu := self._gpu):
            return {}
        memory, use = self._tried("the GPU's memory", gpu.memory), self._tried("the GPU's use", gpu.utilization)
        return memory | use | self._tried("the GPU's power", gpu.power)


def _cpu_and_memory() -> dict[str, float]:
    memory = psutil.virtual_memory()
    return {
        "cpu_utilization_percentage": psutil.cpu_percent(),  # since the last call
        "cpus": float(psutil.cpu_count() or 1),
        "system_memory_usage_megabytes": memory.used / MEGABYTE,
        "system_memory_usage_percentage": memory.used / memory.total * 100,
    }


def _network() -> dict[str, float]:
    found: Any = psutil.net_io_counters()
    if found is None:
        raise RuntimeError("there are no counters of the network")
    return {
        "network_receive_megabytes": found.bytes_recv / MEGABYTE,
        "network_transmit_megabytes": found.bytes_sent / MEGABYTE,
    }


def _disk_traffic() -> dict[str, float]:
    found: Any = psutil.disk_io_counters()
    if found is None:  # in some containers
        raise RuntimeError("there are no counters of disks")
    return {
        "disk_read_megabytes": found.read_bytes / MEGABYTE,
        "disk_write_megabytes": found.write_bytes / MEGABYTE,
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

    Raises:
        pynvml.NVMLError: here and in each method: the driver does not say; NVML is missing in some containers.
    """

    def __init__(self, device: torch.device) -> None:
        pynvml.nvmlInit()
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        self._handle = _handle(nvml_names(visible, device.index or 0, _uuid(device)))
        self.name = _name(self._handle)

    def memory(self) -> dict[str, float]:
        """Memory in use."""
        memory = pynvml.nvmlDeviceGetMemoryInfo(self._handle)
        used = int(memory.used)
        return {
            "memory_usage_percentage": 100 * used / int(memory.total),
            "memory_usage_megabytes": used / MEGABYTE,
        }

    def utilization(self) -> dict[str, float]:
        """The share of the time in which it computed anything. A part of a GPU (MIG) has no such figure."""
        return {"utilization_percentage": float(pynvml.nvmlDeviceGetUtilizationRates(self._handle).gpu)}

    def power(self) -> dict[str, float]:
        """Electric power. A part of a GPU (MIG) has no such figure."""
        watts = pynvml.nvmlDeviceGetPowerUsage(self._handle) / 1000
        limit = pynvml.nvmlDeviceGetEnforcedPowerLimit(self._handle) / 1000
        return {"power_usage_watts": watts, "power_usage_percentage": 100 * watts / limit}


def _name(handle: Any) -> str:
    """As nvidia-smi counts them."""
    if not pynvml.nvmlDeviceIsMigDeviceHandle(handle):
        return f"gpu_{pynvml.nvmlDeviceGetIndex(handle)}"
    whole = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
    return f"gpu_{pynvml.nvmlDeviceGetIndex(whole)}_mig_{pynvml.nvmlDeviceGetGpuInstanceId(handle)}"


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
