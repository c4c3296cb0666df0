"""When things happen on the way to the first step, for `platform.bench.timeline`.

In: the name of what has just happened. Out: a line in the file that PLATFORM_MARKS names; nothing where it is not set.
A launch hands the variable on to its processes on a cluster; those of other machines write to a file of their own.
"""

import contextlib
import os
import time

FILE = "PLATFORM_MARKS"  # environment variable


def mark(what: str) -> None:
    """Append seconds since the epoch, this process's id and what has happened, tabs between them."""
    if path := os.environ.get(FILE):
        with contextlib.suppress(OSError), open(path, "a") as file:  # of another machine there may be no such folder
            file.write(f"{time.time():.4f}\t{os.getpid()}\t{what}\n")
