"""What a launch starts before it has imported Ray, beside its own work: the folder and the fork server of a local Ray.

In: the section `cluster`. Out: a folder and processes that `connect` uses, and of which nothing is left after `end`.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from platform.checkout import ROOT
from platform.cluster.cleanup import MARK, guard
from platform.cluster.preloaded import Preloaded
from platform.cluster.resources import require_fit_here
from platform.cluster.runtime_env import fork_server, start_fork_server
from platform.cluster.scratch import scratch_folder
from platform.config.checks import ConfigError
from platform.config.cluster import ClusterConfig

FORK_SERVER = "fork"  # a folder in that of a local Ray
LEAVING_S = 10.0  # for a fork server to end
_guards: list["subprocess.Popen[bytes]"] = []  # of this process's local Ray
_fork_servers: list["subprocess.Popen[bytes]"] = []  # the next three: of it as well
_scratch: list[Path] = []  # its folder


def prepare(cluster: ClusterConfig, *, tuned: bool = False) -> None:
    """Start the folder and the fork server of a local Ray early, beside the launcher's other work. `connect` uses them,
    `disconnect` ends them. Of a cluster it is only asked whether it answers, before anything is written.

    Raises:
        ConfigError: no folder can be made for it, its workers do not fit here, or no cluster answers.
    """
    if cluster.address is not None:
        require_answer(cluster.address)
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
        _fork_servers.append(start_fork_server(scratch / FORK_SERVER, Preloaded.of(cluster, tuned=tuned)))


def folder() -> Path:
    """Of the local Ray that is prepared."""
    return _scratch[0]


def disconnect() -> None:
    """Disconnect from the cluster if this process is connected, and end what was prepared."""
    if connected := sys.modules.get("platform.cluster.connect"):
        connected.disconnect()
    else:
        end()


def end() -> None:
    """End what was prepared, after its Ray."""
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


def require_answer(address: str) -> None:
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
        raise no_cluster(address, error) from error


def no_cluster(address: str, error: Exception) -> ConfigError:
    """The refusal of an address at which no cluster answers."""
    reason = str(error).splitlines()[0]
    return ConfigError(
        f"no Ray cluster answers at cluster.address={address} ({reason}); check the address, or use cluster=local"
    )
