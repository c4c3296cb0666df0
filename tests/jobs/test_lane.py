"""What a lane's process does once, however many trials of a sweep it takes."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from jobs.lane import _freeze_imported


@pytest.fixture(autouse=True)
def _unfrozen() -> Iterator[None]:
    _freeze_imported.cache_clear()
    yield
    gc.unfreeze()


class Knot:
    """In a cycle: the collector alone removes it."""

    def __init__(self) -> None:
        self.itself = self


def test_what_a_trial_leaves_is_collected_after_the_next_one_has_begun() -> None:
    _freeze_imported()
    assert gc.get_freeze_count() > 100_000
    left = Knot()
    reference = weakref.ref(left)
    _freeze_imported()  # the next trial's, while something still holds on to it
    del left
    gc.collect()
    assert reference() is None
