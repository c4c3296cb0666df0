"""`make ui` as a process: the link comes when it can be opened, few processes serve it, and Ctrl-C ends them all."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
from mlflow.tracking import MlflowClient

from platform.checkout import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_the_link_can_be_opened_and_ctrl_c_ends_every_process(tmp_path: Path):
    uri = f"sqlite:///{tmp_path / 'my runs.db'}"
    MlflowClient(uri).create_experiment("platform")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "platform.tracking.ui", "--uri", uri, "--port", str(port)]
    serving = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert serving.stdout
    try:
        said = next(line for line in serving.stdout if "http://" in line)
        assert said == f"MLflow   http://127.0.0.1:{port}\n"
        assert urlopen(f"http://127.0.0.1:{port}/", timeout=30).status == 200
        others = psutil.Process(serving.pid).children(recursive=True)
        assert len([each for each in others if each.status() != psutil.STATUS_ZOMBIE]) == 1
        os.killpg(serving.pid, signal.SIGINT)  # as a terminal's Ctrl-C
        serving.communicate(timeout=60)
        assert not psutil.wait_procs(others, timeout=30)[1]
    finally:
        if serving.poll() is None:
            os.killpg(serving.pid, signal.SIGKILL)
            serving.wait()
