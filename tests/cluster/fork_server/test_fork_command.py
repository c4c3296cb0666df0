"""The line for bash, as Ray runs it: on nodes that have everything, something, or nothing."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from platform.checkout import ROOT
from platform.cluster.fork_server.command import CLIENT, command
from tests.cluster.fork_server.handmade import Place, copied
from tests.cluster.fork_server.test_fork_server import HOW


def run(forks: Place, line: str, *arguments: str, cwd: Path | None = None) -> str:
    script = forks.script(HOW + "import sys\nprint(sys.argv[1:], sys.executable)\n")
    words = " ".join(["exec", line, *map(shlex.quote, [str(script), *arguments])])
    done = subprocess.run(
        ["bash", "-c", words], cwd=cwd, env=os.environ | forks.variables, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def line(forks: Place, root: Path | None = ROOT, python: str = sys.executable) -> str:
    return command(python, root, folder=forks.sockets, preload=[], preload_with_ray=[])


ARGUMENTS = ["--a=b c", "it's", "--", "$HOME", "*", "ü"]


@pytest.mark.parametrize("name", ["plain", "my project's folder", 'it"s 100% $mine', "größe"])
def test_paths_may_have_anything_in_them(forks: Place, tmp_path: Path, name: str):
    copied(tmp_path / name)
    (tmp_path / name / "python").symlink_to(sys.executable)
    told = run(forks, line(forks, tmp_path / name, str(tmp_path / name / "python")), *ARGUMENTS)
    assert told.startswith("forked")
    assert str(ARGUMENTS) in told


def test_a_shipped_checkout_is_where_ray_has_changed_to(forks: Place, tmp_path: Path):
    copied(tmp_path / "sent here")
    assert run(forks, line(forks, None), cwd=tmp_path / "sent here").startswith("forked")


def test_another_python_will_do_for_the_client(forks: Place, tmp_path: Path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    forks.variables = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    assert run(forks, line(forks, python="/no/python")).startswith("forked")


@pytest.mark.parametrize("quoted", [shlex.join, subprocess.list2cmdline])
def test_a_node_without_the_checkout_starts_what_its_raylet_would(forks: Place, tmp_path: Path, quoted):
    folder = tmp_path / "a node's"
    folder.mkdir()
    python = folder / "python"
    python.symlink_to(sys.executable)
    (folder / "pyvenv.cfg").write_text("")
    worker = quoted([str(python), "setup_worker.py", "--redis-password=$(touch x) `x`"])
    sleep = [shutil.which("sleep") or "sleep", "60"]
    with subprocess.Popen(
        ["bash", "-c", f"{shlex.join(sleep)}; true", "raylet", f"--python_worker_command={worker}"]
    ) as raylet:
        forks.variables = {"RAY_RAYLET_PID": str(raylet.pid)}
        told = run(forks, line(forks, tmp_path / "nothing here"), *ARGUMENTS)
        subprocess.run(["pkill", "-P", str(raylet.pid)], check=True)
    assert told.startswith(f"this node has no {tmp_path / 'nothing here' / CLIENT}, or no ")
    assert told.endswith(f"{ARGUMENTS} {python}\n")
    assert not (tmp_path / "x").exists()
