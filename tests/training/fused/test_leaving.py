"""Who leaves a group ends nobody's waiting, whatever goes wrong on its way."""

import threading
import time

import pytest
import torch

from platform.training.fused.group import Group, Place
from platform.training.fused.rounds import Rounds
from platform.training.progress import Progress
from tests.training.fused.trainings import CPU, config, training

pytestmark = pytest.mark.usefixtures("one_thread")


def test_nobody_waits_for_one_whose_parameters_could_not_be_given_back(monkeypatch: pytest.MonkeyPatch):
    """For which there may be no memory."""

    def leave(self: Rounds, name: str) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Rounds, "leave", leave)
    group, member, steps = Group(CPU, is_open=True), training(config(), 0), []

    def stay() -> None:
        steps.append(Place(group, "stay", Progress()).step(member.fused, member.batch, torch.float32))

    def go() -> None:
        staying.start()
        while not group._lock.waiting:
            time.sleep(0.001)
        Place(group, "go", Progress()).hand_on()
        raise KeyError("an error of its own")

    def joined(name: str, run: object) -> threading.Thread:
        def join() -> None:
            with pytest.raises(torch.OutOfMemoryError):
                group.join(name, run, 1, threading.Event())  # pyright: ignore[reportArgumentType]

        return threading.Thread(target=join, daemon=True)

    staying, going = joined("stay", stay), joined("go", go)
    going.start()
    for thread in (going, staying):
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert steps == [None]  # made by itself
