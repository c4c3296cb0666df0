"""Ray's first script for a process, and ours in its place: the same environment, arguments and command come of both."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from platform.checkout import ROOT
from platform.cluster.fork_server.command import SETUP_WORKER, command
from tests.cluster.fork_server.handmade import Place

TELL = "import os, sys\nprint(os.environ.get('PLATFORM_FORK_SERVER'), os.environ.get('GIVEN'), sys.argv[1:])\n"
RAYS = "import sys\nprint('Ray does it', sys.argv[1:])\n"
ARGUMENTS = ["--node-ip-address=1.2.3.4", "--session-name=it's"]


def run(forks: Place, context: dict[str, Any] | None, language: str = "PYTHON") -> str:
    worker = forks.script(TELL, "default_worker.py")
    forks.script(RAYS, "setup_worker.py")
    said = [] if context is None else [f"--serialized-runtime-env-context={json.dumps(context)}"]
    words = [str(worker), *ARGUMENTS, *said, f"--language={language}"]
    done = subprocess.run([sys.executable, str(SETUP_WORKER), *words], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def made(forks: Place, **more: Any) -> dict[str, Any]:
    """As Ray's agent makes it (ray/_private/runtime_env/context.py)."""
    line = command(sys.executable, ROOT, folder=forks.sockets, preload=[], preload_with_ray=[])
    context = {"command_prefix": [], "env_vars": {}, "py_executable": line, "override_worker_entrypoint": None}
    return {**context, "java_jars": [], **more}


def test_our_command_is_run_without_ray_and_bash(forks: Place):
    assert run(forks, made(forks, env_vars={"GIVEN": "a b"})) == f"forked a b {ARGUMENTS}\n"


@pytest.mark.parametrize(
    ("change", "language"),
    [
        ({"py_executable": "/usr/bin/python"}, "PYTHON"),
        ({"py_executable": None}, "PYTHON"),
        ({"command_prefix": ["cd", "/somewhere", "&&"]}, "PYTHON"),
        ({"override_worker_entrypoint": "/other.py"}, "PYTHON"),
        ({"env_vars": {"PATH": "${HOME}/bin"}}, "PYTHON"),
        ({"something_new": 1}, "PYTHON"),
        ({}, "JAVA"),
    ],
)
def test_what_is_not_ours_or_not_known_is_rays(forks: Place, change: dict[str, Any], language: str):
    assert run(forks, made(forks, **change), language).startswith("Ray does it ['")


def test_a_client_that_is_gone_is_rays_as_well(forks: Place, tmp_path: Path):
    line = command(sys.executable, tmp_path, folder=forks.sockets, preload=[], preload_with_ray=[])
    assert run(forks, made(forks, py_executable=line)).startswith("Ray does it")


def test_it_is_what_ray_2_60_has(forks: Place):
    """Where Ray changes the script's name or the context, this must be looked at again."""
    import ray._private.ray_constants as constants
    from ray._private.runtime_env.context import RuntimeEnvContext

    assert Path(constants.SETUP_WORKER_FILENAME).is_absolute() or constants.SETUP_WORKER_FILENAME == "setup_worker.py"
    assert json.loads(RuntimeEnvContext().serialize()).keys() == made(forks).keys()
