"""The evaluations of a training under way: scores of the averaged network, reported, saved, and training's end.

In: a step that is done. Out: single-view validation scores, a checkpoint with them, whether training goes on.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from platform.data.index import Split
from platform.evaluation.predict import PredictConfig, views_at_once
from platform.training.averaged_network import AveragedNetwork
from platform.training.early_stopping import Patience
from platform.training.meter import Meter
from platform.training.peers import meet
from platform.training.progress import EVALUATING
from platform.training.saver import Saver
from platform.training.step_parts import REST
from platform.training.step_time import StepTimer
from platform.training.timetable import Timetable
from platform.training.validation import evaluate

log = logging.getLogger("platform.training")
Report = Callable[[int, dict[str, float]], None]  # (global steps done, metrics)


@dataclass(frozen=True)
class Evaluations:
    """What follows the steps that `evaluation.every_epochs` names, and the last."""

    network: AveragedNetwork  # that is evaluated
    split: Split  # of the validation images
    timetable: Timetable
    saver: Saver
    meter: Meter
    timer: StepTimer
    report: Report
    on_evaluation: Callable[[], None] | None  # called on rank 0 after each but the last, once it is saved

    @cached_property
    def _patience(self) -> Patience:
        return Patience.of(self.network.cfg.training, self.timetable.steps_per_epoch)

    def end_training(self, step: int) -> bool:
        """Whether the evaluation after `step` was one too many without a better score; the same on every rank."""
        return self._patience.is_over(self.network.state, step)

    def missed(self, step: int) -> bool:
        """Whether training was killed between the checkpoint of `step` and its evaluation."""
        return self.network.state.evaluated < step and self.timetable.evaluates(step)

    def after(self, step: int) -> None:
        """Evaluate, report and save after `step` global steps; every rank calls this.

        Raises:
            ShardError: no validation image can be decoded.
            CheckpointError: too many could not be written.
        """
        worker, progress = self.network.feed.worker, self.network.progress
        progress.at(step, EVALUATING)
        self.timer.mark(REST)
        is_best = self._score(step)
        last = step == self.timetable.last_step or self.end_training(step)
        self.timer.leave_out()
        self.saver.save_if_due(step, self.meter, is_best, log_step=True, last=last)
        if self.on_evaluation and not last and worker.rank == 0:
            with progress.excused():
                self.on_evaluation()
        meet(worker, progress.moved)  # rank 0 may have waited for a copy of its checkpoint, or in on_evaluation
        self.meter.restart_clock()
        self.timer.leave_out()

    def _score(self, step: int) -> bool:
        """Score the network and report that; whether it is the best so far."""
        network, cfg = self.network, self.network.cfg
        worker, pixels, dtype = network.feed.worker, network.pixels, network.dtype
        began = time.monotonic()
        predict_cfg = PredictConfig.of(cfg)
        evaluated = network.after(step)
        scores = evaluate(evaluated, predict_cfg, self.split, worker, pixels, dtype, network.progress)
        took = {"val/seconds": time.monotonic() - began}  # a log step came before, which waited for the device
        if predict_cfg.larger:
            took["val/views_at_once"] = float(views_at_once(evaluated, predict_cfg, pixels, dtype))
        rates = scores.rates()
        is_best = network.state.scored(step, rates["top1"], cfg.training.min_delta)
        if self.end_training(step) and step < self.timetable.last_step:
            took |= {"stopped_epoch": self.timetable.epoch(step), "progress": 1.0}
            level = logging.WARNING if worker.rank == 0 else logging.DEBUG
            log.log(level, self._patience.reason(network.state, step))
        self.report(step, {f"val/{name}": value for name, value in rates.items()} | took)
        return is_best
