"""What the plan says of `training.compile` and `training.cuda_graphs`: lines, and what cannot work, before any start.

In: a member's config. Out: an error, or words.
"""

from platform.cluster.resources import may_have_gpu
from platform.config.checks import require
from platform.config.sections import Config
from platform.config.training import CUDA_GRAPHS, DEFAULT_MODE, GRAPHED_OPTIMISERS, NOT_COMPILED
from platform.config.transforms import TransformsConfig


def check_compiled(config: Config) -> None:
    """Whether the network can be compiled, as far as that is known here: on a Ray of this machine that is the compiler,
    too. Other machines are asked when their workers start.

    Raises:
        ConfigError: it cannot.
    """
    check_graphs(config)
    mode, cluster, training = config.training.compile, config.cluster, config.training
    if mode == NOT_COMPILED:
        return
    on_gpu = may_have_gpu(cluster)
    require(
        on_gpu or mode == DEFAULT_MODE,
        f"training.compile is {mode}, and there is no GPU to train on; set training.compile=default",
    )
    if mode == CUDA_GRAPHS:
        said = f"training.compile is {mode}, which replays CUDA graphs"
        require(
            cluster.max_workers == 1,
            f"{said} of one GPU, and cluster.workers is {cluster.workers_text}; set training.compile=default",
        )
        require(
            training.batch_size <= training.max_batch_per_worker,
            f"{said} of whole batches, and training.max_batch_per_worker is {training.max_batch_per_worker} with "
            f"training.batch_size={training.batch_size}; set training.compile=default, or give the first as much as "
            "the second",
        )
    if cluster.address is None and cluster.kube is None:
        from platform.models.compiled import require_compiler  # torch takes a second, which a usual plan need not

        require_compiler(mode, on_gpu=on_gpu)


def check_graphs(config: Config) -> None:
    """Whether whole steps can be CUDA graphs.

    Raises:
        ConfigError: they cannot.
    """
    if not config.training.cuda_graphs:
        return
    said = "training.cuda_graphs is true, whose graph is"
    workers, name = config.cluster.workers_text, config.optim.name
    require(config.cluster.max_workers == 1, f"{said} of one GPU, and cluster.workers is {workers}; give 1")
    fused = config.cluster.fused
    require(fused == 1, f"{said} of one member's step, and cluster.fuse is {fused}; set cluster.fuse=off")
    require(
        name in GRAPHED_OPTIMISERS,
        f"{said} of the optimiser, too, and optim.name is {name}; give one of {', '.join(GRAPHED_OPTIMISERS)}",
    )
    require(
        config.transforms == TransformsConfig(),
        f"{said} one of whole steps, and transforms draws which operations a step has; give transforms=none, or "
        "training.cuda_graphs=false",
    )
    require(
        may_have_gpu(config.cluster),
        f"{said} a GPU's, and there is none to train on; give training.cuda_graphs=false",
    )


def compiled_line(config: Config) -> list[str]:
    """The lines of the plan; none where nothing is compiled, and no step a graph."""
    graphs = ["graphs      each step is one CUDA graph, from the fourth on: experimental"]
    return _compiled(config) + (graphs if config.training.cuda_graphs else [])


def _compiled(config: Config) -> list[str]:
    if config.training.compile == NOT_COMPILED:
        return []
    sizes = len(config.training.sizes) or 1
    when = "in its first step" if sizes == 1 else f"in the first step of each of {sizes} sizes of images"
    return [f"compiled    {config.training.compile}: each worker compiles {when}, or finds it on its machine's disk"]
