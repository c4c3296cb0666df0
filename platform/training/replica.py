"""The network as its steps run it: compiled where that is set, and one of several replicas where there are workers.

In: the network, which stays what is saved and averaged. Out: a module of the same parameters.
"""

from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from platform.config.checks import require
from platform.config.training import CUDA_GRAPHS, DEFAULT_MODE, NOT_COMPILED, TrainingConfig
from platform.models.compiled import CompiledNetwork, require_compiler
from platform.training.worker import Worker


def as_run(network: nn.Module, training: TrainingConfig, worker: Worker) -> nn.Module:
    """The network, compiled and as a replica as far as that is asked for.

    Compiled inside the replica: PyTorch then cuts the graph at the borders of the buckets of gradients, so that they
    are exchanged while the backward pass goes on. `static_graph` of DDP is not used: what it spares is the search for
    unused parameters, which is off, and each accumulated micro-batch would be another graph.

    Args:
        network: on the worker's device.
        training: what is asked for.
        worker: this one.

    Raises:
        ConfigError: this worker cannot compile it.
    """
    on_gpu = worker.device.type == "cuda"
    _require(training.compile, worker, on_gpu=on_gpu)
    run = network if training.compile == NOT_COMPILED else CompiledNetwork(network, training.compile)
    if worker.world == 1:
        return run
    replica = DistributedDataParallel(
        run,
        device_ids=[worker.device.index] if on_gpu else None,
        gradient_as_bucket_view=True,  # a gradient is where it is exchanged: no copies to and fro, memory for one less
    )
    if training.gradient_compression == "bfloat16":
        replica.register_comm_hook(None, bf16_compress_hook)
    return replica


def _require(mode: str, worker: Worker, *, on_gpu: bool) -> None:
    require(
        mode != CUDA_GRAPHS or (on_gpu and worker.world == 1),
        f"training.compile is {mode}, which replays CUDA graphs of one GPU, and {worker.node} trains on "
        f"{worker.device.type} as one of {worker.world} worker(s); set training.compile=default",
    )
    require(
        on_gpu or mode in (NOT_COMPILED, DEFAULT_MODE),
        f"training.compile is {mode}, and {worker.node} trains on {worker.device.type}, for which default alone is "
        "tested; set training.compile=default",
    )
    require_compiler(mode, on_gpu=on_gpu)
