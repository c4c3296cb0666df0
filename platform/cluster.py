"""Ray: connect, see what there is, deal the members to lanes, and the mailbox workers report through."""

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.placement_group import remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from platform.checkout import ROOT
from platform.config.checks import CannotGoOn, ConfigError, first_line
from platform.config.cluster import ClusterConfig
from platform.fork_server.client import FORKED, STATE
from platform.fork_server.command import SETUP_WORKER
from platform.guard import MARK, guard
from platform.ray_internals import (
    draining_nodes,
    have_a_token,
    last_words,
    log_folder,
    logs_of,
    placement_group,
    scratch_folder,
    settle,
    start_workers_by,
)
from platform.redaction import redacted, shared_secrets, trust
from platform.runtime_env import SET_BY_RAY, fork_server, joined, local, start_fork_server

log = logging.getLogger("platform")

FORK_SERVER = "fork"  # a folder in that of a local Ray
GONE_AFTER_S = 5.0  # without a beat
ANSWER_S = 10.0  # of the mailbox
OBJECT_STORE_BYTES = 200_000_000  # reports are all that passes through it; shards are read by the workers
TURN_S = 0.5  # of waiting for Ray in a thread
SECRETS_WAIT_S = 60.0  # for the mailbox to answer
NOT_ALIVE_S, GIVEN_UP_AFTER_S = 60.0, 300.0  # for the first process; Python on a cold network disk takes its time
LEAVING_S = 10.0  # what a thread may need to come out of Ray
_guards: list["subprocess.Popen[bytes]"] = []  # of this process's local Ray
_fork_servers: list["subprocess.Popen[bytes]"] = []  # the next three: of it as well
_scratch: list[Path] = []  # its folder
_inside: dict[threading.Thread, threading.Event] = {}  # threads that work with Ray, and what has each of them leave it
_ray_get, _ray_wait = ray.get, ray.wait


@dataclass(frozen=True)
class Resources:
    """What the cluster has."""

    nodes: int
    cpus: int
    gpus: int


def connect(cluster: ClusterConfig, meanwhile: Callable[[], object] = lambda: None) -> Resources:
    """Start a Ray on this machine, or join `cluster.address`; returns what it has.

    `meanwhile` is called while the first process starts, which is other processes' work.

    Raises:
        ConfigError: no cluster answers there.
        CannotGoOn: none starts here, or it starts no processes.
    """
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "1")
    os.environ.setdefault("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "1")
    os.environ.setdefault("RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S", str(cluster.stall_timeout_s))
    if cluster.min_workers < cluster.max_workers:
        # After a node is lost Ray Train asks for the old size first, and for the new one when this has passed.
        os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "10")
    os.environ.setdefault("RAY_TRAIN_METRICS_ENABLED", "0")  # Prometheus gauges; MLflow has ours
    for name, value in SET_BY_RAY.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # no warning on machines without a GPU
    settle()
    ray.get, ray.wait = _get, _wait  # pyright: ignore[reportAttributeAccessIssue]  # Ray Train and Tune wait by them
    terminated = signal.getsignal(signal.SIGTERM)
    if cluster.address is None:
        _start_local(cluster)
    else:
        _join(cluster, cluster.address)
    if terminated is not signal.SIG_DFL and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminated)  # Ray has put its own handler in the place of the job's
    _have_a_process_started(meanwhile)
    total = ray.cluster_resources()
    return Resources(len(ray.nodes()), int(total.get("CPU", 0)), int(total.get("GPU", 0)))


