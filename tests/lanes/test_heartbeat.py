"""A process that stalls ends itself, named; one that may only be waiting for a peer is given longer."""

import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from platform.checkout import ROOT
from platform.config.sections import Config
from platform.lanes import heartbeat
from platform.lanes.mailbox import Beat
from platform.lanes.system_metrics import SystemMeter
from platform.lanes.usage import Usage
from platform.training.progress import Progress
from platform.training.worker import Worker

LIMIT_S, PEER_WAITS_S = 1, 1.5
# One process imports torch and Ray; for each case it forks one that stalls, or moves.
STUCK = """
import json, os, sys, threading, time
from types import SimpleNamespace
from pathlib import Path
import platform.lanes.heartbeat as heartbeat
from platform.config.data import StorageConfig
from platform.config.sections import Config
from platform.data.cache import MemoryCache, ShardFile
from platform.data.reader import CLS, OpenShards
from platform.data.storage import Storage
from platform.training.progress import Progress
from platform.training.worker import Worker

folder, limit_s, peer_waits_s = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])

class Sender:
    member = "slow"
    def __init__(self, case):
        self.case, self.since = case, time.monotonic()
    def beat(self, beat, wait_s=0):
        return 0
    def send(self, kind, *, step=0, metrics=None, text=""):
        (folder / self.case).write_text(json.dumps([time.monotonic() - self.since, text]))

def run(case):
    progress, sender = Progress(), Sender(case)
    worker = Worker(rank=1, world=2, node="node7")
    with heartbeat.Heartbeat(config, sender, worker, progress, 0, lambda: False):
        if case != "starting":
            progress.restored(40, lambda: "samples 3, 1, 4")
            progress.at(41, case)
        if case == "waiting for data":  # of a shard whose file system does not answer, as of a pipe
            os.mkfifo(folder / "train-000007.tar")
            shards = OpenShards(MemoryCache(Storage(StorageConfig()), 0), CLS)
            shard = ShardFile(str(folder / "train-000007.tar"), 1, 1024, "")
            threading.Thread(target=shards.reader, args=[shard], daemon=True).start()
        if case == "excused":
            with progress.excused():
                time.sleep(3)
        for _ in range(60):
            time.sleep(0.05)
            if case in ("evaluating", "excused"):
                progress.moved()

heartbeat.ray.get_runtime_context = lambda: SimpleNamespace(get_node_id=lambda: "abcd")
heartbeat.BEAT_EVERY_S, heartbeat.PEER_WAITS_S = 0.1, peer_waits_s
config = Config()
config.cluster.stall_timeout_s = limit_s
children = {}
for case in sys.argv[4:]:
    pid = os.fork()
    if pid == 0:
        run(case)
        os._exit(0)
    children[case] = pid
statuses = {case: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for case, pid in children.items()}
(folder / "statuses").write_text(json.dumps(statuses))
"""


@dataclass(frozen=True)
class End:
    """What became of a process."""

    status: int
    after_s: float
    said: str


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, End]:
    folder = tmp_path_factory.mktemp("heartbeat")
    cases = ["waiting for data", "computing", "starting", "evaluating", "excused"]
    command = [sys.executable, "-c", STUCK, str(folder), str(LIMIT_S), str(PEER_WAITS_S), *cases]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=60, check=True)
    statuses = json.loads((folder / "statuses").read_text())
    told = {case: json.loads((folder / case).read_text()) for case in cases if (folder / case).exists()}
    return {case: End(statuses[case], *told.get(case, [0.0, ""])) for case in cases}


@pytest.mark.slow
def test_who_stalls_ends_itself_and_is_named_with_its_samples(ends: dict[str, End]) -> None:
    end = ends["waiting for data"]
    assert end.status == 1
    assert LIMIT_S <= end.after_s < LIMIT_S + PEER_WAITS_S
    assert end.said.startswith("rank 1 on node7 has stalled for 1 s at step 41, waiting for data (samples 3, 1, 4)")


def test_who_computes_may_be_waiting_for_another_and_waits_longer(ends: dict[str, End]) -> None:
    end = ends["computing"]
    assert end.status == 1
    assert end.after_s >= LIMIT_S + PEER_WAITS_S
    assert "at step 41, computing" in end.said


