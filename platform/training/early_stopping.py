"""When training ends before its last step: validation top-1 has not risen for `training.patience_epochs`.

In: the scores that the training state keeps, the same on every worker and in every checkpoint. Out: whether to stop.
"""

import math
from dataclasses import dataclass
from typing import Self

from platform.config.training import TrainingConfig
from platform.data.order import steps_of
from platform.training.state import TrainingState


@dataclass(frozen=True)
class Patience:
    """How long training goes on without a better score."""

    steps: int  # 0: to the end
    training: TrainingConfig
    steps_per_epoch: int

    @classmethod
    def of(cls, training: TrainingConfig, steps_per_epoch: int) -> Self:
        """Durations in epochs become steps, as everywhere."""
        steps = math.ceil(steps_of(training.patience_epochs, steps_per_epoch))
        return cls(steps, training, steps_per_epoch)

    def is_over(self, state: TrainingState, step: int) -> bool:
        """Whether training stops after the evaluation of global step `step`. Every worker has the same scores, which
        are sums over all of them, and so decides alike."""
        return self.steps > 0 and state.evaluated == step and step - int(state.improved["step"]) >= self.steps

    def reason(self, state: TrainingState, step: int) -> str:
        """Why, in a sentence."""
        since, score = state.improved["step"] / self.steps_per_epoch, state.improved["score"]
        more = f" by more than {self.training.min_delta:g}" if self.training.min_delta else ""
        return (
            f"training stopped at epoch {step / self.steps_per_epoch:g}, before the last: validation top-1 has not "
            f"risen{more} since epoch {since:g} ({100 * score:.2f}%; training.patience_epochs="
            f"{self.training.patience_epochs:g})"
        )