def _have_a_process_started(meanwhile: Callable[[], object]) -> None:
    """Ray itself waits in silence for processes that cannot start. The first one of this node becomes the mailbox's.

    Raises:
        CannotGoOn: there is none after `GIVEN_UP_AFTER_S`.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    started = ray.remote(lambda: None).options(num_cpus=0, max_retries=0, scheduling_strategy=here).remote()
    meanwhile()
    said = "no process of Ray's has come to life on this machine in {:g} s{}"
    try:
        if not ray.wait([started], timeout=NOT_ALIVE_S)[0]:
            log.warning(said.format(NOT_ALIVE_S, f"; waiting on{last_words(log_folder())}"))
        ray.get(started, timeout=GIVEN_UP_AFTER_S - NOT_ALIVE_S)
    except GetTimeoutError:
        raise CannotGoOn(said.format(GIVEN_UP_AFTER_S, last_words(log_folder()))) from None
    except RayError as error:
        raise CannotGoOn(f"no process of Ray's can start on this machine ({first_line(error)})") from error


def prepare(cluster: ClusterConfig) -> None:
    """Begin with what a Ray of our own will need, which takes its time beside whatever else the launcher has to do.
    `connect` takes it, `disconnect` ends it.

    Raises:
        ConfigError: there is no place for a Ray.
    """
    if cluster.address is not None or _scratch:
        return
    if os.pathsep in str(ROOT):
        raise ConfigError(
            f"{ROOT} has a {os.pathsep!r} in its path, which parts the entries of PYTHONPATH; move the checkout"
        )
    # Workers need this checkout ahead of the standard library when their interpreter starts: see platform/__init__.
    path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    others = (os.path.abspath(part) for part in path if part)  # noqa: PTH100  # processes start elsewhere
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *(part for part in others if part != str(ROOT))])
    scratch, elsewhere = scratch_folder()
    if elsewhere:
        print(elsewhere, flush=True)
    _scratch.append(scratch)
    _guards.append(guard(scratch))
    os.environ[MARK] = str(scratch)
    if not fork_server(cluster).off:
        _fork_servers.append(start_fork_server(scratch / FORK_SERVER))


def _start_local(cluster: ClusterConfig) -> None:
    prepare(cluster)
    have_a_token()
    if not fork_server(cluster).off:
        start_workers_by(SETUP_WORKER)
    scratch = _scratch[0]
    try:
        ray.init(
            address="local",
            runtime_env=local(cluster, scratch / FORK_SERVER),
            _temp_dir=str(scratch),
            include_dashboard=cluster.dashboard,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,  # workers' warnings come through the mailbox
            logging_level=logging.ERROR,
            configure_logging=True,
        )
    except Exception as error:  # Ray's own word for a machine that is too busy
        said = last_words(logs_of(scratch))
        raise CannotGoOn(f"Ray did not start on this machine ({first_line(error)}){said}") from error


def _join(cluster: ClusterConfig, address: str) -> None:
    try:
        host, _, port = address.rpartition(":")
        if host and port.isdigit() and "/" not in host:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(
            address=address,
            runtime_env=joined(cluster),
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"no Ray cluster answers at cluster.address={address} ({reason}); check the address, or use cluster=local"
        ) from error


def disconnect() -> None:
    """Leave the cluster; a local one ends, and nothing of it is left."""
    _have_threads_leave()
    ray.shutdown()
    os.environ.pop(MARK, None)
    for server in _fork_servers:  # with its raylet, or before one came
        server.terminate()
    while _guards:
        _guards.pop().communicate()
    while _fork_servers:
        with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in the kernel, on a dead disk perhaps
            _fork_servers.pop().wait(LEAVING_S)
    while _scratch:
        shutil.rmtree(_scratch.pop(), ignore_errors=True)  # interrupted before somebody guarded it


def gpus_per_worker(cluster: ClusterConfig, resources: Resources) -> int:
    """What each worker gets.

    Raises:
        ConfigError: there are GPUs, but not one for each of the fewest workers.
    """
    if cluster.gpus_per_worker is None:
        if 0 < resources.gpus < cluster.min_workers and not cluster.autoscaled:
            raise ConfigError(
                f"cluster.workers is {cluster.workers_text}, the cluster has {resources.gpus} GPU(s); "
                "lower it, or set cluster.gpus_per_worker=0 to train on processors"
            )
        return 1 if resources.gpus else 0
    return cluster.gpus_per_worker


def lane_count(cluster: ClusterConfig, resources: Resources, members: int) -> int:
    """Worker groups of the most workers that fit side by side, at most one a member. Where not even one fits, one of
    fewer: Ray Train gives the first group all there is, and others would only wait for it to end. An autoscaler brings
    what lanes ask for, so that they must be there first.

    Raises:
        ConfigError: not even one of the fewest workers fits.
    """
    if cluster.autoscaled:
        return min(members, cluster.lanes or members)
    gpus = gpus_per_worker(cluster, resources)
    fits = resources.cpus // cluster.cpus_per_worker
    if gpus:
        fits = min(fits, resources.gpus // gpus)
    if fits < cluster.min_workers:
        raise ConfigError(
            f"{cluster.min_workers} workers of {cluster.cpus_per_worker} CPUs and {gpus} GPUs do not fit into "
            f"{resources.cpus} CPUs and {resources.gpus} GPUs; "
            "lower cluster.workers, cluster.cpus_per_worker or cluster.gpus_per_worker"
        )
    return min(members, max(1, fits // cluster.max_workers), cluster.lanes or members)


def deal(costs: dict[str, float], lanes: int) -> list[list[str]]:
    """Members to lanes, so that the lanes end at about the same time: the dearest first, each to the emptiest lane."""
    loads = [0.0] * lanes
    dealt: list[list[str]] = [[] for _ in range(lanes)]
    for name in sorted(costs, key=lambda name: -costs[name]):
        lane = loads.index(min(loads))
        loads[lane] += costs[name]
        dealt[lane].append(name)
    return dealt


@dataclass(frozen=True)
class Message:
    """From a worker to the launcher."""

    member: str
    kind: str  # metrics, state, ended, warning, unforked; fatal: nothing can go on
    step: int = 0
    metrics: dict[str, float] | None = None
    text: str = ""
    time: float = 0.0  # seconds since the epoch, by the mailbox


@dataclass(frozen=True)
class Beat:
    """Where one worker of a member is, once a second. Its times are by the worker's clock until the mailbox has it."""

    member: str
    lane: int
    rank: int
    world: int
    node: str  # host name
    node_id: str  # Ray's
    pid: int
    started: float  # this start of the member; times are seconds since the epoch
    at: float
    from_step: int  # of the checkpoint it went on from; -1: not known yet
    step: int  # global steps done
    first_step_at: float  # 0: none yet
    doing: str
    still_for_s: float  # since anything moved
    answered: int = 0  # the newest question for a checkpoint that has its answer on disk

    @property
    def moved_at(self) -> float:
        return self.at - self.still_for_s


