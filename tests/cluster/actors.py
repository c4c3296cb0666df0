"""What runs in Ray's processes in `test_forked_actors`: it must be found there by its name."""

import os
from pathlib import Path
from typing import Any

import torch
from mlflow.tracking import MlflowClient
from ray import tune

from platform.cluster.fork_server.client import STATE


class Actor:
    """Answers what a process knows of itself."""

    def how(self) -> tuple[str, int, int]:
        return os.environ[STATE], os.getpid(), os.getppid()

    def threads(self) -> tuple[int, int, str]:
        import threadpoolctl

        blas = [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
        return torch.get_num_threads(), max(blas), os.environ["OMP_NUM_THREADS"]

    def draws(self) -> tuple[object, ...]:
        import random

        import numpy as np
        from ray._raylet import JobID, PlacementGroupID, UniqueID

        group = PlacementGroupID.of(JobID.from_int(1)).hex()
        return random.random(), float(np.random.rand()), torch.rand(1).item(), UniqueID.from_random().hex(), group

    def compiled(self) -> float:
        """By torch.compile: its own processes and threads, and a C++ compiler."""
        x = torch.linspace(-1, 1, 1000)
        return float((torch.compile(_some)(x) - _some(x)).abs().max())

    def tell_mlflow(self, uri: str) -> str:
        client = MlflowClient(uri)
        run = client.create_run(client.create_experiment("in a child"))
        client.log_metric(run.info.run_id, "loss", 0.5)
        client.set_terminated(run.info.run_id)
        return run.info.run_id

    def decoded(self, photo: bytes) -> tuple[int, ...]:
        """By nvImageCodec, in threads."""
        from concurrent.futures import ThreadPoolExecutor

        from platform.data.decode import EncodedImage

        with ThreadPoolExecutor(2) as threads:
            shapes = set(threads.map(lambda _: EncodedImage(photo).decode().shape, range(8)))
        return shapes.pop()

    def summed(self, rank: int, store: str) -> float:
        """Over gloo, with another."""
        import torch.distributed as dist

        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
        number = torch.tensor([float(rank + 1)])
        dist.all_reduce(number)
        dist.destroy_process_group()
        return number.item()


def _some(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(x) * x + x


def report_server(config: dict[str, Any]) -> None:
    """Of Ray Tune."""
    tune.report({"server": os.getppid()})


def note_server(config: dict[str, Any]) -> None:
    """Of a worker of Ray Train."""
    Path(config["file"]).write_text(str(os.getppid()))
