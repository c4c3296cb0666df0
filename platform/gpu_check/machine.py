"""What the self-test ran on, and what of the platform: for the head of its table and its JSON.

In: a device. Out: names and versions; "unknown" where nothing says it.
"""

import datetime
import os
import subprocess
import sys
from dataclasses import dataclass

import torch
from torch.cuda import nccl

from platform.checkout import ROOT
from platform.cluster.resources import cpus_here

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Machine:
    """As text, but for the counts."""

    device: str  # its name
    kind: str  # cuda or cpu
    devices: int  # of that kind
    memory_gb: float  # of the device; 0: a CPU's is not asked for
    torch_version: str
    cuda: str  # that torch was built for
    driver: str
    cudnn: str
    nccl: str
    python: str
    cpus: int
    commit: str
    date: str  # UTC

    @classmethod
    def of(cls, device: torch.device) -> "Machine":
        """Of this process."""
        on_gpu = device.type == "cuda"
        return cls(
            device=torch.cuda.get_device_name(device) if on_gpu else _cpu_name(),
            kind=device.type,
            devices=torch.cuda.device_count() if on_gpu else 1,
            memory_gb=round(torch.cuda.get_device_properties(device).total_memory / 1e9, 1) if on_gpu else 0.0,
            torch_version=torch.__version__,
            cuda=torch.version.cuda or "none",
            driver=_answer("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if on_gpu else "none",
            cudnn=str(torch.backends.cudnn.version() if on_gpu else "none"),
            nccl=".".join(map(str, nccl.version())) if on_gpu else "none",
            python=sys.version.split()[0],
            cpus=cpus_here(),
            commit=os.environ.get("COMMIT") or _answer("git", "-C", str(ROOT), "rev-parse", "HEAD"),
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )

    @property
    def line(self) -> str:
        """All of it that a reader compares, in a line."""
        several = f"{self.devices} x " if self.devices > 1 else ""
        memory = f", {self.memory_gb:g} GB" if self.memory_gb else ""
        versions = f"torch {self.torch_version}, CUDA {self.cuda}, driver {self.driver}"
        libraries = f"cuDNN {self.cudnn}, NCCL {self.nccl}; Python {self.python}, {self.cpus} CPUs"
        code = f"commit {self.commit[:12]}, {self.date}"
        return f"{several}{self.device}{memory}; {versions}, {libraries}; {code}"


def no_gpu() -> str:
    """Why there is no CUDA device, and what to do, in a line."""
    if torch.version.cuda is None:
        return (
            f"torch {torch.__version__} was built without CUDA; install one that was (make setup installs it), or give "
            "--device cpu"
        )
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden in ("", "-1"):
        return f"CUDA_VISIBLE_DEVICES is {hidden!r}, which hides every GPU; unset it, or give --device cpu"
    return (
        f"torch {torch.__version__} sees no CUDA device on this machine; check that nvidia-smi lists one and that its "
        f"driver runs CUDA {torch.version.cuda} (docs/gpu-nodes.md), or give --device cpu"
    )


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), UNKNOWN)
    except OSError:
        return UNKNOWN


def _answer(*command: str) -> str:
    """The first line that a program prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return next(iter(done.stdout.split("\n")), "").strip() or UNKNOWN
