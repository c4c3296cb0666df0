"""The time that the self-test may take, and its parts in the order of their importance.

In: parts with estimates. Out: those that fit were run; the others are noted as left out. A part that fails stops no
other, and one that never ends is given up when the time is.
"""

import gc
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from platform.gpu_check.results import NotHere, Results
from platform.text import first_line

RESERVE_S = 5.0  # for the table and the file
T = TypeVar("T")


@dataclass(frozen=True)
class Part(Generic[T]):
    """Something that is checked or measured."""

    name: str
    seconds_on_gpu: float  # about, on one H100; estimated, until somebody has measured it
    seconds_on_cpu: float  # about, on two cores
    run: Callable[[T, Results], None]

    def seconds(self, device: torch.device) -> float:
        """About what it takes there."""
        return self.seconds_on_gpu if device.type == "cuda" else self.seconds_on_cpu


class Budget:
    """Counts down.

    Args:
        minutes: from now.
        clock: seconds.
    """

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self.minutes = clock, minutes
        self._began = clock()

    @property
    def passed_s(self) -> float:
        """Seconds since it began."""
        return self._clock() - self._began

    @property
    def left_s(self) -> float:
        """Seconds that parts may still take."""
        return 60 * self.minutes - RESERVE_S - self.passed_s


class Runner:
    """Runs parts within a budget.

    Args:
        budget: of all of them.
        results: what they add to.
        save: is called after each part, and before a part is given up.
        say: a line about what comes next.
    """

    def __init__(
        self, budget: Budget, results: Results, save: Callable[[], None], say: Callable[[str], None] = print
    ) -> None:
        self._budget, self._results, self._save, self._say = budget, results, save, say
        self.running = ""  # name of the part under way

    def run(self, parts: Sequence[Part[T]], subject: T, device: torch.device) -> None:
        """Run the parts that fit, in order."""
        for part in parts:
            needed_s = part.seconds(device)
            if needed_s > self._budget.left_s:
                left_s = max(0.0, self._budget.left_s)
                said = f"for time: it takes about {needed_s:.0f} s, and {left_s:.0f} are left; give more --minutes"
                self._results.leave_out(part.name, said)
                continue
            self._say(f"[{self._budget.passed_s:4.0f} s] {part.name}, about {needed_s:.0f} s")
            self._run(part, subject, device)
            self._save()

    def _run(self, part: Part[T], subject: T, device: torch.device) -> None:
        before = self._budget.passed_s
        self.running = part.name
        try:
            part.run(subject, self._results)
        except NotHere as reason:
            self._results.leave_out(part.name, str(reason))
        except Exception as error:  # whatever a driver, a compiler or a network may raise
            traceback.print_exc()
            self._results.require(part.name, f"{type(error).__name__}: {first_line(error)}", passed=False)
        finally:
            self.running = ""
            self._results.seconds[part.name] = self._budget.passed_s - before
            _tidy(device)

    def give_up(self, end: Callable[[], None]) -> threading.Timer:
        """Call `end` once the time has passed, on a daemon thread that is started here: the part under way has failed
        then. Cancel the timer when all parts are done."""

        def passed() -> None:
            name = self.running or "the end"
            self._results.require(name, f"it did not end within --minutes {self._budget.minutes:g}", passed=False)
            self._save()
            end()

        timer = threading.Timer(max(0.0, self._budget.left_s), passed)
        timer.daemon = True
        timer.start()
        return timer


def _tidy(device: torch.device) -> None:
    """Nothing of a part is left for the next one."""
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()  # of compiled networks: CUDA graphs keep memory
    gc.collect()
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("default")
        torch.cuda.empty_cache()
