"""Which processes a timeline has, and what of their CPU time: also of a cluster that was there before the command."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from platform.bench.timeline import Recorder

BUSY_S = 0.4
COMPUTES = f"""
import time
end = time.process_time() + {BUSY_S}
while time.process_time() < end:
    pass
print("done", flush=True)
time.sleep(60)
"""
# The leader of a session has computed, and leaves an orphan that does, and has not the leader's variables.
NODE = f"""
import os, time
end = time.process_time() + {BUSY_S}
while time.process_time() < end:
    pass
if os.fork() == 0:
    if os.fork():
        os._exit(0)
    os.execve({sys.executable!r}, [{sys.executable!r}, "-I", "-S", "-c", {COMPUTES!r}], {{}})
os.wait()
time.sleep(60)
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[psutil.Process]:
    """Of a cluster that runs: its first process, once both have computed."""
    variables = os.environ | {"RECORDED": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", NODE], env=variables, start_new_session=True, stdout=subprocess.PIPE
    ) as started:
        assert started.stdout
        started.stdout.readline()
        yield psutil.Process(started.pid)
        os.killpg(started.pid, 9)


def test_a_cluster_is_recorded_with_what_it_does_since_the_command(node: psutil.Process, tmp_path: Path) -> None:
    variable = f"RECORDED={tmp_path}"
    recorder = Recorder(variable)
    recorder.look()
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "sum(range(10_000_000)); input()"],
        env=os.environ | {"RECORDED": str(tmp_path)}, stdin=subprocess.PIPE,
    ) as command:  # fmt: skip
        while psutil.Process(command.pid).cpu_times().user < 0.1:
            time.sleep(0.02)
        recorder.look()
        command.communicate(b"\n")
    found = {process.pid: process for process in recorder.processes.values()}
    assert os.getpid() not in found
    assert node.pid in found
    (orphan,) = found.keys() - {node.pid, command.pid}
    for pid in (node.pid, orphan):
        assert found[pid].began_s == 0.0
        assert found[pid].cpu_s < BUSY_S / 2
        assert all(share <= 1 for _, _, share in found[pid].busy)
    assert found[command.pid].cpu_s >= 0.1
