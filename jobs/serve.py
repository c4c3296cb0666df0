"""`job=serve`: a model over HTTP, with a page for people, until Ctrl-C.

In: the sections `serve` and `cluster` of an experiment. Out: a server; see docs/predict.md for its addresses.
"""

import errno
import socket

from platform.config.checks import ConfigError, require
from platform.config.experiment import Experiment
from platform.config.jobs import ServeConfig
from platform.prediction.model import open_model
from platform.signals import INTERRUPTED, signals


class Stopped(BaseException):
    """Ctrl-C or SIGTERM: the server ends."""


def run(experiment: Experiment) -> int:
    """Serve until interrupted; always 130.

    Raises:
        ConfigError: no such model, or the port cannot be listened on.
        CannotGoOn: Ray or Ray Serve does not start, or gives up.
    """
    config = experiment.config
    require(
        config.serve.max_waiting >= config.serve.replicas,
        f"serve.max_waiting is {config.serve.max_waiting}, less than serve.replicas ({config.serve.replicas}); give at "
        "least that",
    )
    port = free_port(config.serve) if config.cluster.address is None else config.serve.port
    require(port > 0, "serve.port is 0, which is for a Ray of our own; give a port, or leave out cluster.address")
    try:
        with signals(Stopped), open_model("serve.model", config.serve.model, experiment) as model:
            from platform.cluster.connect import connect, disconnect

            print(f"starting Ray Serve with {model.name} ...", flush=True)
            try:
                resources = connect(config.cluster)
                from platform.serving.server import served, watch

                views = config.serve.views or model.description.views
                with served(config.serve, port, config.cluster, resources, model, views) as device:
                    _say(config.serve, port, device, len(model.description.members))
                    watch()
            finally:
                disconnect()
    except Stopped as stopped:
        print(f"\n{stopped}: the server has ended", flush=True)
    return INTERRUPTED


def _say(config: ServeConfig, port: int, device: str, members: int) -> None:
    host = "127.0.0.1" if config.host in ("0.0.0.0", "::") else config.host
    address = f"http://{host}:{port}"
    print(f"page     {address}/")
    print(f"images   curl --data-binary @cat.jpg {address}/predict")
    print(f"health   {address}/health")
    print(
        f"{members} member(s) on {config.replicas} {'GPU' if device == 'cuda' else 'CPU'} process(es); up to "
        f"{config.batch} images together, {config.max_waiting} requests waiting. Ctrl-C ends it",
        flush=True,
    )


def free_port(config: ServeConfig) -> int:
    """The port, or a free one for 0.

    Raises:
        ConfigError: another program has it, or it is not ours to take.
    """
    try:
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        with socket.socket(family) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # of connections that are only closing
            trial.bind((config.host, config.port))
            return trial.getsockname()[1]
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "which another program has" if taken else f"where nothing can listen ({error.strerror or error})"
        raise ConfigError(
            f"serve.port is {config.port} of {config.host}, {why}; give another serve.port, or 0 for any free one"
        ) from error