def test_the_file_that_it_waits_for_is_named_too(ends: dict[str, End]) -> None:
    said = ends["waiting for data"].said
    assert re.search(r"; reading /.*/train-000007.tar has taken 1 s so far: look at its file system; it is ended", said)
    assert "reading" not in ends["computing"].said


def test_one_that_never_came_to_a_step_is_ended_too(ends: dict[str, End]) -> None:
    assert ends["starting"].status == 1
    assert ends["starting"].said.startswith("rank 1 on node7 has stalled for 1 s at step 0, starting (no samples yet)")


def test_whoever_moves_is_left_alone(ends: dict[str, End]) -> None:
    assert ends["evaluating"] == End(0, 0.0, "")


def test_who_waits_in_on_evaluation_is_left_alone(ends: dict[str, End]) -> None:
    assert ends["excused"] == End(0, 0.0, "")


class Listener:
    """Takes what a worker sends."""

    member = "m"

    def __init__(self) -> None:
        self.beats, self.warnings, self.third = 0, [], threading.Event()

    def beat(self, beat: Beat, wait_s: float = 0) -> int:
        self.beats += 1
        if self.beats == 3:
            self.third.set()
        if self.beats == 1:
            raise RuntimeError("no Ray yet")
        return 0

    def send(self, kind: str, *, step: int = 0, metrics: dict[str, float] | None = None, text: str = "") -> None:
        self.warnings += [text] * (kind == "warning")


def _fails(_: SystemMeter) -> Usage:
    raise RuntimeError("the driver is gone")


@pytest.mark.slow
@pytest.mark.parametrize("hangs", [False, True])
def test_a_heartbeat_survives_what_is_measured_however_that_fails(hangs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    released, listener, config = threading.Event(), Listener(), Config()
    config.tracking.system_metrics_every_s = 0.01
    monkeypatch.setattr(SystemMeter, "measure", (lambda _: released.wait()) if hangs else _fails)
    monkeypatch.setattr(heartbeat, "BEAT_EVERY_S", 0.05)
    monkeypatch.setattr(heartbeat, "JOIN_TIMEOUT_S", 1.0)
    monkeypatch.setattr(heartbeat.ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "id"))
    sender: Any = listener
    with heartbeat.Heartbeat(config, sender, Worker(node="node7"), Progress(), 0, lambda: False):
        assert listener.third.wait(30)
    released.set()
    said = ["rank 0 on node7: a heartbeat failed (RuntimeError: no Ray yet); the rest goes on"]
    failed = ["rank 0 on node7: measuring failed (RuntimeError: the driver is gone); the rest goes on"]
    assert sorted(listener.warnings) == said + ([] if hangs else failed)


@pytest.mark.slow
def test_every_worker_measures_and_its_beats_carry_it(monkeypatch: pytest.MonkeyPatch) -> None:
    config, beats, measured = Config(), list[Beat](), threading.Event()
    config.tracking.system_metrics_every_s = 0.02

    class Heard(Listener):
        def beat(self, beat: Beat, wait_s: float = 0) -> int:
            beats.append(beat)
            if beat.usage and beat.usage.number > 1:
                measured.set()
            return 0

    monkeypatch.setattr(heartbeat, "BEAT_EVERY_S", 0.02)
    monkeypatch.setattr(heartbeat.ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "id"))
    sender: Any = Heard()
    with heartbeat.Heartbeat(config, sender, Worker(rank=1, world=2), Progress(), 0, lambda: False):
        assert measured.wait(30)
    usage = beats[-1].usage
    assert usage
    assert usage.process["process_memory_megabytes"] > 10
    assert usage.node["disk_available_megabytes"] > 0


@pytest.mark.parametrize(
    ("device", "gpus_per_worker", "gpus"), [("cpu", None, 0), ("cuda", None, 1), ("cuda", 2, 2), ("cpu", 0, 0)]
)
def test_beats_say_what_the_worker_holds(
    device: str, gpus_per_worker: int | None, gpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, sender = Config(), Listener()
    config.cluster.gpus_per_worker, config.cluster.cpus_per_worker = gpus_per_worker, 3
    monkeypatch.setattr(heartbeat.ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "id"))
    made: Any = heartbeat.Heartbeat
    beat = made(config, sender, Worker(device=torch.device(device)), Progress(), 0, lambda: False)._beat()
    assert (beat.cpus, beat.gpus) == (3, gpus)
