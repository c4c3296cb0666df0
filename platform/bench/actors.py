"""How soon a Ray actor is there with torch imported, and what memory eight of them take: with and without fork server.

python -m platform.bench.actors platform|bare FILE
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import ray

from platform.bench.commands import run
from platform.bench.figures import Figures
from platform.cluster.connect import connect, disconnect
from platform.config.cluster import ClusterConfig
from platform.config.sections import Config

REPEATS = 3
MANY = 8
TIMED = 3  # one after another


def measure(config: Config, folder: Path, figures: Figures) -> None:
    """Start actors with the platform and with bare Ray in turns; `actors.*` into `figures`."""
    folder.mkdir(parents=True, exist_ok=True)
    for repeat in range(min(REPEATS, config.bench.repeats)):
        found = {}
        for way in ("bare", "platform"):
            result = folder / f"{way}{repeat}"
            run([sys.executable, "-m", "platform.bench.actors", way, str(result)])
            found[way] = json.loads(result.read_text())
        ours, bare = found["platform"], found["bare"]
        figures.add("actors.one_s", ours["one_s"], "an actor with torch imported")
        figures.add("actors.bare_one_s", bare["one_s"], "the same, a bare Ray")
        figures.add("actors.eight_s", ours["many_s"], f"{MANY} of them together")
        figures.add("actors.bare_eight_s", bare["many_s"], "the same, a bare Ray")
        figures.add("actors.private_mb", ours["private_mb"], "private memory of one of these and of what serves it")
        figures.add("actors.bare_private_mb", bare["private_mb"], "the same, a bare Ray")
        figures.add("actors.server_private_mb", ours["server_mb"], "of the fork server, once a node")


class Actor:
    """An actor that computes something with torch."""

    def answer(self) -> tuple[int, int, int]:
        """Ids of its own process, of its parent and of its raylet."""
        import torch

        torch.zeros(1)
        return os.getpid(), os.getppid(), int(os.environ["RAY_RAYLET_PID"])


def main() -> None:
    """Start actors in this process's own Ray and write the figures to a JSON file."""
    way, path = sys.argv[1:]
    if way == "platform":
        connect(ClusterConfig())
    else:
        ray.init(address="local", log_to_driver=False)
    actor: Any = ray.remote(num_cpus=0)(Actor)
    ray.get(actor.remote().answer.remote())  # the fork server's start is part of the launch
    seconds = []
    for _ in range(TIMED):
        began = time.monotonic()
        ray.get(actor.remote().answer.remote())
        seconds.append(time.monotonic() - began)
    began = time.monotonic()
    actors = [actor.remote() for _ in range(MANY)]
    answers = ray.get([each.answer.remote() for each in actors])
    many_s = time.monotonic() - began
    private = sum(_private_mb(pid) for pid, *_ in answers)
    server = 0.0
    _, parent, raylet = answers[0]
    if parent != raylet:
        private += MANY * statistics.mean(_private_mb(client.pid) for client in _clients(raylet))
        server = _private_mb(parent)
    found = {"one_s": statistics.median(seconds), "many_s": many_s, "private_mb": private / MANY, "server_mb": server}
    Path(path).write_text(json.dumps(found))
    if way == "platform":
        disconnect()
    else:
        ray.shutdown()


def _clients(raylet: int) -> list[psutil.Process]:
    """The clients of the fork server, each of which stands for a worker process."""
    return [each for each in psutil.Process(raylet).children() if any("client.py" in part for part in each.cmdline())]


def _private_mb(pid: int) -> float:
    return psutil.Process(pid).memory_full_info().uss / 1e6


if __name__ == "__main__":
    main()
