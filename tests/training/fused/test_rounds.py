"""Steps of members with a batch each: who is computed with whom, and what an error of one means for the others."""

from dataclasses import replace

import pytest
import torch

from platform.training.fused.network import FusedNetwork
from platform.training.fused.rounds import Rounds, Turn
from tests.training.fused.trainings import (
    CLASSES,
    Training,
    alone,
    at_lr,
    batch,
    config,
    require_close,
    small,
    training,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def turn(member: Training, kind: str = "small", images: int = 12) -> Turn:
    return Turn(kind, member.fused, batch(member.seed, images), torch.float32)


def members(count: int) -> dict[str, Training]:
    made = {str(seed): training(at_lr(config(), 0.01 * (seed + 1)), seed) for seed in range(count)}
    for member in made.values():
        member.begin_step()
    return made


def weights(member: Training) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in member.state.module.state_dict().items()}


def test_those_of_one_kind_and_size_are_computed_together_and_nobody_else():
    made = members(7)
    made["6"].cfg.training = replace(made["6"].cfg.training, max_batch_per_worker=6)  # cut into other parts
    turns = {name: turn(member) for name, member in made.items()}
    turns["2"], turns["3"] = turn(made["2"], images=8), turn(made["3"], images=8)
    turns["4"] = turn(made["4"], kind="another")
    turns["5"] = replace(turn(made["5"]), dtype=torch.bfloat16)
    rounds = Rounds()
    rounds.make(turns)
    assert rounds.fused_steps == 2
    assert [name for name, each in turns.items() if each.result] == ["0", "1", "2", "3"]
    assert all(each.is_over and not each.error for each in turns.values())
    assert rounds.steps_of == {"0": 1, "1": 1, "2": 1, "3": 1}


def test_a_network_is_kept_as_long_as_the_same_come():
    made, rounds = members(3), Rounds()
    for names in ("01", "01", "012", "012", "02"):
        rounds.make({name: turn(made[name]) for name in names})
        (network,) = rounds._networks.values()
        assert network.modules == [made[name].state.module for name in names]
    parameters = list(made["1"].state.module.parameters())
    assert all(each.untyped_storage().nbytes() == each.nbytes for each in parameters)  # of its own again
    rounds.release(["2"])
    assert not rounds._networks


def test_who_comes_later_learns_as_by_itself():
    """Joined by a third after the first step, left by the first after the second."""
    made, rounds = {name: training(config(), int(name)) for name in "012"}, Rounds()
    for names in ("01", "012", "12"):
        for name in names:
            made[name].begin_step()
        turns = {name: Turn("small", made[name].fused, made[name].batch, torch.float32) for name in names}
        rounds.make(turns)
        assert all(each.result for each in turns.values())
        for name in names:
            made[name].end_step()
    rounds.release(["1"])
    for name, steps in (("0", 2), ("1", 3), ("2", 2)):
        expected = training(config(), int(name))
        alone(expected, steps)
        require_close(expected.state.at(steps), made[name].state.at(steps), 1e-5, 1e-3, name)
    assert rounds.fused_steps == 3


def test_an_error_of_one_leaves_every_member_to_itself_and_as_it_was():
    """A label that there is no class for: whose it is meets it again, in its own step."""
    made, rounds = members(3), Rounds()
    rounds.make({name: turn(member) for name, member in made.items()})
    before = {name: weights(member) for name, member in made.items()}
    turns = {name: turn(member) for name, member in made.items()}
    labels = torch.full_like(turns["1"].batch.labels_N, CLASSES)
    turns["1"].batch = replace(turns["1"].batch, labels_N=labels)
    rounds.make(turns)
    assert [(each.result, each.error, each.is_over) for each in turns.values()] == [(None, None, True)] * 3
    for name, member in made.items():
        require_close(before[name], weights(member), 0, 0, name)
    assert not rounds.apart
    rounds.make({name: turn(made[name]) for name in "02"})
    assert rounds.fused_steps == 2


@pytest.mark.parametrize("value", [torch.nan, torch.inf], ids=str)
def test_values_of_one_that_are_not_finite_do_not_reach_the_others(value: float):
    """A grouped convolution that pads its groups with zeros would multiply them by its neighbours' values: oneDNN's
    does, in bfloat16, channels last."""
    made, expected = members(3), members(3)
    turns = {name: Turn("small", each.fused, each.batch, torch.bfloat16) for name, each in made.items()}
    with torch.no_grad():
        for weight in made["1"].state.module.parameters():
            weight.fill_(value)
    before, rounds = weights(made["1"]), Rounds()
    rounds.make(turns)
    assert [(each.result, each.error, each.is_over) for each in turns.values()] == [(None, None, True)] * 3
    torch.testing.assert_close(weights(made["1"]), before, equal_nan=True, atol=0, rtol=0)
    for name in "02":
        alone(made[name], 1, torch.bfloat16)
        alone(expected[name], 1, torch.bfloat16)
        require_close(weights(expected[name]), weights(made[name]), 0, 0, name)
    assert rounds.fused_steps == 0
    rounds.make({name: turn(made[name]) for name in "02"})
    assert rounds.fused_steps == 1


def test_an_optimiser_that_raises_is_its_members_own_affair(monkeypatch: pytest.MonkeyPatch):
    made, expected, rounds = members(3), members(3), Rounds()

    def step() -> None:
        raise ValueError("no such update")

    monkeypatch.setattr(made["1"].state.optimizer, "step", step)
    turns = {name: replace(turn(member), batch=member.batch) for name, member in made.items()}
    rounds.make(turns)
    assert {name: str(each.error) for name, each in turns.items() if each.error} == {"1": "no such update"}
    for name in "02":
        alone(expected[name], 1)
        require_close(weights(expected[name]), weights(made[name]), 1e-5, 1e-3, name)


def spoilt(member: Training) -> Turn:
    """Of a label that there is no class for."""
    own = turn(member)
    own.batch = replace(own.batch, labels_N=torch.full_like(own.batch.labels_N, CLASSES))
    return own


def test_what_fails_again_after_each_has_made_its_step_is_left():
    """But not where somebody has left meanwhile: the error may be that one's, who comes again with it."""
    made, rounds = members(2), Rounds()

    def fail() -> None:
        rounds.make({"0": turn(made["0"]), "1": spoilt(made["1"])})

    fail()
    rounds.leave("1")
    fail()
    assert not rounds.apart
    rounds.make({name: turn(made[name]) for name in "01"})  # which is well
    fail()
    assert not rounds.apart
    fail()
    (why,) = rounds.apart.values()
    assert why
    assert not rounds._networks


def test_who_cannot_be_given_its_parameters_back_is_told(monkeypatch: pytest.MonkeyPatch):
    """As where there is no memory for that: it waits for its step."""
    made, rounds = members(2), Rounds()
    rounds.make({name: turn(made[name]) for name in "01"})

    def release(self: FusedNetwork) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(FusedNetwork, "release", release)
    turns = {"0": turn(made["0"]), "1": spoilt(made["1"])}
    rounds.make(turns)
    assert all(isinstance(each.error, torch.OutOfMemoryError) and each.is_over for each in turns.values())


def test_kinds_that_cannot_be_computed_are_known_by_their_reason():
    made, rounds = members(2), Rounds()
    made["wide"] = training(config(), 7, small(7, widths=(4, 8)))
    made["wide"].begin_step()
    rounds.make({name: turn(made[name], kind="odd") for name in ("0", "wide")})
    assert rounds.apart == {"odd": "their networks differ in shape"}
    rounds.make({name: turn(made[name]) for name in "01"})
    assert rounds.fused_steps == 1
