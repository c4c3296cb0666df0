"""Which files of this machine are being read just now: a file system that has lost its server answers nothing, not even
an error, so whoever reads there cannot say why nothing goes on.

In: the file, from whoever is about to read it. Out: a warning where that takes long; the file, for a watch that ends a
stalled process. URLs have time limits of their own.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator

log = logging.getLogger("platform.data")
SLOW_S = 60.0
LOOK_EVERY_S = 5.0


class File:
    """A file that is being read since `since`, by `time.monotonic`."""

    def __init__(self, name: str) -> None:
        self.name, self.since = name, time.monotonic()
        self.said = False  # whether it was warned of

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.since


class Read:
    """Reads of one file after another."""

    def __init__(self, file: str) -> None:
        self.now = File(file)

    def goes_on_to(self, file: str) -> None:
        """The one before has been read."""
        self.now = File(file)  # whoever looks at the one before says nothing of this one


class Reads:
    """Those of a process, from any thread. A thread looks at them as long as there are some.

    Args:
        slow_s: seconds after which a read is warned of, once.
        look_every_s: how often that is looked for.
    """

    def __init__(self, slow_s: float = SLOW_S, look_every_s: float = LOOK_EVERY_S) -> None:
        self._slow_s, self._look_every_s = slow_s, look_every_s
        self._under_way: dict[int, Read] = {}
        self._lock = threading.Lock()
        self._watch: threading.Thread | None = None

    @contextlib.contextmanager
    def under_way(self, file: str) -> Iterator[Read]:
        """Note a read for the time of the block."""
        read = Read(file)
        self._under_way[id(read)] = read
        try:
            self._watched()
            yield read
        finally:
            self._under_way.pop(id(read), None)  # it is not there in a process that was forked meanwhile

    def longest(self) -> File | None:
        """The one that has taken longest so far; None: nothing is being read."""
        return min(self._now(), key=lambda file: file.since, default=None)

    def forget(self) -> None:
        """In a forked process, which has none of the threads that read."""
        self._under_way, self._lock, self._watch = {}, threading.Lock(), None

    def _now(self) -> list[File]:
        return [read.now for read in self._under_way.copy().values()]

    def _watched(self) -> None:
        with self._lock:
            if self._watch is None:
                watch = threading.Thread(target=self._look, daemon=True, name="reads")
                with contextlib.suppress(RuntimeError):  # no further thread: nobody is warned, and the file is read
                    watch.start()
                    self._watch = watch

    def _look(self) -> None:
        while True:
            time.sleep(self._look_every_s)
            for file in self._now():
                if file.seconds > self._slow_s and not file.said:
                    file.said = True
                    log.warning(
                        "reading %s has taken %.0f s so far; if it does not end, look at its file system",
                        file.name, file.seconds,
                    )  # fmt: skip
            with self._lock:
                if not self._under_way:
                    self._watch = None
                    return


reads = Reads()  # of this process
os.register_at_fork(after_in_child=reads.forget)
