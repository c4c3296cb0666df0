"""One process among those that train a member together."""

import socket
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Worker:
    """This process among the member's workers."""

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009
    threads: int = 1  # for decoding
    node: str = field(default_factory=socket.gethostname)
