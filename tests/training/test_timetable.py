"""What is due after which step, against steps counted by hand."""

from platform.config.evaluation import EvaluationConfig
from platform.config.training import CheckpointConfig, TrainingConfig
from platform.training.timetable import Timetable

STEPS_PER_EPOCH = 7


def timetable(*, every_epochs: int = 1, every_steps: int = 0, epochs: float = 2.5) -> Timetable:
    return Timetable.of(
        TrainingConfig(epochs=epochs, log_every_steps=4),
        CheckpointConfig(every_steps=every_steps),
        EvaluationConfig(every_epochs=every_epochs),
        STEPS_PER_EPOCH,
    )


def test_evaluations_follow_epochs_and_the_last_step() -> None:
    made = timetable()
    assert made.last_step == 18
    assert [step for step in range(1, 19) if made.evaluates(step)] == [7, 14, 18]
    assert [step for step in range(1, 19) if timetable(every_epochs=0).evaluates(step)] == [18]


def test_log_steps_are_the_first_every_few_and_those_before_evaluations_and_checkpoints() -> None:
    assert [step for step in range(1, 19) if timetable().is_log_step(step)] == [1, 4, 7, 8, 12, 14, 16, 18]
    made = timetable(every_epochs=0, every_steps=5)
    assert [step for step in range(1, 19) if made.is_log_step(step)] == [1, 4, 5, 8, 10, 12, 15, 16, 18]
