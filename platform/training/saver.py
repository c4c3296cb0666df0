"""When a member's state is saved: in time, on request, for its score, and never after a bad step.

In: what the training loop has just done. Out: checkpoints on rank 0; at the start, the newest one on every rank.
"""

import logging
import time

from platform.config.training import CheckpointConfig
from platform.training.checkpoints import Checkpoints
from platform.training.meter import Meter
from platform.training.peers import from_rank_0
from platform.training.progress import Progress
from platform.training.state import TrainingState
from platform.training.step_parts import CHECKPOINT
from platform.training.step_time import NOT_TIMED, StepTimer
from platform.training.worker import Worker

log = logging.getLogger("platform.training")
LONGEST_WAIT_S = 5.0  # of a request for a checkpoint, for the next log step


class Saver:
    """Saves the state when it is time, on rank 0, and brings it back on every rank.

    Args:
        config: when it is time.
        worker: this one.
        checkpoints: where they are written to and read from.
        state: what is saved, and what is loaded into.
        progress: passes on requests for a checkpoint, and is told when they are met.
        timer: is told what saving takes.
    """

    def __init__(
        self,
        config: CheckpointConfig,
        worker: Worker,
        checkpoints: Checkpoints,
        state: TrainingState,
        progress: Progress,
        timer: StepTimer = NOT_TIMED,
    ) -> None:
        self._config, self._worker, self._timer = config, worker, timer
        self._checkpoints, self._state, self._progress = checkpoints, state, progress
        self._saved_at, self._saved_step, self._due = time.monotonic(), -1, False

    def restore(self) -> int:
        """Load the newest checkpoint on rank 0 and send it to all, so that none has another.

        Returns:
            its step; 0 where there is none.

        Raises:
            CheckpointError: there are checkpoints, but none is whole.
        """
        saved = from_rank_0(self._worker, self._checkpoints.load, self._progress.moved)
        if saved is None:
            return 0
        self._state.load(saved)
        step = int(saved["step"])
        log.info("resumed at step %d", step)
        return step

    def restore_best(self, steps_per_epoch: int) -> int:
        """Bring back the state of the evaluation with the highest top-1 on every rank; returns its step.

        Raises:
            CheckpointError: it is not there, or not whole.
        """
        step, score = int(self._state.best["step"]), self._state.best["score"]
        self._state.load(from_rank_0(self._worker, lambda: self._checkpoints.load_step(step), self._progress.moved))
        if self._worker.rank == 0:
            log.warning(
                "the weights of epoch %g are evaluated, whose single-view validation top-1 was the highest (%.2f%%): "
                "chosen by these images, they score better on them than on others",
                step / steps_per_epoch,
                100 * score,
            )
        return step

    def save_if_due(
        self, step: int, meter: Meter, is_best: bool | None = None, *, log_step: bool, last: bool = False
    ) -> None:
        """Save if it is time.

        Args:
            step: global steps done.
            meter: knows of bad steps.
            is_best: whether the evaluation after this step had the best score so far; None: there was none.
            log_step: whether the meter was just read. Means that begin anywhere else would be others after a restart,
                so checkpoints wait for a log step; only a request does not wait long.
            last: whether training ends here.

        Raises:
            CheckpointError: too many could not be written.
        """
        required = last or (is_best is not None and self._config.with_evaluations)
        urgent = bool(is_best) and self._config.keep_best
        self._due |= required or urgent or (step != self._saved_step and self._is_time(step))  # until it can be
        if self._worker.rank != 0 or not self._may_save(log_step=log_step):
            return
        with self._timer.apart(CHECKPOINT):
            self._save(step, meter, required=required, urgent=urgent)

    def _save(self, step: int, meter: Meter, *, required: bool, urgent: bool) -> None:
        if meter.first_bad_step() is not None:  # sync point; every worker raises at the next log step
            return
        best_step = int(self._state.best["step"]) if self._config.keep_best else None
        if self._checkpoints.save(
            self._state.at(step),
            best_step=best_step,
            wait=required,
            urgent=urgent,
            taken=self._progress.checkpoint_is_taken,
            waiting=self._progress.moved,
        ):
            self._saved_at, self._saved_step, self._due = time.monotonic(), step, False

    def _may_save(self, *, log_step: bool) -> bool:
        requested_for_s = self._progress.checkpoint_asked_for_s()
        return (log_step and (self._due or requested_for_s > 0)) or requested_for_s > LONGEST_WAIT_S

    def _is_time(self, step: int) -> bool:
        every = self._config.every_steps
        return time.monotonic() - self._saved_at > self._config.every_s or (every > 0 and step % every == 0)
