"""Experiments submitted to a real head, which knows its users by a token, and followed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from platform.chaos.nodes import LocalCluster
from platform.chaos.servers import Server
from platform.checkout import ROOT
from tests.jobs.conftest import Runner

pytestmark = pytest.mark.slow

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "3f1c" * 16}
BIN = Path(sys.executable).parent


class GuardedCluster(LocalCluster):
    """One that wants a token. Its nodes have this interpreter, but no checkout on their path."""

    code = ""

    @property
    def environment(self) -> dict[str, str]:
        return {**TOKEN, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": self.code}


class ClusterWithCode(GuardedCluster):
    """As of an image that has the checkout."""

    code = str(ROOT)


RELAY = """
import asyncio, sys

async def copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()

async def relay(reader, writer):
    there_reader, there_writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[2]))
    await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer), return_exceptions=True)

async def main():
    await (await asyncio.start_server(relay, "127.0.0.1", int(sys.argv[1]))).serve_forever()

asyncio.run(main())
"""


class Network(Server):
    """What lies between a user and a cluster; killed, it is down, and every connection with it."""

    def __init__(self, folder: Path, cluster: LocalCluster) -> None:
        super().__init__(folder)
        self._to = cluster.dashboard_url.rpartition(":")[2]

    def _command(self, port: int) -> list[str]:
        return [sys.executable, "-c", RELAY, str(port), self._to]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with GuardedCluster(tmp_path_factory.mktemp("head"), nodes=1, cpus=2, dashboard=True) as cluster:
        yield cluster


def test_an_experiment_is_submitted_and_followed_to_its_end(cluster, launch):
    words = ["job=train", "name=sent", f"cluster.address={cluster.dashboard_url}"]
    words += ["cluster.workers={min:1,max:2}", "tracking.experiment='with spaces, $HOME'"]
    status, output = launch(*words, environment=TOKEN)
    assert status == 0, output
    assert "sent is submitted to" in output
    assert "1 member(s) in 1 lane(s) on 1 node(s), 2 CPUs" in output
    (log,) = cluster.scratch.glob("0/session_2*/logs/fork_server.log")
    assert log.read_text().count("imported") == 2  # by one server: before Ray, and with it
    assert launch.state("sent", "model").state == "finished"
    assert launch.runs("sent")["parent"].info.status == "FINISHED"
    record = json.loads((launch.folder / "runs" / "sent" / "experiment.json").read_text())
    config = record["configs"]["model"]
    assert config["cluster"]["workers"] == {"min": 1, "max": 2}
    assert config["tracking"]["experiment"] == "with spaces, $HOME"

    status, output = launch(*words, environment=TOKEN)  # the same command is another job, which finds nothing to do
    assert status == 0, output
    assert "sent: every member is finished; nothing to train" in output
    assert output.count("sent is submitted to") == 1


def test_what_only_the_head_can_refuse_ends_with_its_status(cluster, launch):
    words = ["job=check", "data.shards=/nowhere", "data.source=/nowhere/at/all"]
    status, output = launch(*words, f"cluster.address={cluster.dashboard_url}", environment=TOKEN)
    assert status == 2
    assert "data.source is '/nowhere/at/all', which does not exist" in output


def test_a_stranger_is_told_what_is_missing(cluster, launch):
    address = f"cluster.address={cluster.dashboard_url}"
    wrong = {**TOKEN, "RAY_AUTH_TOKEN": "0" * 64}
    without = {"RAY_AUTH_MODE": "token", "HOME": str(launch.folder)}
    for environment in (wrong, without, {"RAY_AUTH_MODE": "disabled"}):
        status, output = launch("job=train", address, environment=environment)
        assert status == 2
        assert "does not let us in" in output
        assert "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" in output
        assert len(output.splitlines()) == 1, output


def test_nobody_there_is_one_line(launch):
    status, output = launch.here("job=train", "cluster.address=http://127.0.0.1:9")
    assert status == 2
    assert len(output.splitlines()) == 1, output
    assert "no Ray answers at cluster.address=http://127.0.0.1:9" in output


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b'{"ray_version": "2.9.0"}', "is 2.9.0, this checkout needs 2."),
        (b"<html>", "no Ray answers at cluster.address="),
        (None, "no Ray answers at cluster.address="),
    ],
)
def test_another_ray_or_something_else_is_one_line(launch, answer: bytes | None, said: str):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if answer else 404)
            self.end_headers()
            self.wfile.write(answer or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        status, output = launch.here("job=train", f"cluster.address=http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert status == 2
    assert said in output
    assert len(output.splitlines()) == 1, output


@pytest.fixture
def follow(launch: Runner) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a launch that knows the token; none outlives the test."""
    with contextlib.ExitStack() as started:

        def start(*words: str) -> subprocess.Popen[str]:
            process = launch.start(*words, environment=TOKEN)
            started.callback(process.kill)
            return process

        yield start


