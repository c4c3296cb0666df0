"""The modules that are imported before the fork, each with its reason. Importing them must start no thread, open no
connection, not touch CUDA and make no ids of Ray; `require_forkable` and `require_own_ids` check that."""

import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Container, Iterable
from pathlib import Path

from platform.cluster.ray_internals import CONTROLLER, DEFAULT_WORKER, actor_ids_of_the_system, new_id
from platform.marks import FILE as MARKS

FIRST = {
    "numpy": "arrays, everywhere",
    "torch": "the longest of all: 1.3 s of CPU",
    "torch._dynamo": "an optimiser's first zero_grad imports it: 1 s before the first step",
    "threadpoolctl": "tells numpy's BLAS how many threads it may have",
}
FIRST_OF_GROUPS = {"pandas": "ray.train imports it", "pyarrow": "ray.train imports it"}
# Ray's compiled part reads RAY_JOB_ID, RAY_RAYLET_PID and RAY_AUTH_MODE once, when it is loaded.
WITH_RAY = {
    "ray": "every process",
    DEFAULT_WORKER: "the script of every process: what it imports",
}
GROUPS = {
    "ray.train": "Ray Train's controller and workers",
    "ray.train.torch": "the same",
    **dict.fromkeys(CONTROLLER, "Ray Train's controller"),
    "ray.tune": "trials",
}
# No module of FIRST reads these variables, so that they may differ between a warm server and the processes it forks.
# They do: MLflow sets its own in the launcher, packing there those of its decoder; the last but one is Ray Tune's, and
# the last is of a launch whose timeline is recorded.
READ_LATER = ("RAY_", "MLFLOW_", "_MLFLOW_", "PYNVIMGCODEC_", "SPT_NOENV=", "PL_DISABLE_FORK=", f"{MARKS}=")
GPUS = ("/dev/nvidia", "/dev/kfd")  # NVIDIA's and AMD's
# While libraries are loaded: their pools would be threads at the time of the fork.
WITHOUT_THREADS = {
    "OPENBLAS_NUM_THREADS": "1",  # numpy's
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # pyarrow's allocator
}


def preload(modules: Iterable[str]) -> list[str]:
    """Import modules; a message for each that cannot be. Without garbage collection, which would take a third of the
    time and find next to nothing."""
    missing = []
    gc.disable()
    before = {name: os.environ.get(name) for name in WITHOUT_THREADS}
    os.environ.update(WITHOUT_THREADS)
    for name in modules:
        try:
            with actor_ids_of_the_system():
                importlib.import_module(name)
        except Exception as error:  # whatever a module does; whoever needs it will say more
            missing.append(f"{name} is not imported before the fork ({type(error).__name__}: {error})")
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    gc.enable()
    return missing


def sources() -> dict[str, tuple[int, int]]:
    """Time of change and size of the file of each imported module that has one."""
    found = {}
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str):
            with contextlib.suppress(OSError):
                status = os.stat(path)  # noqa: PTH116  # thousands of them
                found[path] = status.st_mtime_ns, status.st_size
    return found


def require_unchanged(before: dict[str, tuple[int, int]]) -> None:
    """Check that the files of imported modules are those that were imported.

    Args:
        before: what `sources` told then.

    Raises:
        ValueError: one has changed, or is gone.
    """
    now = sources()
    for path, status in before.items():
        if now.get(path) != status:
            raise ValueError(f"{path} has changed since it was imported")


def require_own_ids() -> None:
    """Check that forked processes make different ids of Ray.

    Raises:
        NotForkable: they make the same ones.
    """
    if "ray" in sys.modules and _id_of_a_child() == _id_of_a_child():
        raise NotForkable("imports have had Ray make ids, and all children would go on with the same ones")


def _id_of_a_child() -> bytes:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, new_id())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        made = answer.read()
    os.waitpid(pid, 0)
    return made


def share() -> None:
    """Exempt all objects from garbage collection, which would copy the memory that children share."""
    gc.collect()
    gc.freeze()


class NotForkable(Exception):
    """A fork of this process would not be whole."""


def require_forkable(own: Container[int]) -> None:
    """Check that a fork of this process would be whole.

    Args:
        own: descriptors that the server itself has opened.

    Raises:
        NotForkable: an import has started a thread, opened a connection, or touched a GPU.
    """
    threads = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    if len(threads) > 1:
        raise NotForkable(f"imports have started {len(threads) - 1} thread(s): {', '.join(sorted(threads))}")
    for descriptor in Path("/proc/self/fd").iterdir():
        target = "" if int(descriptor.name) in own else _target(descriptor)
        if target.startswith("socket:"):
            raise NotForkable(f"an import has opened a connection (descriptor {descriptor.name})")
        if target.startswith(GPUS):
            raise NotForkable(f"an import has opened a GPU ({target})")


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:  # that of listing them
        return ""
