"""The command that a runtime environment names as `py_executable`, so that Ray's processes are forked.

In: where this package is on the nodes. Out: a quoted line for bash. Ray puts it between `exec` and the worker's
arguments (`ray/_private/runtime_env/context.py`).
"""

import os
import shlex
import subprocess
from collections.abc import Iterable
from pathlib import Path

from platform.cluster.fork_server.client import LOG, listening, warm_name

CLIENT = "platform/cluster/fork_server/client.py"
SERVER, SETUP_WORKER = (Path(__file__).resolve().with_name(name) for name in ("server.py", "setup_worker.py"))
# A node may have the launcher's interpreter, or another that can run the client; the checkout in the same place, in
# the job's working_dir, to which Ray has changed, or not at all: then its raylet's own interpreter is started
# (xargs knows quotes as the raylet does, and unlike eval runs nothing).
LINE = """
python=$1 client=$2; shift 2
[[ $client = /* ]] || client=$PWD/$client
[[ -x $python ]] || python=python3
[[ -r $client ]] && type -P "$python" >/dev/null && exec "$python" -I -S "$client" "$@"
while [[ $1 != -- ]]; do shift; done; shift
while IFS= read -rd "" word; do
  [[ $word = --python_worker_command=* ]] && command=${word#*=}
done </proc/$RAY_RAYLET_PID/cmdline
python=$(xargs -n1 <<<"$command" 2>/dev/null | head -n1)
export PLATFORM_FORK_SERVER="this node has no $client, or no $python to run it"
exec "${python:-${command%% *}}" "$@"
"""


def command(
    python: str, root: Path | None, *, folder: Path | None, preload: Iterable[str], preload_with_ray: Iterable[str]
) -> str:
    """Make the command.

    Args:
        python: an interpreter for the client, if the node has it; the process's own is that of its raylet.
        root: of the checkout on the nodes; None: it is the job's working_dir.
        folder: for sockets, which only this user can enter; None: in the Ray session's.
        preload: modules that are imported before the fork.
        preload_with_ray: modules that import Ray.

    Returns:
        a line for bash.
    """
    options = _options(preload, preload_with_ray) | ({"folder": str(folder)} if folder else {})
    client = str(root / CLIENT) if root else CLIENT
    return shlex.join(["bash", "-c", LINE.strip(), "fork_server", python, client, *_flags(options), "--"])


def start_warm(
    python: str, folder: Path, *, preload: Iterable[str], preload_with_ray: Iterable[str]
) -> "subprocess.Popen[bytes]":
    """Start a server before there is a raylet, to import `preload` early.

    It becomes the server of the first process that Ray starts, and ends with that raylet, or with this process if there
    is none.

    Args:
        python: the interpreter.
        folder: for sockets, the one given to `command`; it is made.
        preload: modules that are imported at once.
        preload_with_ray: modules that import Ray.
    """
    folder.mkdir(mode=0o700)
    options = _options(preload, preload_with_ray)
    listener = listening(str(folder / warm_name([python], options)))
    own = ["--warm", f"--watch={os.getpid()}", *_flags(options)]
    arguments = [python, str(SERVER), f"--listener={listener.fileno()}", *own]
    with listener, (folder / LOG).open("ab") as log:
        return subprocess.Popen(
            arguments, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[listener.fileno()],
            process_group=0, env=dict(os.environ),  # less what C libraries have set: readline does
        )  # fmt: skip


def _options(preload: Iterable[str], preload_with_ray: Iterable[str]) -> dict[str, str]:
    return {"preload": ",".join(preload), "preload-with-ray": ",".join(preload_with_ray)}


def _flags(options: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items()]
