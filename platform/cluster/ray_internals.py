"""Everything of Ray that is private or replaced, each with its reason. Seen in Ray 2.60; look at each again when the
version changes: `tests/cluster/test_ray_internals.py` fails then, and where one of them is gone.

In: this process. Out: settings of Ray, what only its internals tell, and `ray` as a command (`python -m` this module).
Ray is imported in the functions only.
"""

import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.util.placement_group import PlacementGroup

SEEN_IN = "2.60.0"
JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # a driver's settings, from whoever starts it: `ray._private.worker.init`
# The longest of Ray's sockets: `node.py` makes its path of date, process and number (.1 where the name is taken).
SOCKET = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.12"
DEFAULT_WORKER = "ray._private.workers.default_worker"  # the script of every process
CONTROLLER = (  # what Ray Train's controller imports
    "ray.train.v2._internal.execution.controller.controller",
    "ray.train.v2._internal.execution.worker_group.worker_group",
)
RAY = [sys.executable, "-m", "platform.cluster.ray_internals"]  # `ray`, from the checkout: see `main`


def settle() -> None:
    """Configure Ray in this process: no automatic start, no paragraphs on the terminal, workers of this environment."""
    import ray._private.auto_init_hook as auto_init
    import ray._private.ray_constants as constants
    import ray._private.services as services
    import ray._private.worker as driver

    auto_init.enable_auto_connect = False  # threads that outlive `disconnect` would start another Ray
    driver.print_to_stdstream = lambda *_, **__: None  # paragraphs on dead workers, of which we say a line
    # With `uv run` among this process's parents Ray would start every worker by that, in a copy of the directory.
    constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"  # of drivers that this one starts
    # The raylet takes commands apart as a shell does; Ray joins them for Windows, to which an apostrophe is a letter.
    services.subprocess = _with_shell_quotes()  # pyright: ignore[reportPrivateImportUsage]


def wait_by(get: Callable[..., Any], wait: Callable[..., Any]) -> None:
    """Replace `ray.get` and `ray.wait` for Ray Train and Ray Tune, which wait in them on daemon threads.

    `Trainer.fit` cannot be asked to end, and its thread must be out of Ray before `ray.shutdown` frees what it waits
    in.
    """
    import ray

    ray.get, ray.wait = get, wait  # pyright: ignore[reportAttributeAccessIssue]


def start_workers_by(script: Path) -> None:
    """Make the raylet that is started next run `script` first for each process, and start no processes in advance:
    those would be of another runtime environment than ours."""
    import ray._private.ray_constants as constants

    constants.SETUP_WORKER_FILENAME = str(script)  # joined to a folder's path, of which an absolute one leaves nothing
    os.environ["RAY_prestart_worker_first_driver"] = "0"  # noqa: SIM112  # Ray's spelling


@contextlib.contextmanager
def fewer_processes(*, dashboard: bool) -> Iterator[None]:
    """Have a Ray that is started in this block leave out Python processes that nobody here asks: the monitor of the
    autoscaler; the log monitor, which reads logs for drivers; and without a `dashboard` the API server, for which
    `ray.init` would wait before it starts the raylet."""
    from ray._private.node import Node

    names = ["start_monitor", "start_log_monitor", *([] if dashboard else ["start_api_server"])]
    own: dict[str, Any] = {name: getattr(Node, name) for name in names}
    for name in names:
        setattr(Node, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for name, function in own.items():
            setattr(Node, name, function)


def _with_shell_quotes() -> ModuleType:
    quoting = ModuleType("subprocess")
    quoting.__dict__.update(vars(subprocess), list2cmdline=shlex.join)
    return quoting


def log_folder() -> Path | None:
    """Where the Ray that this process is connected to writes its logs on this machine.

    Any thread may ask, at any time: Ray is not imported here. Of two threads that import it at once, one as a whole and
    the other a part, one is given a module that is not whole.
    """
    driver = sys.modules.get("ray._private.worker")
    node = getattr(driver, "_global_node", None)  # not there while it is imported
    return Path(node.get_logs_dir_path()) if node else None


def draining_nodes() -> dict[str, int]:
    """Ray's ids of the nodes that are about to leave the cluster, and when, in milliseconds since the epoch (0: not
    known)."""
    from ray._private.state import state

    return state.get_draining_nodes()


def placement_group(id_in_hex: str) -> "PlacementGroup":
    """The placement group of another process, by its id.

    Raises:
        ValueError: it is no such id.
    """
    from ray._raylet import PlacementGroupID
    from ray.util.placement_group import PlacementGroup

    return PlacementGroup(PlacementGroupID.from_hex(id_in_hex))


@contextlib.contextmanager
def actor_ids_of_the_system() -> Iterator[None]:
    """Make ids of actor classes with the operating system's random numbers for the time of the block, in which modules
    are imported before a fork.

    Ray's compiled part seeds its generator of ids when it makes the first one, and all forked processes would go on
    from there: two of them got the same placement group.
    """
    actor: Any = sys.modules.get("ray.actor")
    if actor is None:
        yield
        return
    kind = actor.ActorClassID
    actor.ActorClassID = SimpleNamespace(from_random=lambda: kind(os.urandom(len(kind.nil().binary()))))
    try:
        yield
    finally:
        actor.ActorClassID = kind


def new_id() -> bytes:
    """A new id of Ray's own generator."""
    from ray._raylet import UniqueID

    return UniqueID.from_random().binary()


def on_threads_set(call: Callable[[int], None]) -> None:
    """Call a function with the number of threads that Ray puts into OMP_NUM_THREADS before a task or actor runs, by
    `ray._private.utils`: libraries that are imported already do not read the variable again."""
    utils: Any = sys.modules.get("ray._private.utils")
    if utils is None:
        return
    set_variable = utils.set_omp_num_threads_if_unset

    def set_variable_and_call() -> bool:
        changed = set_variable()
        if changed:
            call(int(os.environ["OMP_NUM_THREADS"]))
        return changed

    utils.set_omp_num_threads_if_unset = set_variable_and_call


def name_process(title: str) -> None:
    """Set the title that `ps` shows, by Ray if it is imported."""
    if raylet := sys.modules.get("ray._raylet"):
        raylet.setproctitle(title)


def main() -> None:
    """Run `ray` as a command, configured: its own script names its interpreter in a `#!` line, which cannot hold a path
    with a space."""
    settle()
    import ray.scripts.scripts as scripts

    # Ray's client server, which nobody here asks for, is started by a line of bash without quotes, too.
    scripts.get_ray_client_dependency_error = lambda: "not here"  # pyright: ignore[reportPrivateImportUsage]
    scripts.main()


if __name__ == "__main__":
    main()
