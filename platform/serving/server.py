"""Ray Serve with one application, for as long as a block lasts.

In: the section `serve` and a model. Out: a server that answers, on this process's Ray. Nothing of it is left.
"""

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import ApplicationStatus
from starlette.requests import Request
from starlette.responses import Response

from platform.cluster.resources import Resources, gpus_per_worker
from platform.config.checks import CannotGoOn, ConfigError
from platform.config.cluster import ClusterConfig
from platform.config.jobs import ServeConfig
from platform.prediction.model import Model
from platform.serving.service import Answer, Asked, Service, Settings
from platform.text import first_line

APPLICATION = "platform"
SPARE = 100  # requests beyond those that wait, which are sent away, and looks at /health
CHECK_S = 1.0
ENDING_S = 5.0  # for requests that are being answered, after Ctrl-C
QUIET = ("ray.serve", "ray.serve._private")


class Replica:
    """A process of Ray Serve's: its service, and the requests that wait, collected."""

    def __init__(self, settings: Settings, batch: int, batch_wait_s: float) -> None:
        """Load the model; up to `batch` images are classified together, the first of which waits `batch_wait_s`."""
        together: Any = self.together  # what `serve.batch` adds to it has no types
        together.set_max_batch_size(batch)
        together.set_batch_wait_timeout_s(batch_wait_s)
        self._service = Service(settings, self.together)

    async def __call__(self, request: Request) -> Response:
        """Answer a request."""
        return await self._service(request)

    @serve.batch
    async def together(self, asked: list[Asked]) -> list[Answer]:
        """Classify those that wait."""
        return await self._service.classify(asked)


@contextlib.contextmanager
def served(
    config: ServeConfig, port: int, cluster: ClusterConfig, resources: Resources, model: Model, views: int
) -> Iterator[str]:
    """Answer requests while the block runs; gives the device that classifies.

    Raises:
        ConfigError: the cluster has no room, or its Ray Serve is somebody's.
        CannotGoOn: it does not start.
    """
    gpus = gpus_per_worker(cluster, resources)
    _require_room(config, cluster, resources, gpus)
    if serve.status().applications:
        raise ConfigError(
            f"the cluster at cluster.address={cluster.address} serves something already; leave cluster.address out"
        )
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    device = "cuda" if gpus else "cpu"
    settings = Settings(
        name=model.title,
        folder=model.folder,
        views=views,
        max_views=max(views, config.max_views),
        device=device,
        max_waiting=-(-config.max_waiting // config.replicas),
        max_body=round(config.max_body_mb * 1e6),
        timeout_s=config.timeout_s,
    )
    deployment: Any = serve.deployment(Replica)  # its types know functions only
    replica = deployment.options(
        num_replicas=config.replicas,
        max_ongoing_requests=settings.max_waiting + SPARE,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=ENDING_S,
        ray_actor_options={"num_cpus": cluster.cpus_per_worker, "num_gpus": gpus},
        logging_config={"log_level": "ERROR", "enable_access_log": False},
    )
    try:
        serve.start(http_options=HTTPOptions(host=config.host, port=port, location="HeadOnly"))  # pyright: ignore
        serve.run(replica.bind(settings, config.batch, config.batch_wait_s), name=APPLICATION, route_prefix="/")
    except Exception as error:
        raise CannotGoOn(f"Ray Serve does not start ({first_line(error)}); see the logs in Ray's folder") from error
    try:
        yield device
    finally:
        serve.shutdown()


def watch() -> None:
    """Wait until the application fails for good.

    Raises:
        CannotGoOn: it has.
    """
    while True:
        time.sleep(CHECK_S)
        application = serve.status().applications.get(APPLICATION)
        if application is None or application.status == ApplicationStatus.DEPLOY_FAILED:
            raise CannotGoOn("Ray Serve has given the application up; see the logs in Ray's folder")


def _require_room(config: ServeConfig, cluster: ClusterConfig, resources: Resources, gpus: int) -> None:
    room = resources.gpus // gpus if gpus else resources.cpus // cluster.cpus_per_worker
    if room < config.replicas:
        what = f"{gpus} GPU(s)" if gpus else f"{cluster.cpus_per_worker} CPU(s)"
        raise ConfigError(
            f"serve.replicas is {config.replicas}, of {what} each, and there is room for {room}; lower serve.replicas"
        )
