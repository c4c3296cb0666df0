"""When things happen on the way to the first step, for `platform.bench.timeline`.

In: the name of what has just happened. Out: a line in the file that PLATFORM_MARKS names; nothing where it is not set.
"""

import os
import time

FILE = "PLATFORM_MARKS"  # environment variable


def mark(what: str) -> None:
    """Append seconds since the epoch, this process's id and what has happened, tabs between them."""
    if path := os.environ.get(FILE):
        with open(path, "a") as file:
            file.write(f"{time.time():.4f}\t{os.getpid()}\t{what}\n")