@dataclass(frozen=True)
class GroupEvent:
    """What Ray Train does with the worker group of a lane."""

    lane: int
    kind: str  # failed, resized, preempted, waiting
    text: str
    time: float = 0.0  # seconds since the epoch, by the mailbox


@dataclass(frozen=True)
class Failure:
    """Why a worker's start of a member failed."""

    member: str
    rank: int
    text: str
    final: bool  # it would come again at every start
    of_a_peer: bool  # it only says that another worker is gone


def cause_of(failures: list[Failure]) -> Failure:
    """The one that the others follow from, by the order in which they were told."""
    return min(failures, key=lambda failure: (not failure.final, failure.of_a_peer))


class Mailbox:
    """An actor that holds what workers and their groups tell until the launcher fetches it: nobody waits for MLflow. It
    hands the launcher's question for checkpoints on to the workers.

    It is on the launcher's node and stamps what comes: the clocks of other nodes may be wrong by any amount."""

    def __init__(self) -> None:
        self._number = 0  # of what came last
        self._messages: deque[tuple[int, Message | GroupEvent]] = deque()
        self._beats: dict[tuple[str, int], tuple[int, Beat]] = {}  # the newest of each (member, rank)
        self._behind: dict[tuple[str, int], tuple[float, float]] = {}  # -> (a start, seconds its clock is behind)
        self._failures: dict[str, list[Failure]] = {}  # of each member's newest start
        self._asked = 0
        self._training: dict[str, tuple[float, Beat]] = {}  # when rank 0 of each member was heard, and its beat
        self._to_judge: dict[str, Any] = {}  # member -> scores that wait for a verdict
        self._groups: dict[int, list[str]] = {}  # placement groups of lanes
        how = os.environ.get(STATE, FORKED)
        if how != FORKED:
            self.put(Message("", "unforked", text=how))

    def trust(self, secrets: str) -> None:
        """The launcher's, of URLs. As a call's argument they are in memory alone: an actor's own are in Ray's store."""
        trust(secrets)

    def secrets(self) -> str:
        """What a worker needs to know to open URLs."""
        return shared_secrets()

    def put(self, message: Message | GroupEvent) -> None:
        self._messages.append((self._next(), replace(message, time=time.time(), text=redacted(message.text))))

    def beat(self, beat: Beat) -> int:
        """Take a beat; returns the number of the newest question for a checkpoint, 0 if there was none."""
        beat = self._by_own_clock(beat)
        self._beats[beat.member, beat.rank] = self._next(), beat
        if beat.rank == 0:
            self._training[beat.member] = time.monotonic(), beat
        return self._asked

    def _by_own_clock(self, beat: Beat) -> Beat:
        """The difference is taken once a start, so that its times stay the same from beat to beat."""
        now, worker = time.time(), (beat.member, beat.rank)
        if self._behind.get(worker, (None,))[0] != beat.started:
            self._behind[worker] = beat.started, now - beat.at
        behind = self._behind[worker][1]
        first_step_at = beat.first_step_at and beat.first_step_at + behind
        return replace(beat, at=now, started=beat.started + behind, first_step_at=first_step_at)

    def drain(self, received: int) -> tuple[int, list[Message | GroupEvent], list[Beat]]:
        """What has come after number `received`: the number of the last, messages, and the newest beats. It is kept
        until a later call says that it was received: answers are lost."""
        while self._messages and self._messages[0][0] <= received:
            self._messages.popleft()
        self._beats = {key: (number, beat) for key, (number, beat) in self._beats.items() if number > received}
        return self._number, [message for _, message in self._messages], [beat for _, beat in self._beats.values()]

    def _next(self) -> int:
        self._number += 1
        return self._number

    def failed(self, failure: Failure) -> list[Failure]:
        """Keep why a worker failed until the member starts again; returns all that were told of this start."""
        self._failures.setdefault(failure.member, []).append(failure)
        return self._failures[failure.member]

    def take_failures(self, member: str) -> list[Failure]:
        """Why the workers of the start before failed; it is forgotten."""
        return self._failures.pop(member, [])

    def ask_for_checkpoints(self) -> int:
        """Have every member save as soon as it can; returns the question's number."""
        self._asked += 1
        return self._asked

    def group_started(self, lane: int, placement_group: str) -> None:
        """What a lane's workers hold, by Ray's id: each start of a lane has its own."""
        self._groups.setdefault(lane, []).append(placement_group)

    def holding(self) -> list[int]:
        """The lanes with worker groups that were not taken yet."""
        return list(self._groups)

    def take_groups(self, lanes: list[int]) -> list[str]:
        """Those of some lanes that were not taken yet."""
        return [group for lane in lanes for group in self._groups.pop(lane, [])]

    def ask_judge(self, member: str, scores: Any) -> None:
        """Have a sweep's scheduler look at a trial's scores."""
        self._to_judge[member] = scores

    def to_judge(self, member: str) -> Any:
        """The scores that wait, or None."""
        return self._to_judge.get(member)

    def may_go_on(self, member: str) -> None:
        """The scheduler's verdict; of a trial that may not, the workers are ended instead."""
        self._to_judge.pop(member, None)

    def is_answered(self, number: int, lane: int | None = None) -> bool:
        """Whether every member that trains now (of one lane, or of all) has a checkpoint newer than the question."""
        living = [beat for heard, beat in self._training.values() if time.monotonic() - heard < GONE_AFTER_S]
        return all(beat.answered >= number for beat in living if lane in (None, beat.lane))


