"""What is private of Ray is still there, and Ray uses it: a failure here comes with a new version of Ray."""

import importlib
import inspect
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from platform.checkout import ROOT
from platform.cluster import ray_internals
from platform.cluster.ray_internals import log_folder, settle

ODD = "/home/me/it's 100% mine/.venv/bin/python"
# What `ray_internals` reads or replaces. A name that is gone would be set in vain, without any error.
USED = {
    "ray": ["get", "wait"],
    "ray.actor": ["ActorClassID"],
    "ray._raylet": ["PlacementGroupID", "UniqueID", "setproctitle"],
    "ray._private.auto_init_hook": ["enable_auto_connect"],
    "ray._private.node": ["Node"],
    "ray._private.ray_constants": ["RAY_ENABLE_UV_RUN_RUNTIME_ENV", "SETUP_WORKER_FILENAME"],
    "ray._private.services": ["subprocess"],
    "ray._private.state": ["state"],
    "ray._private.utils": ["set_omp_num_threads_if_unset"],
    "ray._private.worker": ["_global_node", "print_to_stdstream"],
    "ray.scripts.scripts": ["get_ray_client_dependency_error", "main"],
    **{name: [] for name in (ray_internals.DEFAULT_WORKER, *ray_internals.CONTROLLER)},
}
# Where Ray looks them up by the name that is replaced.
USES = {
    "ray._private.node": ["self.start_monitor()", "self.start_log_monitor()", "self.start_api_server("],
    "ray._private.services": ["subprocess.list2cmdline(", "ray_constants.SETUP_WORKER_FILENAME"],
    "ray.actor": ["ActorClassID.from_random()"],
    "ray._private.worker": [ray_internals.JOB_CONFIG, "print_to_stdstream"],
    "ray._private.auto_init_hook": ["enable_auto_connect"],
    "ray.train.v2.api.data_parallel_trainer": ["ray.get("],
    "ray.air.execution._internal.event_manager": ["ray.wait("],
}


def test_rays_version_is_the_one_these_were_seen_in() -> None:
    """Read each function of `ray_internals` again, then write the new version there."""
    assert ray.__version__ == ray_internals.SEEN_IN


@pytest.mark.filterwarnings("ignore")  # of Ray's own modules
@pytest.mark.parametrize("module", USED)
def test_what_is_used_is_there(module: str) -> None:
    found = importlib.import_module(module)
    assert [name for name in USED[module] if not hasattr(found, name)] == []


@pytest.mark.parametrize("module", USES)
def test_ray_looks_up_what_is_replaced(module: str) -> None:
    source = inspect.getsource(importlib.import_module(module))
    assert [text for text in USES[module] if text not in source] == []


def test_nothing_else_knows_what_is_private() -> None:
    private = ("ray._private", "ray._raylet", "ActorClassID", "print_to_stdstream", "setproctitle", "ray.get = ")
    files = [*(ROOT / "platform").rglob("*.py"), *(ROOT / "jobs").rglob("*.py")]
    texts = {str(file.relative_to(ROOT)): file.read_text() for file in files}
    assert [file for file, text in texts.items() if any(each in text for each in private)] == [
        "platform/cluster/ray_internals.py"
    ]
    assert {file for file, text in texts.items() if "ray.train.v2._internal" in text} == {
        "platform/cluster/ray_internals.py", "platform/lanes/group_callback.py", "platform/lanes/heartbeat.py",
    }  # fmt: skip


def test_ray_joins_commands_as_the_raylet_takes_them_apart_and_no_uv_starts_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray._private.ray_constants as constants
    import ray._private.services as services

    monkeypatch.setattr(services, "subprocess", subprocess)
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "1")
    settle()
    assert shlex.split(vars(services)["subprocess"].list2cmdline([ODD, "--x=a b"])) == [ODD, "--x=a b"]
    assert os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0"
    assert constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV is False


def test_who_asks_for_rays_logs_does_not_import_ray():
    """Threads ask at any time, also while the main thread imports it."""
    lines = "import sys\nfrom platform.cluster.ray_internals import log_folder\n"
    lines += "assert log_folder() is None\nassert 'ray' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", lines], cwd=ROOT, check=True)


def test_logs_are_those_of_the_ray_that_is_connected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    driver = importlib.import_module("ray._private.worker")
    monkeypatch.setattr(driver, "_global_node", SimpleNamespace(get_logs_dir_path=lambda: str(tmp_path)))
    assert log_folder() == tmp_path
    monkeypatch.setattr(driver, "_global_node", None)
    assert log_folder() is None
