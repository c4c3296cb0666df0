"""Lanes: Ray Train worker groups side by side, each with its share of the members.

In: a plan and the cluster's resources. Out: lanes under way, in threads of this process, that fill one mailbox.
"""

import functools
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from platform.cluster.resources import Resources, deal, gpus_per_worker, lane_count
from platform.cluster.threads import in_thread
from platform.config.cluster import ClusterConfig
from platform.data.storage import join
from platform.experiment.folder import ExperimentFolder, Record
from platform.experiment.plan import Plan
from platform.experiment.teacher import TEACHING, Teacher
from platform.lanes.group_callback import GroupWatch
from platform.lanes.lane import Lane, LaneMember
from platform.lanes.mailbox import start_mailbox
from platform.lanes.worker import train_lane


@dataclass(frozen=True)
class Lanes:
    """Worker groups under way."""

    futures: list[Future[None]]  # of the threads that run them
    mailbox: Any  # Ray's handle of a Mailbox

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.futures)


def start_lanes(
    planned: Plan, folder: ExperimentFolder, record: Record, names: list[str], resources: Resources
) -> Lanes:
    """Deal the members to lanes and start a Ray Train run for each, in threads of this process.

    Args:
        planned: the members' configs and costs.
        folder: the experiment's.
        record: of the experiment, which knows where its copies go.
        names: the members to run.
        resources: the cluster's.

    Raises:
        ConfigError: GPUs are wanted that the workers do not have.
    """
    config = planned.experiment.config
    cluster = config.cluster
    gpus = gpus_per_worker(cluster, resources)
    config.loader.require_gpu(available=gpus > 0)
    count = lane_count(cluster, resources, len(names))
    mailbox = start_mailbox()
    costs = {member.name: member.cost for member in planned.members if member.name in names}
    stamp = time.strftime("%Y%m%d-%H%M%S")
    taught = config.distill.teacher is not None and config.job in TEACHING
    teacher = Teacher.of(config).members if taught else []
    copies = join(config.checkpoint.copy_to, record.copies) if config.checkpoint.copy_to else None

    def fit(number: int, names: list[str]) -> None:
        members = [
            LaneMember(
                name,
                planned.experiment.members[name],
                folder.member(name).path,
                join(copies, name) if copies else None,
                teacher,
            )
            for name in names
        ]
        fit_lane(
            Lane(number, members, mailbox, export=config.export.models),
            gpus,
            folder.path / "ray",
            f"{stamp}-lane{number}",
        )

    dealt = deal(costs, count)
    futures = [in_thread(functools.partial(fit, number, members)) for number, members in enumerate(dealt)]
    return Lanes(futures, mailbox)


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
