"""Many clients at once for a server of `job=serve`: each sends an image, waits for the answer, and sends it again.

In: an address, image files, clients, seconds. Out: statuses, answers a second, percentiles of how long they took.

    python -m tests.serving.load http://127.0.0.1:8000 cat.jpg --clients 64 --seconds 30
"""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import numpy as np

NO_ANSWER = 0  # as a status: the connection was refused or cut


@dataclass
class Load:
    """What the clients have seen."""

    seconds: float
    statuses: Counter[int] = field(default_factory=Counter)
    took_s: dict[int, list[float]] = field(default_factory=dict)  # status -> of each answer
    classes: Counter[str] = field(default_factory=Counter)  # the first of each good answer

    def add(self, status: int, took_s: float) -> None:
        self.statuses[status] += 1
        self.took_s.setdefault(status, []).append(took_s)

    def text(self) -> str:
        lines = [f"{self.statuses[200] / self.seconds:.1f} images/s answered"]
        for status, took_s in sorted(self.took_s.items()):
            p50, p95, p99 = np.percentile(took_s, [50, 95, 99]) * 1000
            lines.append(f"{status}: {len(took_s):,} answers, p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms")
        return "\n".join(lines)


async def load(address: str, images: Sequence[bytes], clients: int, seconds: float, pause_s: float = 0.05) -> Load:
    """Ask from so many clients for so many seconds; whoever is sent away (503) comes again after `pause_s`."""
    found, end = Load(seconds), time.monotonic() + seconds
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=clients)) as session:

        async def client(number: int) -> None:
            while time.monotonic() < end:
                began = time.monotonic()
                try:
                    async with session.post(f"{address}/predict", data=images[number % len(images)]) as answer:
                        content, status = await answer.json(), answer.status
                except (aiohttp.ClientError, ValueError):
                    content, status = {}, NO_ANSWER
                found.add(status, time.monotonic() - began)
                if status == 200:
                    found.classes[content["classes"][0]["class"]] += 1
                else:
                    await asyncio.sleep(pause_s)

        await asyncio.gather(*map(client, range(clients)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Many clients at once for a server of job=serve.")
    parser.add_argument("address")
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=30)
    given = parser.parse_args()
    print(asyncio.run(load(given.address, [p.read_bytes() for p in given.images], given.clients, given.seconds)).text())


if __name__ == "__main__":
    main()
