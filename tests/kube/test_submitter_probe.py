"""A submitter whose head has vanished is ended; one whose head is busy, or not there yet, is not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from platform.checkout import ROOT
from platform.config.kubernetes import KubeConfig
from platform.kubernetes import submitter_probe
from platform.kubernetes.submitter_probe import ADDRESS, ID
from platform.kubernetes.templates import submitter
from tests.kube.handmade import rayjob
from tests.kube.standin.derive import Manifest
from tests.kube.standin.operator import Operator
from tests.kube.standin.relay import Relay
from tests.kube.test_standin import SLEEP

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SERVER = """
import socket
door = socket.create_server(("127.0.0.1", 0))
print(door.getsockname()[1], flush=True)
while True:
    door.accept()[0].recv(1)
"""
CLIENT = """
import socket, sys
host, _, port = sys.argv[1].rpartition(":")
connection = socket.create_connection((host, int(port)))
print("connected", flush=True)
connection.recv(1)
"""
Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Run]:
    """Function: start a script, and return when it has printed a line."""
    running: list[subprocess.Popen[str]] = []

    def run(script: str, *words: str, **variables: str) -> "subprocess.Popen[str]":
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", script, *words], env=os.environ | variables, stdout=subprocess.PIPE, text=True
            )
        )
        return running[-1]

    yield run
    for each in running:
        each.kill()
        each.communicate()


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def _probe(address: str, submission: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        submitter(KubeConfig(), {})["spec"]["containers"][0]["livenessProbe"]["exec"]["command"], cwd=ROOT,
        env=os.environ | {ID: submission, ADDRESS: address, "PATH": str(Path(sys.executable).parent)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_submitter_without_a_connection_waits_for_a_head():
    assert _probe("127.0.0.1:1", "waits").returncode == 0


def test_one_that_no_head_comes_for_is_ended(
    start: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    waiting = start("import time; print(flush=True); time.sleep(600)", **{ID: "long"})
    _line(waiting)
    monkeypatch.setenv(ID, "long")
    monkeypatch.setenv(ADDRESS, "http://gone-head-svc:8265")
    assert submitter_probe.main() == 0
    monkeypatch.setattr(submitter_probe, "HEAD_WITHIN_S", 0.0)
    assert submitter_probe.main() == 1
    assert capsys.readouterr().out.startswith("no head answers at http://gone-head-svc:8265 for ")


def test_a_busy_head_is_no_reason(start: Run):
    server = start(SERVER)
    address = f"127.0.0.1:{_line(server)}"
    assert _line(start(CLIENT, address, **{ID: "busy"})) == "connected"
    server.send_signal(signal.SIGSTOP)  # nothing of it answers any more; its kernel does
    try:
        assert _probe(address, "busy").returncode == 0
    finally:
        server.send_signal(signal.SIGCONT)


def test_a_head_whose_node_has_vanished_is_told_from_one_that_is_there(start: Run):
    relay = Relay(f"127.0.0.1:{_line(start(SERVER))}")
    assert _line(start(CLIENT, relay.address, **{ID: "mine"})) == "connected"
    assert _probe(relay.address, "mine").returncode == 0
    relay.vanish()
    probe = _probe(relay.address, "mine")
    assert (probe.returncode, probe.stdout) == (
        1, f"the head at {relay.address} is gone: it does not answer, and its connection is still open\n",
    )  # fmt: skip
    assert _probe(relay.address, "another's").returncode == 0
    relay.close()


def test_a_probe_that_does_not_work_ends_nothing():
    probe = _probe("no port", "mine")
    assert (probe.returncode, probe.stdout.partition(" (")[0]) == (0, "not known")


def _manifest() -> Manifest:
    """With the probe of rendered RayJobs, ten times as often."""
    template = submitter(KubeConfig(), {})
    template["spec"]["containers"][0]["livenessProbe"] |= {"periodSeconds": 1, "failureThreshold": 2}
    return rayjob("python sleep.py", submitterPodTemplate=template, submitterConfig={"backoffLimit": 3})


@pytest.mark.long
def test_the_next_submitter_finds_the_next_head(tmp_path: Path):
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "sleep.py").write_text(SLEEP)
    volumes, logs = {"platform-data": volume}, tmp_path / "logs"
    with Operator(_manifest(), volumes=volumes, logs=logs, submitter_delay_s=1) as operator:
        operator.wait(lambda: "asleep" in operator.output(), timeout_s=600)  # it follows the job's log
        (first,) = operator.submitters[0].pods
        probe = first.probe("livenessProbe")
        operator.wait(lambda: probe.successes >= 3, timeout_s=60)
        old = operator.head.name
        operator.vanish()
        operator.wait(lambda: first.phase == "Failed", timeout_s=120)
        assert operator.status.job_deployment_status == "Running"  # the attempt goes on
        (volume / "awake").touch()
        status = operator.run(timeout_s=600)
        assert status.job_status == "SUCCEEDED", operator.output()
        assert (status.failed, len(operator.clusters)) == (0, 1)
        assert operator.head.name != old
        assert operator.submitters[0].pods[-1].phase == "Succeeded"
    assert (volume / "starts").read_text().count("started") == 2


@pytest.mark.long
def test_without_the_probe_a_submitter_would_follow_a_head_that_is_gone(tmp_path: Path):
    """What the probe is for: the stand-in's network says as little of a lost machine as a real one."""
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "sleep.py").write_text(SLEEP)
    manifest = _manifest()
    del manifest["spec"]["submitterPodTemplate"]["spec"]["containers"][0]["livenessProbe"]
    with Operator(manifest, volumes={"platform-data": volume}, logs=tmp_path / "logs") as operator:
        operator.wait(lambda: "asleep" in operator.output(), timeout_s=600)
        old = operator.head.name
        operator.vanish()
        operator.wait(lambda: operator.clusters[0].is_ready and operator.head.name != old, timeout_s=600)
        time.sleep(5)  # it has every opportunity
        operator.tick()
        assert [pod.phase for pod in operator.submitters[0].pods] == ["Running"]
