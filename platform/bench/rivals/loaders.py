"""Which loaders are measured, how their programs are started, and what their documentation offers for resuming."""

import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from platform.checkout import ROOT

PROGRAMS = Path(__file__).parent / "programs"
ENVIRONMENT = ROOT / ".venv-rivals"  # of `make rivals`


@dataclass(frozen=True)
class Loader:
    """One row of the tables."""

    title: str
    program: str  # file in programs/
    module: str = ""  # that must be importable in the environment of the rivals; empty: in this project's
    state: str = ""  # what the documentation has for resuming; empty: nothing
    normalised: bool = True  # on the CPU
    workers: int | None = None  # that all ranks have together; None: two for each
    one_process: bool = False  # one process has all ranks


LOADERS = {
    "platform": Loader(
        "this project, uint8, normalising on the device",
        "read_platform.py",
        state="ShardDataset.state_dict",
        normalised=False,
    ),
    "platform_normalised": Loader(
        "this project, normalising on the CPU", "read_platform.py", state="ShardDataset.state_dict"
    ),
    "imagefolder": Loader("torchvision ImageFolder + DataLoader", "read_imagefolder.py", "torchvision"),
    "webdataset": Loader("webdataset", "read_webdataset.py", "webdataset"),
    "energon": Loader(
        "Megatron-Energon",
        "read_energon.py",
        "megatron.energon",
        "save_state_rank, energon checkpoint redist",
        workers=6,
    ),
    "litdata": Loader("LitData", "read_litdata.py", "litdata", "StreamingDataLoader.state_dict"),
    "streaming": Loader("MosaicML Streaming", "read_streaming.py", "streaming", "StreamingDataLoader.state_dict"),
    "ray_data": Loader("Ray Data", "read_ray_data.py", "ray.data", one_process=True),
    "dali": Loader("DALI on the CPU", "read_dali.py", "nvidia.dali", "DALIGenericIterator.checkpoints"),
}


@cache
def missing(name: str) -> str:
    """Why a loader cannot be measured here; empty: it can."""
    module = LOADERS[name].module
    if not module:
        return ""
    if not python(name).exists():
        return f"there is no {ENVIRONMENT.name}; run make rivals"
    done = subprocess.run([python(name), "-c", f"import {module}"], capture_output=True, text=True, cwd="/")
    if done.returncode == 0:
        return ""
    said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return f"import {module} fails: {said[-1][:200]}"


def python(name: str) -> Path:
    """The interpreter that has the loader's library."""
    return ENVIRONMENT / "bin" / "python" if LOADERS[name].module else Path(sys.executable)
