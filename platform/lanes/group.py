"""A lane of several workers: a Ray Train worker group, which starts anew where one of them fails.

In: a lane. Out: its members have ended; the launcher is told by the mailbox.
"""

from pathlib import Path

import ray.train
import ray.train.torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from platform.config.cluster import ClusterConfig
from platform.lanes.group_callback import GroupWatch
from platform.lanes.heartbeat import preemption_notice
from platform.lanes.lane import Lane
from platform.lanes.worker import run_lane


def train_lane(lane: Lane) -> None:
    """Train and evaluate the lane's members; Ray Train runs this on each worker of the lane's group."""
    context = ray.train.get_context()
    device = ray.train.torch.get_device()
    run_lane(lane, context.get_world_rank(), context.get_world_size(), device, preemption_notice())


def fit_lane(lane: Lane, gpus: int, storage: Path, name: str) -> None:
    """Run a lane as a Ray Train run; returns when its members have ended.

    Args:
        lane: its members.
        gpus: of each worker.
        storage: folder for Ray Train's own notes.
        name: of the run in there.
    """
    config = lane.members[0].config
    cluster = config.cluster
    TorchTrainer(
        train_lane,  # pyright: ignore[reportArgumentType]  # Ray hands it the config as it is, dict or not
        train_loop_config=lane,  # pyright: ignore[reportArgumentType]
        scaling_config=ScalingConfig(
            num_workers=_group_size(cluster),
            elastic_resize_monitor_interval_s=cluster.resize_check_s,
            use_gpu=gpus > 0,
            resources_per_worker={"CPU": cluster.cpus_per_worker} | ({"GPU": gpus} if gpus else {}),
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=-1),  # members count their starts: see member_state.py
            callbacks=[GroupWatch(lane.mailbox, lane.number, config.checkpoint.grace_s)],  # pyright: ignore[reportArgumentType]
        ),
        torch_config=TorchConfig(timeout_s=cluster.stall_timeout_s),
    ).fit()


def _group_size(cluster: ClusterConfig) -> int | tuple[int, int]:
    """A pair has Ray Train go on with fewer workers where some are lost, and take more where there are."""
    if cluster.min_workers == cluster.max_workers:
        return cluster.max_workers
    return cluster.min_workers, cluster.max_workers
