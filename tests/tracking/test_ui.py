"""`make ui` as a process: the link comes when it can be opened, few processes serve it, and Ctrl-C ends them all."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
from mlflow.tracking import MlflowClient

from platform.checkout import ROOT
from tests.tracking.test_tracker import free_port

BESIDE = "import sys; sys.executable = sys.argv.pop(1); from platform.tracking.ui import main; main()"


def test_ctrl_c_before_the_server_answers_says_nothing(tmp_path: Path):
    sqlite3.connect(tmp_path / "runs.db").close()
    (tmp_path / "mlflow").write_text("#!/bin/sh\nexec sleep 60\n")  # MLflow, before it answers
    command = [sys.executable, "-c", BESIDE, str(tmp_path / "python"), "--uri", f"sqlite:///{tmp_path / 'runs.db'}"]
    told = subprocess.run([*command, "--port", str(free_port())], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.stderr == f"error: {tmp_path / 'mlflow'} is not there; install what is needed: make setup\n"
    (tmp_path / "mlflow").chmod(0o755)
    serving = subprocess.Popen(
        [*command, "--port", str(free_port())],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert serving.stdout
        assert serving.stdout.readline() == "MLflow's pages are starting ...\n"
        while len(started := [psutil.Process(serving.pid), *psutil.Process(serving.pid).children()]) < 2:
            time.sleep(0.02)
        while started[0].name() != "sleep":
            time.sleep(0.02)
        os.killpg(serving.pid, signal.SIGINT)
        assert serving.communicate(timeout=60) == ("", "")  # at the end of all that write there
    finally:
        if serving.poll() is None:
            os.killpg(serving.pid, signal.SIGKILL)
            serving.wait()


@pytest.mark.slow
@pytest.mark.long
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