@pytest.mark.long
def test_whoever_follows_may_leave_and_come_back_and_a_stopped_job_goes_on_later(tmp_path, launch, follow):
    """With code that the nodes have: cluster.ship_code=false."""
    with ClusterWithCode(tmp_path, nodes=1, cpus=2, dashboard=True) as cluster, Network(tmp_path, cluster) as network:
        words = ["job=train", "name=left", "cluster.ship_code=false", "training.epochs=60", "checkpoint.every_s=3600"]
        here, far = f"cluster.address={cluster.dashboard_url}", f"cluster.address={network.url}"
        first = follow(*words, here)
        _read_until(first, "1 member(s) in 1 lane(s)")
        first.send_signal(signal.SIGINT)
        output, _ = first.communicate(timeout=30)
        assert first.returncode == 130
        assert "goes on without us. To follow it: the same command. To stop it: RAY_AUTH_MODE=token" in output
        job = output.split("ray job stop ")[1].split()[0]

        status, output = launch(*words, here, "training.epochs=4", environment=TOKEN)
        assert status == 2
        assert "with other overrides (here training.epochs=4 instead of nothing)" in output

        second = follow(*words, far)
        output = _read_until(second, "1 member(s) in 1 lane(s)")
        network.kill()
        output += _read_until(second, "does not answer")
        network.start()
        output += _read_until(second, "it answers again")
        _wait_for_a_step(launch)
        _ray(cluster, "job", "stop", job)
        output += second.communicate(timeout=120)[0]
        assert second.returncode == 130
        assert f"left runs there already: job {job}" in output
        assert f"job {job} was stopped; the same command goes on" in output
        assert output.count("1 member(s) in 1 lane(s)") == 1  # the log is told once
        assert launch.runs("left")["parent"].info.status == "KILLED"
        assert launch.attempts("left", "model")[-1].reason == "stopped by SIGTERM"

        third = follow(*words, here)
        assert f"job {job}-2" in _read_until(third, "1 member(s) in 1 lane(s)")
        _wait_for_a_step(launch)
        _ray(cluster, "job", "stop", f"{job}-2")
        third.communicate(timeout=120)
        assert launch.attempts("left", "model")[-1].from_step > 0  # of the checkpoint that the stop had it write


def _read_until(process: subprocess.Popen[str], word: str) -> str:
    """The lines until one has a word."""
    assert process.stdout
    read = ""
    for line in process.stdout:
        read += line
        if word in line:
            return read
    raise AssertionError(f"it ended before {word!r}: {read}")


def _ray(cluster: LocalCluster, *words: str) -> None:
    command = [str(BIN / "ray"), *words, "--address", cluster.dashboard_url]
    subprocess.run(command, env=os.environ | cluster.environment, check=True, capture_output=True, timeout=120)


def _wait_for_a_step(launch: Runner) -> None:
    live = launch.folder / "runs" / "left" / "live.json"
    for _ in range(1800):
        with contextlib.suppress(FileNotFoundError, ValueError):
            if any(worker["step"] > 0 for worker in json.loads(live.read_text())):
                return
        time.sleep(0.1)
    raise AssertionError("nobody trains")
