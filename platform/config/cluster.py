"""`cluster`: where a run takes place, on how many workers, and what each gets."""

from dataclasses import dataclass
from typing import Any

from platform.config.checks import is_range, is_whole, require, require_at_least, seal
from platform.config.kubernetes import KubeConfig

NOT_FUSED, FUSED_IF_SMALL = "off", "auto"


@dataclass
class ClusterConfig:
    """Where it runs, and the resources of each member."""

    # None: a Ray of its own on this machine; "auto" or HOST:PORT: joins a cluster; http://HEAD:8265: is submitted to it
    address: str | None = None
    workers: Any = 1  # data-parallel workers of each member: a number, or {min: 2, max: 8} for what there is of these
    resize_check_s: float = 60.0  # how often it is looked for nodes that came: more lanes and, of a range, more workers
    cpus_per_worker: int = 1  # its decoding threads and, without a GPU, its arithmetic
    gpus_per_worker: int | None = None  # None: one where the cluster has GPUs, else none
    lanes: int = 0  # members side by side; 0: as many as the resources allow
    # Members, or trials of a sweep, that one worker trains together, their steps computed as one: off; at most so many;
    # or auto: on a GPU, those of a lane that are too small to keep it busy. Each ends as by itself, but for rounding
    fuse: Any = NOT_FUSED
    autoscaled: bool = False  # nodes are added on demand: lanes are not limited to those that are there
    # Of a cluster that is joined: workers that it is to have room for, whose nodes may come after the head. The command
    # of a RayJob has what its manifest asks for (of a range the minimum). 0: what is there is all that is waited for
    expected_workers: int = 0
    # Seconds to wait for them; then it goes on with what is there, if a member fits. And for the experiment's lock,
    # which a file server keeps for a while when the node that has it is lost
    expected_within_s: float = 600.0
    stall_timeout_s: int = 600  # a worker without progress for longer is killed, and its group restarted
    dashboard: bool = False  # of the local Ray
    render_to: str | None = None  # with kube: write the RayJob to this file instead of submitting it; "-": print it
    kube: KubeConfig | None = None  # cluster=kuberay: run as a RayJob on Kubernetes
    ship_code: bool = True  # send this checkout to the cluster; false: its machines have it (an image)
    fork_server: bool = True  # fork Ray's processes from one with everything imported (Linux only)

    def __post_init__(self) -> None:
        seal(self, "cluster.")
        require(
            is_whole(self.workers) or is_range(self.workers),
            f"cluster.workers is {self.workers!r}; give a number, or a range as {{min:2,max:8}}",
        )
        require_at_least("cluster.workers", self.min_workers, 1)
        require(
            self.min_workers <= self.max_workers,
            f"cluster.workers is {self.workers_text}; give a min that is at most the max",
        )
        require(self.resize_check_s > 0, f"cluster.resize_check_s is {self.resize_check_s}; give more than 0")
        require_at_least("cluster.cpus_per_worker", self.cpus_per_worker, 1)
        require_at_least("cluster.gpus_per_worker", self.gpus_per_worker or 0, 0)
        require_at_least("cluster.lanes", self.lanes, 0)
        require_at_least("cluster.stall_timeout_s", self.stall_timeout_s, 10)
        self._require_expected()
        self._require_fuse()
        require(
            not self.autoscaled or self.gpus_per_worker is not None,
            "cluster.autoscaled is true, and GPUs may come later; say cluster.gpus_per_worker (0: none)",
        )
        require(
            self.render_to is None or self.kube is not None,
            f"cluster.render_to is {self.render_to!r}, but only a RayJob can be rendered; add cluster=kuberay",
        )
        require(self.render_to != "", "cluster.render_to is empty; give a file, or - for the terminal")
        require(
            self.kube is None or self.address is None,
            f"cluster.address is {self.address}, and a RayJob has a cluster of its own; leave one of them out",
        )

    @property
    def lock_within_s(self) -> float:
        """Seconds to wait for the experiment's lock: a head that comes in the place of another may find that of a
        launcher whose node is gone."""
        return self.expected_within_s if self.expected_workers else 0.0

    def _require_expected(self) -> None:
        require_at_least("cluster.expected_workers", self.expected_workers, 0)
        require(
            self.expected_within_s >= 0,
            f"cluster.expected_within_s is {self.expected_within_s}; give seconds, 0 to wait for nothing",
        )
        if self.expected_workers == 0:
            return
        require(
            self.address is not None or self.kube is not None,
            f"cluster.expected_workers is {self.expected_workers}, and no node comes to a Ray of this machine's own; "
            "set cluster=ray, or leave it out",
        )
        require(
            self.gpus_per_worker is not None,
            f"cluster.expected_workers is {self.expected_workers}, and GPUs may come later; "
            "say cluster.gpus_per_worker (0: none)",
        )

    def _require_fuse(self) -> None:
        if str(self.fuse).lower() == "false":  # what YAML makes of off
            self.fuse = NOT_FUSED
        names = (NOT_FUSED, FUSED_IF_SMALL)
        require(
            self.fuse in names or (is_whole(self.fuse) and self.fuse >= 1),
            f"cluster.fuse is {self.fuse}; give {', '.join(names)}, or a number of members from 1 on",
        )
        require(
            self.fused == 1 or self.max_workers == 1,
            f"cluster.fuse is {self.fuse}, and cluster.workers is {self.workers_text}: members are trained together by "
            "one worker alone; set cluster.workers=1, or cluster.fuse=off",
        )

    @property
    def fused(self) -> int:
        """How many members are to be trained together at most; 1 unless `fuse` is a number."""
        return self.fuse if is_whole(self.fuse) else 1

    @property
    def min_workers(self) -> int:
        """The number of workers below which a member does not train."""
        return self.workers["min"] if isinstance(self.workers, dict) else self.workers

    @property
    def max_workers(self) -> int:
        """The number of workers that a member has when the cluster has the room."""
        return self.workers["max"] if isinstance(self.workers, dict) else self.workers

    @property
    def workers_text(self) -> str:
        """`8`, or `2 to 8`."""
        return f"{self.min_workers} to {self.max_workers}" if isinstance(self.workers, dict) else f"{self.workers}"
