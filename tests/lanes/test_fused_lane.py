"""A lane that trains members together: each leaves what it leaves by itself, whatever becomes of the others."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from platform.config.data import DataConfig
from platform.config.ensemble import EnsembleConfig
from platform.config.models import GoogLeNetConfig
from platform.config.sections import Config
from platform.data import samplelog
from platform.data.index import Index
from platform.experiment.member_folder import FAILED, FINISHED, UNFINISHED
from platform.lanes import member as member_module
from platform.lanes.mailbox import Mailbox
from platform.training.fused.group import Group
from platform.training.worker import Worker
from tests.lanes.fused_lanes import Ran, require_same, run, without_ray
from tests.training.conftest import few_images  # noqa: F401
from tests.training.test_loop import config

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "few_images", "_lane")]
Members = dict[str, Config]


@pytest.fixture
def _lane(monkeypatch: pytest.MonkeyPatch, digits: Index) -> None:
    without_ray(monkeypatch, digits)


@pytest.fixture
def members(digits_data: DataConfig) -> Members:
    """Of other seeds, orders, learning rates and lengths."""
    cfg = config(digits_data, epochs=0.022)
    return {
        "a": cfg,
        "b": replace(cfg, order_seed=1, optim=replace(cfg.optim, lr=0.02)),
        "c": replace(cfg, seed=2, training=replace(cfg.training, epochs=0.033, averaging="ema")),
    }


@pytest.fixture
def fused_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of each group that has run."""
    counts: list[int] = []
    before = Group.run

    def counted(self: Group, members: Any) -> None:
        try:
            before(self, members)
        finally:
            counts.append(self.fused_steps)

    monkeypatch.setattr(Group, "run", counted)
    return counts


@pytest.fixture
def alone(members: Members, tmp_path: Path) -> Ran:
    return run(members, tmp_path / "alone")


def test_members_of_one_lane_trained_together_leave_what_they_leave_alone(
    members: Members, alone: Ran, tmp_path: Path, fused_steps: list[int]
):
    """A wider one beside them is trained by itself, to the last bit."""
    wider = {"wider": replace(members["a"], model=GoogLeNetConfig(width=0.12))}
    by_itself = run(wider, tmp_path / "wider")
    ran = run(members | wider, tmp_path / "together", "abc")
    require_same("abc", alone, ran, members)
    assert fused_steps == [4]
    assert ran.probs("wider").equal(by_itself.probs("wider"))
    assert {name: ran.texts(name, "ended") for name in "abc"} == {name: [FINISHED] for name in "abc"}
    states = [each.text for each in ran.messages if each.kind == "state" and each.member in "abc"]
    assert states == ["starting"] * 3 + ["evaluating 1 views"] * 3  # all are trained before the first is evaluated


def test_one_that_diverges_fails_alone(members: Members, alone: Ran, tmp_path: Path):
    members["b"] = replace(members["b"], optim=replace(members["b"].optim, lr=1e30))
    ran = run(members, tmp_path / "together", "abc")
    require_same("ac", alone, ran, members)
    assert ran.member("b").state().state == FAILED
    assert "not finite" in ran.texts("b", "ended")[0]


def test_one_that_is_complete_is_not_trained_again(
    members: Members, alone: Ran, tmp_path: Path, fused_steps: list[int]
):
    run({"a": members["a"]}, tmp_path / "together")
    weights = Ran(tmp_path / "together", []).member("a").weights
    before = weights.stat().st_mtime_ns
    ran = run(members, tmp_path / "together", "abc")
    require_same("bc", alone, ran, members)
    assert weights.stat().st_mtime_ns == before
    assert [each for each in ran.messages if each.member == "a"] == []
    assert fused_steps == [4]


def test_an_error_ends_all_and_each_goes_on_from_its_own_checkpoint_together_or_alone(
    members: Members, alone: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The start is held against the one that raised."""
    often = {name: replace(cfg, checkpoint=replace(cfg.checkpoint, every_s=1e-9)) for name, cfg in members.items()}
    train = member_module.train

    def failing(cfg: Config, index: Index, worker: Worker, folder: Path, report: Any, *more: Any) -> Any:
        def told(step: int, metrics: dict[str, float]) -> None:
            report(step, metrics)
            if cfg is often["b"] and step == 3:
                raise RuntimeError("an error of b's")

        return train(cfg, index, worker, folder, told, *more)

    mailbox = Mailbox()
    with monkeypatch.context() as patched:
        patched.setattr(member_module, "train", failing)
        with pytest.raises(RuntimeError, match="an error of b's"):
            run(often, tmp_path / "together", "abc", mailbox)
    left = Ran(tmp_path / "together", [])
    reached = {name: left.state(name, often[name])["step"] for name in "abc"}
    assert reached["b"] == 2
    assert all(reached[name] in (2, 3) for name in "ac")  # whoever came to their log step before
    states = {name: left.member(name).state() for name in "abc"}
    assert {name: (state.state, state.starts) for name, state in states.items()} == {
        "a": (UNFINISHED, 0),
        "b": (UNFINISHED, 1),
        "c": (UNFINISHED, 0),
    }
    assert states["b"].error == "RuntimeError: an error of b's"
    assert not states["a"].error
    one = run({"a": often["a"]}, tmp_path / "together")
    others = run(often, tmp_path / "together", "abc", mailbox)
    require_same("abc", alone, Ran(tmp_path / "together", one.messages + others.messages), members)


def test_members_that_share_the_order_of_images_leave_the_same_from_one_decode(members: Members, tmp_path: Path):
    shared = EnsembleConfig(shared_order=True, order_key=5)
    logged = replace(members["a"].loader, log_samples=True)
    given = {name: replace(cfg, ensemble=shared, loader=logged) for name, cfg in members.items()}
    alone = run(given, tmp_path / "alone")
    ran = run(given, tmp_path / "together", "abc")
    require_same("abc", alone, ran, given)
    logs = {name: samplelog.read(ran.member(name).path) for name in "abc"}
    assert logs == {name: samplelog.read(alone.member(name).path) for name in "abc"}
    assert logs["a"].items() == logs["b"].items() <= logs["c"].items()
