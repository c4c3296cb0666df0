"""Where a worker's training is: its first step, and requests for a checkpoint where there is nothing to save."""

import time

import pytest

from platform.training.progress import COMPUTING, TESTING, WAITING, Progress


def test_where_nothing_is_left_to_save_every_question_is_answered() -> None:
    progress = Progress()
    assert progress.is_answered(progress.ask_for_checkpoint())  # starting
    progress.restored(0, str)
    ticket = progress.ask_for_checkpoint()
    assert not progress.is_answered(ticket)
    progress.at(10, TESTING)
    assert progress.is_answered(ticket)


def test_the_first_step_is_the_first_after_the_checkpoint() -> None:
    progress = Progress()
    progress.restored(40, str)
    progress.at(40, COMPUTING)
    assert progress.first_step_at == 0
    progress.at(41, WAITING)
    first = progress.first_step_at
    assert first == pytest.approx(time.time(), abs=5)
    progress.at(42, WAITING)
    assert progress.first_step_at == first
