"""A run that streams its shards from a server that fails, and loses a worker: the same samples, the same weights."""

from pathlib import Path

import psutil
import pytest
import torch

from platform.data import samplelog
from tests.data import servers
from tests.data.servers import http_server
from tests.jobs.test_train_job import _title, _wait

pytestmark = pytest.mark.slow


def test_a_killed_run_over_a_failing_server_ends_like_an_undisturbed_one_on_disk(launch):
    words = ["job=train", "training.epochs=3", "training.checkpoint_every_s=0.5", "loader.log_samples=true"]
    status, output = launch(*words, "name=local")
    assert status == 0, output
    with http_server(Path(launch.shards)) as server:
        for number, fault in enumerate((servers.status(503), servers.cut_short, servers.other_bytes)):
            server.faults[f"train-{number:06d}.tar"] = [fault]
        remote = ["name=remote", f"data.shards={server.url}", f"storage.cache={launch.folder / 'cache'}"]
        process = launch.start(*words, *remote)
        _wait((launch.member("remote", "model").path / "checkpoint.pt").exists, process)
        workers = [p for p in psutil.Process(process.pid).children(recursive=True) if "RayTrainWorker" in _title(p)]
        workers[0].kill()
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert launch.state("remote", "model").starts == 2
    seen = {name: samplelog.read(launch.member(name, "model").path) for name in ("local", "remote")}
    assert len(seen["local"]) > 100
    assert seen["local"] == seen["remote"]
    assert len(list((launch.member("remote", "model").path / "samples").iterdir())) == 2
    ours, theirs = (torch.load(launch.member(n, "model").weights, weights_only=True) for n in ("remote", "local"))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    shown = launch.runs("remote")["model"].data.metrics
    assert shown["data/corrupt_samples"] == 0
    assert {"data/fetch_retries", "data/fetched_gb", "data/wait_share"} <= shown.keys()
    assert sum(server.requests.values()) <= 2 * len(server.requests) + 6  # the second start reads the first one's cache


def test_a_server_that_is_gone_is_said_before_ray_starts(launch):
    status, output = launch("job=train", "data.shards=http://127.0.0.1:9/digits", "storage.attempts=2")
    assert status == 2
    assert "error: data.shards: http://127.0.0.1:9/digits/index.json cannot be read after 2 attempts" in output
    assert len(output.splitlines()) < 4