def release(placement_groups: Iterable[str]) -> None:
    """Give back what worker groups hold whose lane was ended from outside; workers that still live end. Ray itself
    holds it until the launcher ends, or needs its dashboard to see that the lane is gone."""
    for group in placement_groups:
        with contextlib.suppress(RayError, ValueError):
            remove_placement_group(placement_group(group))


def start_mailbox() -> Any:
    """On this node: if it dies, the launcher is gone anyway."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    mailbox: Any = ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()
    mailbox.trust.remote(shared_secrets())  # comes first: an actor takes its calls in their order
    return mailbox


def take_secrets(mailbox: Any) -> None:
    """Learn the secrets of URLs, in a worker: of another machine none are in its environment."""
    trust(ray.get(mailbox.secrets.remote(), timeout=SECRETS_WAIT_S))


def in_thread(run: Callable[[], None]) -> "Future[None]":
    """Run what works with Ray behind the back; where it waits it leaves Ray when this process does, by a Left. In a
    daemon: a process that ends does not wait for what hangs in Ray."""
    future: Future[None] = Future()

    def work() -> None:
        try:
            future.set_result(run())
        except BaseException as error:
            future.set_exception(error)
        finally:
            _inside.pop(threading.current_thread())

    thread = threading.Thread(target=work, daemon=True)
    _inside[thread] = threading.Event()
    thread.start()
    return future


class Left(BaseException):
    """In a thread that waits for Ray when this process leaves the cluster."""


def _get(refs: Any, *, timeout: float | None = None, **options: Any) -> Any:
    """`ray.get`, which a thread of `in_thread` calls in short turns.

    Raises:
        Left: this process leaves the cluster.
    """
    while _may_be_inside() and timeout is None:
        try:
            return _ray_get(refs, timeout=TURN_S, **options)
        except GetTimeoutError as error:
            if isinstance(error, RayTaskError):  # the task's own
                raise
    return _ray_get(refs, timeout=timeout, **options)


def _wait(*args: Any, **options: Any) -> Any:
    """`ray.wait`, which Ray Tune calls in short turns.

    Raises:
        Left: as above.
    """
    _may_be_inside()
    return _ray_wait(*args, **options)


def _may_be_inside() -> bool:
    """Whether this is a thread of `in_thread`; raises Left if it is to leave."""
    leave = _inside.get(threading.current_thread())
    if leave and leave.is_set():
        raise Left
    return leave is not None


def _have_threads_leave() -> None:
    """`ray.shutdown` frees what they wait in: it crashes the process when one of them looks there again."""
    end = time.monotonic() + LEAVING_S
    threads = list(_inside.items())
    for _, leave in threads:
        leave.set()
    for thread, _ in threads:
        if thread.is_alive():  # an interruption may have come before its start
            thread.join(max(0, end - time.monotonic()))


def lost_nodes(node_ids: Iterable[str]) -> list[str]:
    """Those of Ray's node ids that are not in the cluster any more, or about to leave it."""
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    leaving = draining_nodes()
    return [node for node in node_ids if node not in alive or node in leaving]


