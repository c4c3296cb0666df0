"""Data-parallel steps in several processes: NCCL over the GPUs there are, gloo over CPUs, against one process.

Each replica trains on its share of the same global batches; a network without batch norm, whose dropout follows from
the samples, then takes the same steps, but for the order of sums.
"""

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import ProcessContext, start_processes
from torch.nn.parallel import DistributedDataParallel

from platform.checkout import ROOT
from platform.config.training import TrainingConfig
from platform.data.pixels import Pixels
from platform.gpu_check.context import Context
from platform.gpu_check.difference import Difference, relative
from platform.gpu_check.precision import without_tf32
from platform.gpu_check.results import Results
from platform.gpu_check.sizes import NARROW
from platform.gpu_check.trainings import CPU, Case, network_of, part_of
from platform.training.optim import optimiser
from platform.training.replica import as_run
from platform.training.step import StepConfig, train_step
from platform.training.worker import Worker

CHANGE, COMPRESSED = 1e-2, 5e-2  # tolerances: in float32, and with gradients exchanged in bfloat16
PATIENCE_S = 180.0  # for processes that import torch and meet


@dataclass(frozen=True)
class Group:
    """Processes that train together."""

    backend: str
    world: int
    device: str  # of rank r: "cpu", "cuda:0", or "cuda:{rank}"
    compression: str = "none"

    @property
    def name(self) -> str:
        """For the table."""
        compressed = "" if self.compression == "none" else f", gradients in {self.compression}"
        return f"DDP {self.backend}, {self.world} process(es){compressed}"

    def device_of(self, rank: int) -> torch.device:
        """The device of one of them."""
        return torch.device(self.device.format(rank=rank))


def replicas(context: Context, results: Results) -> None:
    """The change of the weights in every group that this machine can form."""
    for number, group in enumerate(groups(context.device, torch.cuda.device_count())):
        folder = context.folder / f"replicas{number}"
        folder.mkdir()
        change = changes(group, folder)
        (folder / "alone").mkdir()
        alone = Group("none", 1, str(context.device))
        step(0, alone, folder / "alone")
        reference = torch.load(folder / "alone" / "0.pt")
        tolerance = CHANGE if group.compression == "none" else COMPRESSED
        apart = [Difference("change", relative(change[0], reference), tolerance)]
        if group.world > 1:
            apart.append(Difference("ranks", max(relative(each, change[0]) for each in change[1:]), 0.0))
        results.compare(group.name, apart, "against one process on the same batches")


def groups(device: torch.device, gpus: int) -> list[Group]:
    """What this machine can form; on one GPU two processes share it over gloo, as NCCL refuses that."""
    if device.type != "cuda":
        return [Group("gloo", 2, "cpu"), Group("gloo", 2, "cpu", "bfloat16")]
    found = [Group("nccl", 1, "cuda:0")]
    if gpus == 1:
        return [*found, Group("gloo", 2, "cuda:0")]
    several = 2 if gpus < 4 else 4 if gpus < 8 else 8  # that divide a batch of eight
    return [*found, Group("nccl", several, "cuda:{rank}"), Group("nccl", several, "cuda:{rank}", "bfloat16")]


def changes(group: Group, folder: Path) -> list[list[torch.Tensor]]:
    """How the parameters of each rank change.

    Raises:
        TimeoutError: the processes did not end in time; they have been killed.
        Exception: what one of them raised.
    """
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    started = start_processes(step, (group, folder), nprocs=group.world, join=False, start_method="spawn")
    assert started is not None
    _joined(started)
    return [torch.load(folder / f"{rank}.pt") for rank in range(group.world)]


def _joined(started: ProcessContext) -> None:
    for _ in range(int(PATIENCE_S)):
        if started.join(timeout=1.0):
            return
    for process in started.processes:
        process.kill()
    raise TimeoutError(f"the processes did not end within {PATIENCE_S:.0f} s")


def step(rank: int, group: Group, folder: Path) -> None:
    """Train on a rank's shares; the change of its parameters goes to `folder/RANK.pt`.

    Args:
        rank: of this process.
        group: its; of the backend "none": the process is alone.
        folder: of all ranks.
    """
    case, device = Case(NARROW, 64), group.device_of(rank)
    worker = Worker(rank=rank, world=group.world, device=device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(1)
    if group.backend != "none":
        rendezvous, patience = f"file://{folder}/rendezvous", timedelta(seconds=PATIENCE_S)
        dist.init_process_group(
            group.backend, init_method=rendezvous, rank=rank, world_size=group.world, timeout=patience
        )
    try:
        with without_tf32():
            change = _trained(case, worker, group)
    finally:
        if group.backend != "none":
            dist.destroy_process_group()
    torch.save(change, folder / f"{rank}.pt")


def _trained(case: Case, worker: Worker, group: Group) -> list[torch.Tensor]:
    network = network_of(case, worker.device, channels_last=True).train()
    optimizer, pixels = optimiser(network, case.optim), Pixels(case.config.data, worker.device)
    before = [each.detach().clone() for each in network.parameters()]
    run = _as_run(network, worker, group)
    for batch in case.batches():
        share = part_of(batch, worker.rank, worker.world)
        train_step(run, optimizer, share, pixels, StepConfig.of(case.config), torch.float32, world=worker.world)
    return [(now.detach() - then).to(CPU) for now, then in zip(network.parameters(), before, strict=True)]


def _as_run(network: nn.Module, worker: Worker, group: Group) -> nn.Module:
    """As trainings have it; a replica of one process as well, for it is what one GPU can try of NCCL."""
    if group.backend != "none" and worker.world == 1:
        return DistributedDataParallel(network, device_ids=[worker.device.index], gradient_as_bucket_view=True)
    return as_run(network, TrainingConfig(gradient_compression=group.compression), worker)
