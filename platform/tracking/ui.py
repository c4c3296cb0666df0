"""`make ui`: MLflow's pages on the project's database, for this machine only, and the link to the newest run.

In: `--uri` and `--port`. Out: the link on the terminal once it can be opened; the process becomes `mlflow ui`.
"""

import argparse
import os
import signal
import socket
import sys
import time
from pathlib import Path

from platform.cluster.submission import database_file
from platform.config.checks import ConfigError, require
from platform.config.tracking import TrackingConfig
from platform.tracking.sqlite_store import newest_view, require_usable
from platform.tracking.views import link

HOST = "127.0.0.1"
# Two processes for one reader instead of 14, of which 8 wait for jobs of MLflow's that nothing here asks for: they took
# 2.5 GB, and much of what a training on few cores needs while they started.
LEAN = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
OPTIONS = ["--workers", "1", "--uvicorn-opts", "--log-level warning"]


def main() -> None:
    """Say where the newest run is, and serve the pages until Ctrl-C."""
    parser = argparse.ArgumentParser(description="MLflow's pages on the project's database")
    parser.add_argument("--uri", default=os.environ.get("MLFLOW_TRACKING_URI") or TrackingConfig().uri)
    parser.add_argument("--port", type=int, default=5000)
    given = parser.parse_args()
    mlflow = Path(sys.executable).parent / "mlflow"
    try:
        require(os.access(mlflow, os.X_OK), f"{mlflow} is not there; install what is needed: make setup")
        opened = opening(given.uri, given.port)
    except ConfigError as error:
        sys.exit(f"error: {error}")
    print("MLflow's pages are starting ...", flush=True)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends both processes without a word, from now on
    server = os.getpid()
    if not os.fork():
        _say_when_it_answers(opened, given.port, server)
        os._exit(0)
    where = ["--backend-store-uri", given.uri, "--host", HOST, "--port", str(given.port)]
    os.execve(mlflow, [str(mlflow), "ui", *where, *OPTIONS], LEAN | os.environ)


def _say_when_it_answers(opened: str, port: int, server: int) -> None:
    """Print what is said to the reader when the server takes connections; nothing if it ends before that."""
    while os.getppid() == server:
        with socket.socket() as asking:
            asking.settimeout(1)
            if not asking.connect_ex((HOST, port)):
                print(opened, flush=True)
                return
        time.sleep(0.2)


def opening(uri: str, port: int) -> str:
    """What is said once the server answers.

    Raises:
        ConfigError: there is no database, it cannot be used as it is, or the port is taken.
    """
    file = database_file(uri)
    if file is None:
        raise ConfigError(f"the store is {uri}; make ui is for an SQLite file: make ui URI=sqlite:///FILE")
    if not file.exists():
        raise ConfigError(
            f"{file} does not exist; run an experiment first, or give another: make ui URI=sqlite:///FILE"
        )
    warning = require_usable(TrackingConfig(uri=uri))
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise ConfigError(f"port {port} is taken ({error.strerror}); give another: make ui PORT=5001") from error
    base = f"http://{HOST}:{port}"
    view = newest_view(file)
    lines = [f"warning: {warning}"] if warning else []
    lines.append(f"the newest run   {link(base, *view)}" if view else f"MLflow   {base}")
    return "\n".join([*lines, "(Ctrl-C ends it)"])


if __name__ == "__main__":
    main()