class Sender:
    """A worker's end of the mailbox. Never raises: a lost mailbox costs metrics, not the run."""

    def __init__(self, mailbox: Any, member: str) -> None:
        self._mailbox, self.member = mailbox, member

    def send(self, kind: str, *, step: int = 0, metrics: dict[str, float] | None = None, text: str = "") -> None:
        self._mailbox.put.remote(Message(self.member, kind, step, metrics, text))

    def beat(self, beat: Beat, wait_s: float = 0) -> int | None:
        """Send a beat, and wait so long for the number of the newest question for a checkpoint."""
        sent = self._mailbox.beat.remote(beat)
        with contextlib.suppress(RayError):
            return ray.get(sent, timeout=wait_s) if wait_s else None
        return None

    def failed(self, failure: Failure) -> list[Failure]:
        """Tell why this worker fails; returns what it and its peers have told so far, in the order they did."""
        with contextlib.suppress(RayError):
            return ray.get(self._mailbox.failed.remote(failure), timeout=ANSWER_S)
        return [failure]

    def take_failures(self) -> list[Failure]:
        """Why the workers of the member's start before failed, as far as they could tell."""
        with contextlib.suppress(RayError):
            return ray.get(self._mailbox.take_failures.remote(self.member), timeout=ANSWER_S)
        return []


class WarningForwarder(logging.Handler):
    """Sends this process's warnings to the launcher, which prints them."""

    def __init__(self, sender: Sender) -> None:
        super().__init__(logging.WARNING)
        self._sender = sender

    def emit(self, record: logging.LogRecord) -> None:
        self._sender.send("warning", text=record.getMessage())
