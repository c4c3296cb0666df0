"""A cluster whose autoscaler brings nodes when they are asked for: Ray's own (v2), nodes are processes here."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.util import get_node_ip_address

from platform.cluster.cleanup import MARK, guard
from platform.experiment.member_folder import FINISHED
from tests.jobs.conftest import Runner
from tests.jobs.test_train_job import _wait
from tests.tracking.test_tracker import free_port

pytestmark = [pytest.mark.slow, pytest.mark.long]

HEAD = f"{'f' * 51}00000"  # as Ray's provider of such nodes calls the head
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
TWO = "+ensemble.members={a:['order_seed=1'],b:['order_seed=2']}"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """The address of a head without work, one node of one processor, and an autoscaler that may bring another."""
    scratch = Path(tempfile.mkdtemp(prefix="ray-"))  # short: Ray's sockets live below it
    watch, address = guard(scratch), f"{get_node_ip_address()}:{free_port()}"
    config = scratch / "autoscaler.json"
    config.write_text(json.dumps(_autoscaler(address)))
    words = [
        f"--port={address.rpartition(':')[2]}", f"--autoscaling-config={config}", f"--temp-dir={scratch / 'r'}",
        "--num-cpus=0", "--num-gpus=0", "--include-dashboard=false", "--object-store-memory=100000000",
        "--min-worker-port=0", "--max-worker-port=0", f"--dashboard-agent-listen-port={free_port()}",
    ]  # fmt: skip
    environment = {
        "RAY_AUTH_MODE": "disabled", "RAY_FAKE_CLUSTER": "1", "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": HEAD, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD, MARK: str(scratch),
    }  # fmt: skip
    log = tmp_path / "head.log"
    with log.open("wb") as output:
        head = subprocess.Popen(
            [Path(sys.executable).with_name("ray"), "start", "--head", "--block", *words],
            env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        _wait(lambda: "Ray runtime started." in log.read_text(), head)
        yield address
    finally:
        head.kill()
        head.wait()
        with contextlib.suppress(BrokenPipeError):
            watch.communicate()  # ends what is left, and the scratch folder


def _autoscaler(address: str) -> dict[str, object]:
    workers = {"CPU": 1, "object_store_memory": 100_000_000}
    commands = ("setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray", "initialization")
    return {
        **{f"{each}_commands": [] for each in commands},
        **{key: [] for key in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
        **{key: {} for key in ("auth", "docker", "file_mounts")},
        "file_mounts_sync_continuously": False,
        "idle_timeout_minutes": 5.0,
        "upscaling_speed": 1.0,
        "cluster_name": "here",
        "max_workers": 2,
        "provider": {"type": "external", "module": PROVIDER, "head_node_id": HEAD, "gcs_address": address},
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {}, "node_config": {}, "max_workers": 0},
            "workers": {"resources": workers, "node_config": {}, "min_workers": 1, "max_workers": 2},
        },
    }


def words(address: str) -> list[str]:
    return [
        "cluster=ray", f"cluster.address={address}", "cluster.ship_code=false", "cluster.gpus_per_worker=0",
        "model.width=0.1", "evaluation.views=[1]",
    ]  # fmt: skip


def test_lanes_ask_for_the_nodes_they_need(cluster: str, launch: Runner):
    asked = ["cluster.autoscaled=true", "cluster.lanes=2"]
    status, output = launch(
        *words(cluster), *asked, TWO, "job=ensemble", "name=two", environment={"RAY_AUTH_MODE": "disabled"}
    )
    assert status == 0, output
    assert "two: 2 member(s) in 2 lane(s)" in output
    assert "so far" in output
    assert {launch.state("two", name).state for name in ("a", "b")} == {FINISHED}


def test_a_member_grows_onto_a_node_that_comes_for_it(cluster: str, launch: Runner):
    asked = ["cluster.autoscaled=true", "cluster.workers={min:1,max:2}", "cluster.resize_check_s=5"]
    status, output = launch(
        *words(cluster),
        *asked,
        "job=train",
        "training.epochs=30",
        "name=grows",
        environment={"RAY_AUTH_MODE": "disabled"},
    )
    assert status == 0, output
    assert "resized from 1 to 2 workers" in output
