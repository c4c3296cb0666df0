"""Who waits in a group has not stalled, and who leaves it ends nobody's waiting, whatever goes wrong on its way."""

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


def test_who_waits_for_others_has_not_stalled_and_who_does_not_may_have():
    """In the hand-over before a step, for the others' batches, and on coming back."""
    group, found = Group(CPU, is_open=True), dict[str, float]()
    places = {name: Place(group, name, Progress()) for name in ("first", "second")}
    members = {name: training(config(), seed) for seed, name in enumerate(places)}

    def note(what: str, who: str) -> None:
        found[what] = places[who].progress.stalled_s()

    def stall(who: str) -> None:
        places[who].progress._moved_at = -1e6

    def first() -> None:
        threads[1].start()
        while not group._lock.waiting:
            time.sleep(0.001)
        stall("first")
        places["first"].hand_on()
        note("hands on in return", "second")
        places["first"].hand_on()
        note("waits for a batch", "second")
        stall("first")
        with places["first"].away():
            while "came back" not in found:
                time.sleep(0.001)

    def second() -> None:
        note("hands on", "first")
        stall("second")
        places["second"].step(members["second"].fused, members["second"].batch, torch.float32)
        note("is away", "first")
        note("came back", "first")
        while not group._lock.waiting:
            time.sleep(0.001)
        note("came back", "first")

    threads = [
        threading.Thread(target=group.join, args=(run.__name__, run, 1, threading.Event()), daemon=True)
        for run in (first, second)
    ]
    threads[0].start()
    for thread in threads:
        thread.join()
    assert found.pop("is away") > 1e5  # whoever it waits for excuses it
    assert found == {"hands on": 0.0, "hands on in return": 0.0, "waits for a batch": 0.0, "came back": 0.0}
