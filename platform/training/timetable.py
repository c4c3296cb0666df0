"""What is due after which step: durations of the config turned into global steps, once."""

from dataclasses import dataclass

from platform.config.evaluation import EvaluationConfig
from platform.config.training import CheckpointConfig, TrainingConfig
from platform.data.order import total_steps


@dataclass(frozen=True)
class Timetable:
    """The global steps of a run at which something happens besides training; steps count from 1 once done."""

    steps_per_epoch: int
    last_step: int
    log_every: int
    save_every: int  # 0: by time alone
    evaluate_every: int  # 0: at the end only

    @classmethod
    def of(
        cls,
        training: TrainingConfig,
        checkpoint: CheckpointConfig,
        evaluation: EvaluationConfig,
        steps_per_epoch: int,
    ) -> "Timetable":
        """The timetable of a run whose epochs have `steps_per_epoch` global steps."""
        return cls(
            steps_per_epoch,
            last_step=total_steps(training.epochs, steps_per_epoch),
            log_every=training.log_every_steps,
            save_every=checkpoint.every_steps,
            evaluate_every=evaluation.every_epochs * steps_per_epoch,
        )

    def epoch(self, step: int) -> float:
        """How many epochs `step` global steps are."""
        return step / self.steps_per_epoch

    def is_log_step(self, step: int) -> bool:
        """Whether the figures are read and reported after `step`; so they are before every evaluation, too."""
        return step == 1 or step % self.log_every == 0 or _is_multiple(step, self.save_every) or self.evaluates(step)

    def evaluates(self, step: int) -> bool:
        """Whether an evaluation follows `step`: one follows the last in any case."""
        return step >= self.last_step or _is_multiple(step, self.evaluate_every)


def _is_multiple(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
