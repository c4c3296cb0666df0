"""Whole trainings side by side: each leaves what it leaves alone, whatever becomes of the others."""

import functools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from platform.config.data import DataConfig
from platform.config.models import GoogLeNetConfig
from platform.config.sections import Config
from platform.data.index import Index
from platform.training.fused.group import Group, Place
from platform.training.loop import train
from platform.training.meter import NonFiniteLoss
from platform.training.progress import Progress
from platform.training.worker import Worker
from tests.training.fused.trainings import require_close
from tests.training.test_loop import Recorder, config, index, nothing, saved_state  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "few_images")]
TOLERANCE = 1e-5, 1e-3  # absolute, relative
Members = dict[str, Config]


@pytest.fixture
def members(digits_data: DataConfig) -> Members:
    """Of other seeds, orders, learning rates, and lengths."""
    cfg = config(digits_data, epochs=0.022)
    return {
        "a": cfg,
        "b": replace(cfg, seed=1, order_seed=1, optim=replace(cfg.optim, lr=0.02)),
        "c": replace(cfg, seed=2, training=replace(cfg.training, epochs=0.033, averaging="ema")),
    }


def together(
    members: Members, data: Index, folder: Path, report: Callable[[str], Recorder] = lambda _: Recorder()
) -> tuple[Group, dict[str, nn.Module], dict[str, Exception]]:
    """The group, what each training returned, and what it raised that is its own affair."""
    group, networks, errors = Group(torch.device("cpu")), {}, {}

    def run(name: str) -> None:
        progress = Progress()
        place = Place(group, name, progress)
        try:
            networks[name] = train(members[name], data, Worker(), folder / name, report(name), progress, place=place)
        except NonFiniteLoss as error:
            errors[name] = error

    group.run({name: functools.partial(run, name) for name in members})
    return group, networks, errors


def alone(members: Members, data: Index, folder: Path) -> dict[str, nn.Module]:
    return {name: train(cfg, data, Worker(), folder / name, nothing) for name, cfg in members.items()}


def require_same_ends(names: str, one: Path, other: Path) -> None:
    for name in names:
        require_close(saved_state(one / name), saved_state(other / name), *TOLERANCE, name)


def test_trainings_together_end_as_alone(index: Index, members: Members, tmp_path: Path):  # noqa: F811
    """The last goes on when the others have ended."""
    expected = alone(members, index, tmp_path / "alone")
    recorders = {name: Recorder() for name in members}
    group, networks, _ = together(members, index, tmp_path / "together", recorders.__getitem__)
    require_same_ends("abc", tmp_path / "alone", tmp_path / "together")
    for name, network in networks.items():
        require_close(expected[name].state_dict(), network.state_dict(), *TOLERANCE, name)
        assert all(each.untyped_storage().nbytes() == each.nbytes for each in network.state_dict().values())
    steps = {name: recorder.reports[-1][0] for name, recorder in recorders.items()}
    assert steps["a"] == steps["b"] < steps["c"]
    assert group.fused_steps == steps["a"]


def test_a_member_that_fails_leaves_the_others_as_they_were(index: Index, members: Members, tmp_path: Path):  # noqa: F811
    alone({name: members[name] for name in "ac"}, index, tmp_path / "alone")
    members["b"] = replace(members["b"], optim=replace(members["b"].optim, lr=1e30))
    _, networks, errors = together(members, index, tmp_path / "together")
    assert networks.keys() == {"a", "c"}
    assert re.search("not finite", str(errors["b"]))
    require_same_ends("ac", tmp_path / "alone", tmp_path / "together")


def test_an_interrupted_group_goes_on_and_so_does_one_of_it_alone(index: Index, members: Members, tmp_path: Path):  # noqa: F811
    """An error that is nobody's own ends all; each goes on from its newest checkpoint, wherever that is."""
    alone(members, index, tmp_path / "alone")
    often = {name: replace(cfg, checkpoint=replace(cfg.checkpoint, every_s=1e-9)) for name, cfg in members.items()}
    with pytest.raises(KeyboardInterrupt):
        together(often, index, tmp_path / "together", lambda name: Recorder(3 if name == "b" else None))
    reached = {name: (saved_state(tmp_path / "together" / name) or {"step": 0})["step"] for name in members}
    assert all(0 < step <= 3 for step in reached.values())
    train(often["a"], index, Worker(), tmp_path / "together" / "a", nothing)
    together({name: often[name] for name in "bc"}, index, tmp_path / "together")
    require_same_ends("abc", tmp_path / "alone", tmp_path / "together")


def test_members_that_cannot_be_computed_together_are_trained_one_after_another(
    index: Index,  # noqa: F811
    members: Members,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
):
    """To the last bit as alone: of other widths."""
    members["b"] = replace(members["b"], model=GoogLeNetConfig(width=0.2))
    expected = alone(members, index, tmp_path / "alone")
    group, networks, _ = together(members, index, tmp_path / "together")
    assert group.fused_steps == 0
    assert "one after another: their networks differ in shape" in caplog.text
    for name, network in networks.items():
        require_close(expected[name].state_dict(), network.state_dict(), 0, 0, name)
