"""Start a Ray on this machine or join a cluster, and disconnect again.

In: the section `cluster`. Out: a Ray that this process is connected to, whose processes a fork server starts. After
`disconnect` nothing of a local Ray is left.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from platform.cluster.arrival import expected
from platform.cluster.fork_server.command import SETUP_WORKER
from platform.cluster.node_logs import copy_now
from platform.cluster.preloaded import Preloaded
from platform.cluster.preparation import FORK_SERVER, end, folder, no_cluster, prepare, require_answer
from platform.cluster.ray_internals import fewer_processes, log_folder, settle, start_workers_by, wait_by
from platform.cluster.resources import Resources
from platform.cluster.runtime_env import SET_BY_RAY, fork_server, joined, local
from platform.cluster.scratch import have_a_token, last_words, logs_of
from platform.cluster.threads import get_in_turns, have_threads_leave, wait_in_turns
from platform.config.checks import CannotGoOn
from platform.config.cluster import ClusterConfig
from platform.marks import mark
from platform.text import first_line

log = logging.getLogger("platform")
OBJECT_STORE_BYTES = 200_000_000  # reports are all that passes through it; shards are read by the workers
NOT_ALIVE_S, GIVEN_UP_AFTER_S = 60.0, 300.0  # for the first process; Python on a cold network disk takes its time


def connect(
    cluster: ClusterConfig,
    meanwhile: Callable[[], object] = lambda: None,
    *,
    tuned: bool = False,
    asks: bool = True,
) -> Resources:
    """Start a Ray on this machine, or join the one at `cluster.address`.

    Args:
        cluster: the section of the config.
        meanwhile: called while Ray's first process starts, for which this one only waits.
        tuned: whether Ray Tune runs trials; the same as for `prepare`.
        asks: try whether Ray starts processes; False: `require_processes` is called with one that is needed anyway.

    Returns:
        nodes, CPUs and GPUs of the cluster, when `cluster.expected_workers` are there.

    Raises:
        ConfigError: no cluster answers at the address.
        CannotGoOn: Ray does not start here, or starts no processes; or the workers that are expected do not come.
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
    mark("Ray asked for")
    settle()
    wait_by(get_in_turns, wait_in_turns)
    terminated = signal.getsignal(signal.SIGTERM)
    if cluster.address is None:
        _start_local(cluster, tuned=tuned)
    else:
        _join(cluster, cluster.address, Preloaded.of(cluster, tuned=tuned))
    if terminated is not signal.SIG_DFL and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminated)  # Ray has put its own handler in the place of the job's
    mark("Ray is there")
    started = _first_process() if asks else None
    meanwhile()
    if started is not None:
        require_processes(started)
    return expected(cluster, resources_now)


def resources_now() -> Resources:
    """Nodes, CPUs and GPUs of the cluster that this process is connected to, as far as it knows that they live."""
    total = ray.cluster_resources()
    nodes = sum(node["Alive"] for node in ray.nodes())
    return Resources(nodes, int(total.get("CPU", 0)), int(total.get("GPU", 0)))


def _first_process() -> Any:
    """Ray's reference to the answer of a process on this node."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(lambda: None).options(num_cpus=0, max_retries=0, scheduling_strategy=here).remote()


def require_processes(started: Any) -> None:
    """Check that Ray starts processes on this node: for one that cannot start it waits without a message.

    Args:
        started: Ray's reference to what the first of them answers.

    Raises:
        CannotGoOn: there is none after `GIVEN_UP_AFTER_S`.
    """
    said = "no process of Ray's has come to life on this machine in {:g} s{}"
    try:
        if not ray.wait([started], timeout=NOT_ALIVE_S)[0]:
            log.warning(said.format(NOT_ALIVE_S, f"; waiting on{last_words(log_folder())}"))
        ray.get(started, timeout=GIVEN_UP_AFTER_S - NOT_ALIVE_S)
        mark("first process is there")
    except GetTimeoutError:
        raise CannotGoOn(said.format(GIVEN_UP_AFTER_S, last_words(log_folder()))) from None
    except RayError as error:
        raise CannotGoOn(f"no process of Ray's can start on this machine ({first_line(error)})") from error


def _start_local(cluster: ClusterConfig, *, tuned: bool) -> None:
    prepare(cluster, tuned=tuned)
    have_a_token()
    if not fork_server(cluster).off:
        start_workers_by(SETUP_WORKER)
    scratch = folder()
    try:
        with fewer_processes(dashboard=cluster.dashboard):
            ray.init(
                address="local",
                runtime_env=local(cluster, scratch / FORK_SERVER, Preloaded.of(cluster, tuned=tuned)),
                _temp_dir=str(scratch),
                include_dashboard=cluster.dashboard,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=False,  # workers' warnings come through the mailbox
                logging_level=logging.ERROR,
                configure_logging=True,
            )
    except Exception as error:  # what Ray raises on a machine that is too busy
        said = last_words(logs_of(scratch))
        raise CannotGoOn(f"Ray did not start on this machine ({first_line(error)}){said}") from error


def _join(cluster: ClusterConfig, address: str, preloaded: Preloaded) -> None:
    require_answer(address)
    try:
        ray.init(
            address=address,
            runtime_env=joined(cluster, preloaded),
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise no_cluster(address, error) from error


def disconnect() -> None:
    """Disconnect from the cluster; a local one is shut down, and its folder removed."""
    have_threads_leave()
    copy_now()
    ray.shutdown()
    end()
