"""The runtime environment in which Ray starts our processes: by which command, with which code and variables.

In: the section `cluster`, and the runtime environment of the job's own submission. Out: the dictionary for `ray.init`,
and whether the fork server is used.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platform.checkout import ROOT
from platform.cluster.fork_server.client import FORKED, SUBREAPER, has_subreaper
from platform.cluster.fork_server.command import command, start_warm
from platform.cluster.interpreter import interpreter, interpreter_there
from platform.cluster.preloaded import Preloaded
from platform.cluster.ray_internals import JOB_CONFIG
from platform.config.cluster import ClusterConfig
from platform.marks import FILE as MARKS

# Patterns as in .gitignore: without the slash, "data" would match platform/data too.
NOT_SHIPPED = ["/.venv", "/.venv-rivals", "/.git", "/data", "/runs", "/mlruns", "/mlartifacts", "/mlflow.db"]
OF_OTHERS = ("py_executable", "pip", "uv", "conda", "container", "image_uri", "nsight", "rocprof-sys")  # own commands
# Ray Train gives its controller the first, Ray Tune its trials the second: a process with other variables would want a
# fork server of its own.
SET_BY_RAY = {"RAY_WARN_BLOCKING_GET_INSIDE_ASYNC": "0", "PL_DISABLE_FORK": "1"}


@dataclass(frozen=True)
class ForkServer:
    """Whether Ray's processes are forked, and why not."""

    off: str  # "": it is on

    def __str__(self) -> str:
        return f"off ({self.off})" if self.off else "on"


def fork_server(cluster: ClusterConfig) -> ForkServer:
    """Whether the fork server is used, by the config, this machine and the job's submission."""
    if not cluster.fork_server:
        return ForkServer("cluster.fork_server=false")
    if not _has_pidfds():
        return ForkServer(f"it needs Linux 5.3, this is {os.uname().sysname} {os.uname().release}")
    if has_subreaper():
        return ForkServer(f"{SUBREAPER} has raylets end what is not their child")
    if own := sorted(_of_the_submission().keys() & set(OF_OTHERS)):
        return ForkServer(f"the job's runtime environment has {', '.join(own)}")
    return ForkServer("")


def _has_pidfds() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


class Unforked:
    """Counts the processes that were started without the fork server; reports the first for each reason at once, all of
    them at the end."""

    def __init__(self) -> None:
        self._processes: Counter[str] = Counter()  # by reason

    def add(self, how: str, say: Callable[[str], None]) -> None:
        """Count one process; `how` is the value of `client.STATE` in its environment."""
        if how == FORKED:
            return
        self._processes[how] += 1
        if self._processes[how] == 1:
            say(_unforked(1, how))

    def say_totals(self, say: Callable[[str], None]) -> None:
        """Report the number of processes for each reason, where it is more than one."""
        for reason, processes in self._processes.items():
            if processes > 1:
                say(_unforked(processes, reason))


def _unforked(processes: int, reason: str) -> str:
    return f"{processes} process(es) of Ray's started without the fork server, seconds later than they could: {reason}"


def local(cluster: ClusterConfig, sockets: Path, preloaded: Preloaded) -> dict[str, Any]:
    """The runtime environment of a Ray on this machine; `sockets` and `preloaded` are those given to
    `start_fork_server`."""
    if fork_server(cluster).off:
        return interpreter() or {}
    return {"py_executable": _command(ROOT, sockets, preloaded)}


def start_fork_server(sockets: Path, preloaded: Preloaded) -> "subprocess.Popen[bytes]":
    """Start the fork server of a Ray on this machine, before that; its sockets are made in the folder `sockets`."""
    return start_warm(sys.executable, sockets, preload=preloaded.first, preload_with_ray=preloaded.with_ray)


def joined(cluster: ClusterConfig, preloaded: Preloaded) -> dict[str, Any]:
    """The runtime environment in a cluster that is joined, whose nodes have this checkout or are sent it."""
    is_shipped = "working_dir" in _of_the_submission()
    shipped = {} if is_shipped or not cluster.ship_code else shipped_code()
    if fork_server(cluster).off:
        return (interpreter_there() or {}) | shipped | _variables(_of_marks())
    command = _command(None if shipped or is_shipped else ROOT, None, preloaded)
    return shipped | {"py_executable": command} | _variables(SET_BY_RAY | _of_ray_train() | _of_marks())


def shipped_code() -> dict[str, Any]:
    """The part of a runtime environment that sends this checkout to every process of a cluster."""
    return {"working_dir": str(ROOT), "excludes": NOT_SHIPPED}


def _of_the_submission() -> dict[str, Any]:
    """The runtime environment that `ray job submit` has given this driver."""
    return json.loads(os.environ.get(JOB_CONFIG, "{}")).get("runtime_env", {})


def _variables(wanted: dict[str, str]) -> dict[str, Any]:
    """The part of a runtime environment that gives all processes these variables: but those of the submission, which
    Ray refuses to set twice."""
    set_already = _of_the_submission().get("env_vars", {})
    variables = {name: value for name, value in wanted.items() if name not in set_already}
    return {"env_vars": variables} if variables else {}


def _of_ray_train() -> dict[str, str]:
    """What Ray Train gives to its own processes."""
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_TRAIN_")}


def _of_marks() -> dict[str, str]:
    """While a timeline is recorded: where processes note what happens in them."""
    return {MARKS: os.environ[MARKS]} if os.environ.get(MARKS) else {}


def _command(root: Path | None, sockets: Path | None, preloaded: Preloaded) -> str:
    first, with_ray = preloaded.first, preloaded.with_ray
    return command(sys.executable, root, folder=sockets, preload=first, preload_with_ray=with_ray)
