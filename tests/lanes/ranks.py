"""A lane's workers without Ray: two processes of a gloo group, and a real mailbox that both reach."""

import os
from datetime import timedelta
from multiprocessing.managers import BaseManager
from types import SimpleNamespace
from typing import Any

import ray
import torch
import torch.distributed as dist

from platform.lanes import member_state
from platform.lanes.mailbox import Mailbox

LONG_S = 60
_shared: list[Mailbox] = []  # in the process that serves it


class Post(BaseManager):
    """Serves one mailbox to other processes."""


def _mailbox() -> Mailbox:
    """The same for all who ask."""
    if not _shared:
        _shared.append(Mailbox())
    return _shared[0]


Post.register("mailbox", _mailbox)


class Handle:
    """A mailbox as Ray shows it."""

    def __init__(self, proxy: Any) -> None:
        self._proxy = proxy

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self._proxy, name))


def join(rank: int, folder: str) -> None:
    """Become one of two workers."""
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", GLOO_SOCKET_IFNAME="lo")
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2, timeout=timedelta(seconds=LONG_S)
    )
    without_ray()


def wait_at_most(limit_s: float) -> None:
    """Have collectives end with an error when they have waited so long."""
    dist.set_timeout(timedelta(seconds=limit_s), dist.group.WORLD)


def without_ray() -> None:
    """Have Ray's answers without a Ray."""
    ray.get = lambda value, timeout=None: value  # pyright: ignore[reportAttributeAccessIssue]
    ray.get_runtime_context = lambda: SimpleNamespace(get_node_id=lambda: "node")  # pyright: ignore
    member_state.lost_nodes = lambda node_ids: []
