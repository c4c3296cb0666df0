"""Which modules the fork server imports for a launch: what its processes need and no more, as the first waits.

In: the section `cluster`. Out: two lists of modules.
"""

from dataclasses import dataclass

from platform.cluster.fork_server.preload import FIRST, FIRST_OF_GROUPS, GROUPS, WITH_RAY
from platform.config.cluster import ClusterConfig


@dataclass(frozen=True)
class Preloaded:
    """What is imported before the fork."""

    first: tuple[str, ...]
    with_ray: tuple[str, ...]  # these import Ray

    @classmethod
    def of(cls, cluster: ClusterConfig, *, tuned: bool = False) -> "Preloaded":
        """What a launch's processes need.

        Args:
            cluster: the section of the config.
            tuned: whether Ray Tune runs trials.
        """
        return ALL if tuned or cluster.max_workers > 1 else WITHOUT_GROUPS


WITHOUT_GROUPS = Preloaded(
    (
        *FIRST,
        "platform.data.train_loader",  # readers and decoders
        "platform.training.loop",
        "platform.evaluation.predict",
        "platform.models.googlenet",
        "platform.packing.shard",  # tasks of job=pack
        "webdataset.writer",  # the same
    ),
    (
        *WITH_RAY,
        "platform.lanes.worker",  # a worker's side of training
        "platform.lanes.lone_worker",  # the same
    ),
)
# With Ray Train and Ray Tune, whose imports take as long as all others beside torch.
ALL = Preloaded(
    (*WITHOUT_GROUPS.first, *FIRST_OF_GROUPS),
    (*WITHOUT_GROUPS.with_ray, *GROUPS, "platform.lanes.group", "platform.tune.trial"),
)
