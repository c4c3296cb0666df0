"""Start a Ray on this machine or join a cluster, and disconnect again.

In: the section `cluster`. Out: a Ray that this process is connected to, whose processes a fork server starts. After
`disconnect` nothing of a local Ray is left.
"""

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from platform.checkout import ROOT
from platform.cluster.arrival import expected
from platform.cluster.cleanup import MARK, guard
from platform.cluster.fork_server.command import SETUP_WORKER
from platform.cluster.node_logs import copy_now
from platform.cluster.ray_internals import log_folder, settle, start_workers_by, wait_by
from platform.cluster.resources import Resources, require_fit_here
from platform.cluster.runtime_env import SET_BY_RAY, fork_server, joined, local, start_fork_server
from platform.cluster.scratch import have_a_token, last_words, logs_of, scratch_folder
from platform.cluster.threads import LEAVING_S, get_in_turns, have_threads_leave, wait_in_turns
from platform.config.checks import CannotGoOn, ConfigError
from platform.config.cluster import ClusterConfig
from platform.text import first_line

log = logging.getLogger("platform")
FORK_SERVER = "fork"  # a folder in that of a local Ray
OBJECT_STORE_BYTES = 200_000_000  # reports are all that passes through it; shards are read by the workers
NOT_ALIVE_S, GIVEN_UP_AFTER_S = 60.0, 300.0  # for the first process; Python on a cold network disk takes its time
_guards: list["subprocess.Popen[bytes]"] = []  # of this process's local Ray
_fork_servers: list["subprocess.Popen[bytes]"] = []  # the next three: of it as well
_scratch: list[Path] = []  # its folder


def connect(cluster: ClusterConfig, meanwhile: Callable[[], object] = lambda: None) -> Resources:
    """Start a Ray on this machine, or join the one at `cluster.address`.

    Args:
        cluster: the section of the config.
        meanwhile: called while Ray's first process starts, for which this one only waits.

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
    settle()
    wait_by(get_in_turns, wait_in_turns)
    terminated = signal.getsignal(signal.SIGTERM)
    if cluster.address is None:
        _start_local(cluster)
    else:
        _join(cluster, cluster.address)
    if terminated is not signal.SIG_DFL and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminated)  # Ray has put its own handler in the place of the job's
    _have_a_process_started(meanwhile)
    return expected(cluster, resources_now)


def resources_now() -> Resources:
    """Nodes, CPUs and GPUs of the cluster that this process is connected to, as far as it knows that they live."""
    total = ray.cluster_resources()
    nodes = sum(node["Alive"] for node in ray.nodes())
    return Resources(nodes, int(total.get("CPU", 0)), int(total.get("GPU", 0)))


def _have_a_process_started(meanwhile: Callable[[], object]) -> None:
    """Check that Ray starts a process on this node: for one that cannot start it waits without a message. The mailbox
    will use that process.

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
    """Start the folder and the fork server of a local Ray early, beside the launcher's other work. `connect` uses them,
    `disconnect` ends them. Of a cluster it is only asked whether it answers, before anything is written.

    Raises:
        ConfigError: no folder can be made for it, its workers do not fit here, or no cluster answers.
    """
    if cluster.address is not None:
        _require_answer(cluster.address)
        return
    if _scratch:
        return
    require_fit_here(cluster)
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
    except Exception as error:  # what Ray raises on a machine that is too busy
        said = last_words(logs_of(scratch))
        raise CannotGoOn(f"Ray did not start on this machine ({first_line(error)}){said}") from error


def _join(cluster: ClusterConfig, address: str) -> None:
    _require_answer(address)
    try:
        ray.init(
            address=address,
            runtime_env=joined(cluster),
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise _no_cluster(address, error) from error


def _require_answer(address: str) -> None:
    """Check that something listens there: Ray itself would try for minutes.

    Raises:
        ConfigError: nothing does.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> ConfigError:
    reason = str(error).splitlines()[0]
    return ConfigError(
        f"no Ray cluster answers at cluster.address={address} ({reason}); check the address, or use cluster=local"
    )


def disconnect() -> None:
    """Disconnect from the cluster; a local one is shut down, and its folder removed."""
    have_threads_leave()
    copy_now()
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
        shutil.rmtree(_scratch.pop(), ignore_errors=True)  # of a start that was interrupted before its clean-up process
