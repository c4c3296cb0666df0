"""No step waits for the device but where its line is marked `# sync point`.

Steps run in PyTorch's mode in which each wait is an error. Then a whole training runs in the mode in which each is a
warning, and every warning must come from a marked line, or from what such a line calls.
"""

import linecache
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

import torch

from platform.checkout import ROOT
from platform.config.data import DataConfig
from platform.config.optim import optimiser_class
from platform.config.sections import Config
from platform.data.batch import Batch
from platform.data.pixels import Pixels
from platform.gpu_check.checks.resume import training_of
from platform.gpu_check.context import Context
from platform.gpu_check.results import Results
from platform.training.feed import Feed
from platform.training.initial import initial_state
from platform.training.learner import Learner
from platform.training.loop import train
from platform.training.meter import Meter
from platform.training.progress import Progress
from platform.training.step_time import NOT_TIMED
from platform.training.timetable import Timetable

MARK = "# sync point"
SAID = "synchronizing CUDA operation"  # of PyTorch's warning
UNCOUNTED = 3  # steps, in which constants go to the device and kernels are chosen
STEPS = 6


def waiting(context: Context, results: Results) -> None:
    """Of PyTorch's own optimisers: the others are not ours."""
    context.require_gpu("nothing is waited for")
    for name in ("sgd", "adamw"):
        waited = _waits_of_steps(context, name)
        results.require(f"no wait in a step ({name})", waited or f"{STEPS - UNCOUNTED} steps", passed=not waited)
    watch = Watch()
    with watch.watching():
        _train_watched(context)
    unmarked = "; ".join(watch.unmarked[:5])
    said = f"{watch.waits} waits, each at a marked line" if not unmarked else f"not marked: {unmarked}"
    results.require("waits are marked", said, passed=not unmarked)


@dataclass
class Watch:
    """Hears of waits."""

    waits: int = 0
    unmarked: list[str] = field(default_factory=list)  # the innermost line of the platform's, each once
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Meanwhile PyTorch's warnings of waits come here, and no others are changed."""
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            usual = warnings.showwarning

            def heard(message: Warning | str, *rest: Any, **more: Any) -> None:
                if SAID in str(message):
                    self._note(sys._getframe(1))
                else:
                    usual(message, *rest, **more)

            warnings.showwarning = heard
            yield

    def _note(self, frame: FrameType | None) -> None:
        lines = list(_lines(frame))
        with self._lock:
            self.waits += 1
            if not any(MARK in text for _, text in lines):
                where = lines[0][0] if lines else "outside of the platform"
                if where not in self.unmarked:
                    self.unmarked.append(where)


def _lines(frame: FrameType | None) -> Iterator[tuple[str, str]]:
    """The platform's lines that are being run, the innermost first: where, and the text of the statement."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(f"{ROOT}/platform/") and "/gpu_check/" not in file:
            yield f"{file.removeprefix(f'{ROOT}/')}:{frame.f_lineno}", linecache.getline(file, frame.f_lineno)
        frame = frame.f_back


def _waits_of_steps(context: Context, optimiser: str) -> str:
    """What PyTorch says of the first wait; "": there was none."""
    optim = optimiser_class(optimiser)(name=optimiser, clip_norm=1.0)
    config = replace(training_of(context), optim=optim)
    learner, meter, batches = _learner(context, config)
    try:
        for step, batch in enumerate(batches):
            torch.cuda.set_sync_debug_mode("error" if step >= UNCOUNTED else "default")
            meter.add(learner.learn(batch, step), step)
    except RuntimeError as error:
        if SAID in str(error):
            return str(error).splitlines()[0]
        raise
    finally:
        torch.cuda.set_sync_debug_mode("default")
        batches.close()
    return ""


def _learner(context: Context, config: Config) -> tuple[Learner, Meter, Any]:
    data: DataConfig = config.data
    index, worker = context.shards(context.sizes.small_side).index, context.worker
    feed = Feed.of(config, index.split("train"), worker, Progress(), None)
    timetable = Timetable.of(config.training, config.checkpoint, config.evaluation, feed.order.steps_per_epoch)
    state = initial_state(config, timetable, context.device)
    pixels = Pixels(data, context.device)
    learner = Learner(config, state, feed, timetable, pixels, torch.float32, NOT_TIMED, Progress())

    def batches() -> Iterator[Batch]:
        with feed.open() as loader:
            yield from feed.batches(loader, 0, STEPS)

    return learner, Meter(config.training, config.optim.lr, worker, feed.order, 0), batches()


def _train_watched(context: Context) -> None:
    """A training that warns of waits from its first log step to the last one."""
    config = training_of(context)
    index = context.shards(context.sizes.small_side).index
    seen: list[int] = []

    def report(step: int, metrics: dict[str, float]) -> None:
        seen.append(step)
        torch.cuda.set_sync_debug_mode("warn" if len(seen) < 7 else "default")

    try:
        train(config, index, context.worker, context.folder / "watched", report)
    finally:
        torch.cuda.set_sync_debug_mode("default")
