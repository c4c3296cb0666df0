"""How exactly an epoch that was killed and resumed trains what an undisturbed one does.

Each sample of the undisturbed epoch is either kept, re-batched or missed; what is trained beyond it is repeated.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Batches = Sequence[Sequence[int]]  # of samples; in a global batch their order does not matter


@dataclass(frozen=True)
class Exactness:
    """Numbers of samples. `kept + rebatched + missed` is the undisturbed epoch."""

    kept: int  # trained in a batch that the undisturbed epoch has, with the same others
    rebatched: int  # trained, in another batch only
    missed: int  # not trained
    repeated: int  # trained again, or not due at all

    @property
    def exact(self) -> bool:
        """Whether the same batches were trained, each as often."""
        return self.rebatched == self.missed == self.repeated == 0


def compare(undisturbed: Batches, trained: Batches) -> Exactness:
    """Compare the global batches that count in the end with those of the undisturbed epoch, whenever they came.

    Args:
        undisturbed: of an epoch that nothing happened to.
        trained: before the checkpoint, then after it.
    """
    due, done = _samples(undisturbed), _samples(trained)
    whole = Counter(map(_key, undisturbed))
    kept = Counter[int]()
    for batch in trained:
        key = _key(batch)
        if whole[key] > 0:
            whole[key] -= 1
            kept.update(batch)
    return Exactness(
        kept=kept.total(),
        rebatched=((due & done) - kept).total(),
        missed=(due - done).total(),
        repeated=(done - due).total(),
    )


def _samples(batches: Batches) -> Counter[int]:
    return Counter(sample for batch in batches for sample in batch)


def _key(batch: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(batch))
