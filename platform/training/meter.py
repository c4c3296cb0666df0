"""Training metrics: added up on the device, read over all workers at log steps, with an eye on bad steps.

In: results of steps, on the device. Out: metrics as numbers; an error that names the samples of a bad step.
"""

import time
from typing import Any

import torch
import torch.distributed as dist

from platform.config.training import TrainingConfig
from platform.data.order import Order
from platform.training.feed import BatchSource
from platform.training.step import StepResult
from platform.training.step_parts import DECODE, PARTS
from platform.training.step_time import StepTimer
from platform.training.worker import Worker

NAMED_SAMPLES = 8


class NonFiniteLoss(RuntimeError):
    """The loss or its gradient is infinite, not a number or too long; raised on every worker alike."""


class Meter:
    """Adds up step results on the device, and reads them over all workers at log steps.

    Args:
        training: the batch size, and which steps are bad.
        lr: the whole learning rate, for the message of a loss that is not finite.
        worker: this one.
        order: of the samples, to name those of a bad step.
        start_step: global steps done before.
    """

    def __init__(self, training: TrainingConfig, lr: float, worker: Worker, order: Order, start_step: int) -> None:
        self._training, self._lr, self._worker, self._order = training, lr, worker, order
        self._last_step = start_step
        self._waited_s = self._decode_s = 0.0
        self._sums = torch.zeros(4, device=worker.device)
        self._bad_steps = 0  # left out since the last log step
        self._bad_in_a_row = 0
        self._first_bad = torch.full((), -1, dtype=torch.int64, device=worker.device)
        self._own_loss_is_bad = torch.zeros((), dtype=torch.bool, device=worker.device)  # in the first bad step
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave out of the speed what was not training."""
        self._since = time.monotonic()
        self._clock_step = None

    def add(self, result: StepResult, step: int) -> None:
        """Take in the result of global step `step` (counted from 0)."""
        if self._clock_step is None:
            self._clock_step = step
        if result.skipped:
            self._count_skipped(result, step)
            return
        self._bad_in_a_row = 0
        self._sums += torch.stack([result.loss, result.main_loss, result.correct, result.gradient_norm])
        self._note(result, step)

    def _note(self, result: StepResult, step: int) -> None:
        """Remember the first bad step, without waiting for the device."""
        first = result.bad & (self._first_bad < 0)  # the norm, and so this, is the same on every worker
        self._first_bad = torch.where(first, step, self._first_bad)
        self._own_loss_is_bad = torch.where(first, ~torch.isfinite(result.loss), self._own_loss_is_bad)

    def _count_skipped(self, result: StepResult, step: int) -> None:
        self._bad_steps += 1
        self._bad_in_a_row += 1
        if self._bad_in_a_row >= self._training.max_bad_steps:
            self._note(result, step)
            self.check_finite()

    def first_bad_step(self) -> int | None:
        """The first step whose gradient was not finite, or too long."""
        step = int(self._first_bad)
        return step if step >= 0 else None

    def check_finite(self) -> None:
        """Raise NonFiniteLoss if any step so far was bad; every worker calls this at the same step."""
        step = self.first_bad_step()
        if step is None:
            return
        limit, row = self._training.max_gradient_norm, self._bad_in_a_row
        what = f"the loss is not finite{f', or its gradient longer than {limit:g},' if limit else ''} at step {step}"
        raise NonFiniteLoss(
            f"{what}{f' and {row - 1} before it' if row > 1 else ''} ({self._where(step)}); lower optim.lr (now "
            f"{self._lr}), set optim.clip_norm or lengthen schedule.warmup_epochs, "
            "under a new name= or with fresh=true"
        )

    def _where(self, step: int) -> str:
        """The workers whose own loss was bad, with their samples; the gradient alone is everybody's."""
        found = f"rank {self._worker.rank} on {self._worker.node}, {samples_of(self._order, step, self._worker)}"
        all_found: list[str | None] = [found if bool(self._own_loss_is_bad) else None]
        if self._worker.world > 1:
            all_found = [None] * self._worker.world
            dist.all_gather_object(all_found, found if bool(self._own_loss_is_bad) else None)
        return "; ".join(each for each in all_found if each) or "in the gradient, on every rank"

    def read(self, step: int, total_steps: int, loader: BatchSource, timer: StepTimer) -> dict[str, float]:
        """The metrics of a log step: means since the last one over all workers; of the data, sums over them.

        Every worker calls this at the same step.

        Args:
            step: global steps done.
            total_steps: of the whole run.
            loader: knows how long it was waited for, and what it could not read.
            timer: knows what the steps' time went into.

        Raises:
            NonFiniteLoss: a step since the last one was bad.
        """
        self.check_finite()
        elapsed = time.monotonic() - self._since
        waited = (loader.waited_s - self._waited_s) / elapsed
        counts = loader.counts() | {"data/wait_share": waited / self._worker.world} | self._parts(step, loader, timer)
        sums = torch.cat([self._sums, torch.tensor(list(counts.values()), device=self._sums.device)])
        if self._worker.world > 1:
            dist.all_reduce(sums)
        loss, main_loss, correct, norm = (sums[:4] / self._worker.world).tolist()
        counts: dict[str, Any] = dict(zip(counts, sums[4:].tolist(), strict=True))
        steps = step - self._last_step - self._bad_steps
        timed_steps = step - (self._clock_step if self._clock_step is not None else step)
        images_per_s = timed_steps * self._training.batch_size / elapsed
        bad_steps = {"train/bad_steps": float(self._bad_steps)} if self._training.bad_steps == "skip" else {}
        self._sums.zero_()
        self._bad_steps = 0
        self._last_step = step
        self._waited_s, self._decode_s = loader.waited_s, loader.decode_s
        self.restart_clock()
        means: dict[str, float] = {}
        if steps:  # not all left out
            means = {
                "train/loss": loss / steps,
                "train/main_loss": main_loss / steps,
                "train/top1": correct * self._worker.world / (steps * self._training.batch_size),
                "train/gradient_norm": norm / steps,
            }
        return counts | bad_steps | means | {"train/images_per_s": images_per_s, "progress": step / total_steps}

    def _parts(self, step: int, loader: BatchSource, timer: StepTimer) -> dict[str, float]:
        """Milliseconds of a step by part: this worker's share in the mean over all, who measure the same steps."""
        seconds = timer.take()
        if not seconds:
            return {}
        decode_s = (loader.decode_s - self._decode_s) / (step - self._last_step) / loader.threads
        parts = {part: seconds[part] for part in PARTS} | {DECODE: decode_s}
        return {f"within_step/{part}_ms": 1000 * each / self._worker.world for part, each in parts.items()}


def samples_of(order: Order, step: int, worker: Worker) -> str:
    """The ids of the samples in a worker's share of global step `step`, for a message: the first few and how many."""
    ids = order.batch(step, worker.rank, worker.world).tolist()
    more = f" and {len(ids) - NAMED_SAMPLES} more" if len(ids) > NAMED_SAMPLES else ""
    return f"samples {', '.join(map(str, ids[:NAMED_SAMPLES]))}{more}"
