"""What this node is doing, under the names that MLflow's page of system metrics shows."""

import contextlib

import psutil
import torch

MEGABYTE = 1e6


def system_metrics() -> dict[str, float]:
    """Processor and memory of the node and of this process, and its GPU's memory if it has one."""
    memory = psutil.virtual_memory()
    found = {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),  # since the last call
        "system/system_memory_usage_megabytes": memory.used / MEGABYTE,
        "system/system_memory_usage_percentage": memory.percent,
        "system/process_memory_megabytes": psutil.Process().memory_info().rss / MEGABYTE,
    }
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        found["system/gpu_memory_usage_percentage"] = 100 * (total - free) / total
        with contextlib.suppress(Exception):  # NVML is missing in some containers
            found["system/gpu_utilization_percentage"] = torch.cuda.utilization()
    return found
