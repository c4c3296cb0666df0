"""What is imported before the fork: each with its reason. Importing it must start no thread, open no connection and
leave CUDA alone; `require_forkable` looks after that."""

import gc
import importlib
import os
from collections.abc import Callable, Container, Iterable
from pathlib import Path

FIRST = {
    "numpy": "arrays, everywhere",
    "torch": "the longest of all: 1.3 s of CPU",
    "torch._dynamo": "an optimiser's first zero_grad imports it: 1 s before the first step",
    "pandas": "ray.train imports it",
    "pyarrow": "ray.train imports it",
    "threadpoolctl": "tells numpy's BLAS how many threads it may have",
}
# Ray's compiled part reads RAY_JOB_ID, RAY_RAYLET_PID and RAY_AUTH_MODE once, when it is loaded.
WITH_RAY = {
    "ray": "every process",
    "ray._private.workers.default_worker": "the script of every process: what it imports",
    "ray.train": "Ray Train's controller and workers",
    "ray.train.torch": "the same",
    "ray.train.v2._internal.execution.controller.controller": "the controller",
    "ray.train.v2._internal.execution.worker_group.worker_group": "the controller",
    "ray.tune": "trials",
}
# Variables that nothing among FIRST reads. A launcher has others by the time its raylet starts: MLflow sets its own.
READ_LATER = ("RAY_", "MLFLOW_", "_MLFLOW_", "SPT_NOENV=")
# While libraries are loaded: their pools would be threads at the time of the fork.
WITHOUT_THREADS = {
    "OPENBLAS_NUM_THREADS": "1",  # numpy's
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # pyarrow's allocator
}


def preload(modules: Iterable[str], between: Callable[[], None]) -> list[str]:
    """Import what is there of `modules`; `between` is called after each. Returns a line for each that is not."""
    missing = []
    before = {name: os.environ.get(name) for name in WITHOUT_THREADS}
    os.environ.update(WITHOUT_THREADS)
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever a module does; whoever needs it will say more
            missing.append(f"{name} is not imported before the fork ({type(error).__name__}: {error})")
        between()
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    return missing


def share() -> None:
    """Objects that the garbage collector never looks at again stay in memory that all children share."""
    gc.collect()
    gc.freeze()


class NotForkable(Exception):
    """A fork of this process would not be whole."""


def require_forkable(own: Container[int]) -> None:
    """
    Args:
        own: descriptors of the server's.

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
        if target.startswith("/dev/nvidia"):
            raise NotForkable(f"an import has opened a GPU ({target})")


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:  # that of listing them
        return ""
