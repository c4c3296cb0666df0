"""Which members are trained together, what the plan says of it, and what is refused."""

from dataclasses import asdict, replace
from typing import Any

import pytest

from platform.cluster import resources
from platform.config.checks import ConfigError
from platform.config.cluster import ClusterConfig
from platform.config.data import DataConfig
from platform.config.identity import identity
from platform.config.models import BNInceptionConfig, GoogLeNetConfig
from platform.config.optim import AdamWConfig
from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.experiment import fused_plan
from platform.experiment.fused_plan import check_fused, fused_lines, teams, teams_of_launch
from tests.composing import experiment_of

SIX = ["multi_scale", "small_crops", "large_crops", "photometric", "random_interpolation", "alexnet"]


@pytest.fixture(autouse=True)
def _networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether their layers are known takes seconds to try; see tests/training/fused/test_fused_rehearsal.py."""
    monkeypatch.setattr(fused_plan, "_of_network", lambda config: "")


def config(fuse: Any, **sections: Any) -> Config:
    return replace(Config(), cluster=ClusterConfig(fuse=fuse), **sections)


def seven(*overrides: str) -> dict[str, Config]:
    return experiment_of("+experiment=googlenet_ens", *overrides)[0].members


def test_every_member_is_by_itself_unless_it_is_said():
    members = seven()
    assert teams_of_launch(members, 1, on_gpu=True) == [[name] for name in members]
    assert fused_lines(members) == []
    check_fused(members)


def test_members_of_one_shape_are_a_team_and_the_wider_one_is_beside_them():
    members = seven("cluster.fuse=8")
    assert teams_of_launch(members, 7, on_gpu=False) == [SIX, ["wider"]]
    check_fused(members)
    assert fused_lines(members) == [
        f"fused       {', '.join(SIX)}: 6 members in one step; they end as by themselves but for rounding, not to the "
        "last bit",
        "            wider by itself: model.width: 1.0 -> 1.25",
    ]


@pytest.mark.parametrize(("at_most", "sizes"), [(1, [1] * 7), (2, [2, 2, 2, 1]), (4, [3, 3, 1]), (5, [3, 3, 1])])
def test_teams_are_as_few_and_as_even_as_can_be(at_most: int, sizes: list[int]):
    found = teams(seven(), at_most)
    assert [len(team) for team in found] == sizes
    assert [name for team in found for name in team] == [*SIX, "wider"]


def test_what_is_each_members_own_keeps_no_two_apart_and_what_a_step_shares_does():
    first = config(2)
    training, data = first.training, first.data
    own = {
        "seed": replace(first, seed=5, order_seed=7),
        "optimiser": replace(first, optim=AdamWConfig()),
        "length": replace(first, training=replace(training, epochs=3, averaging="ema", bad_steps="skip")),
        "dropout": replace(first, model=GoogLeNetConfig(dropout=0.1, auxiliary_weight=0.1)),
    }
    assert teams({"first": first} | own, 9) == [["first", *own]]
    others = {
        "model": replace(first, model=BNInceptionConfig()),
        "batch_norm": replace(first, model=GoogLeNetConfig(batch_norm=True)),
        "batch": replace(first, training=replace(training, batch_size=64)),
        "parts": replace(first, training=replace(training, max_batch_per_worker=16)),
        "precision": replace(first, training=replace(training, precision="float32")),
        "sizes": replace(first, training=replace(training, sizes=[[0, 32], [0.5, 48]])),
        "image_size": replace(first, data=replace(data, image_size=64)),
    }
    members = {"first": first} | others
    assert teams(members, 9) == [[name] for name in members]
    assert teams(members | {"like batch": others["batch"]}, 9)[3] == ["batch", "like batch"]


def test_auto_trains_together_what_a_lane_has_several_of_on_a_gpu_if_it_is_small():
    members = seven("cluster.fuse=auto")
    assert teams_of_launch(members, 7, on_gpu=True) == [[name] for name in members]
    assert teams_of_launch(members, 1, on_gpu=False) == [[name] for name in members]
    assert [len(team) for team in teams_of_launch(members, 1, on_gpu=True)] == [6, 1]
    assert [len(team) for team in teams_of_launch(members, 2, on_gpu=True)] == [3, 3, 1]
    for large in ({"data": DataConfig(image_size=224)}, {"training": TrainingConfig(batch_size=4096)}):
        same = {name: config("auto", **large) for name in "ab"}
        assert len(teams_of_launch(same, 1, on_gpu=True)) == (2 if "data" in large else 1)


def test_the_plan_says_what_auto_does_and_why_it_does_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resources, "gpus_here", lambda: 0)
    assert fused_lines(seven("cluster.fuse=auto")) == ["fused       no members: there is no GPU to train on"]
    monkeypatch.setattr(resources, "gpus_here", lambda: 1)
    (line,) = fused_lines(seven("cluster.fuse=auto"))
    assert line.startswith("fused       up to 6 of 6 members in one step, if workers have GPUs and a lane several")
    (line,) = fused_lines(seven("cluster.fuse=auto", "cluster.workers=2"))
    assert line == "fused       no members: cluster.workers is 2"
    (line,) = fused_lines(seven("cluster.fuse=auto", "training.profile_steps=[1,2]"))
    assert line.startswith("fused       no members: training.profile_steps")
    large = {name: config("auto", data=DataConfig(image_size=224)) for name in "ab"}
    (line,) = fused_lines(large)
    assert line.startswith("fused       no members: the step of one is work enough for a GPU")


def test_what_cannot_be_trained_together_is_refused_with_the_reason():
    first = config(6)
    with pytest.raises(ConfigError, match=r"cluster.fuse is 6, and there is one member to train; set cluster.fuse=off"):
        check_fused({"model": first})
    check_fused({"trial": replace(first, job="sweep")})  # the sweep's own plan says it
    others = {"a": first, "b": replace(first, model=GoogLeNetConfig(width=2))}
    with pytest.raises(ConfigError, match=r"no two members are of one shape \(b by itself: model.width: 1.0 -> 2\)"):
        check_fused(others)
    check_fused({"a": first, "b": first})


def test_a_network_whose_layers_are_not_known_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fused_plan, "_of_network", lambda config: "a layer is a LayerNorm")
    with pytest.raises(ConfigError, match=r"googlenet cannot be computed for .* \(a layer is a LayerNorm\)"):
        check_fused({name: config(2) for name in "ab"})
    (line,) = fused_lines({name: config("auto") for name in "ab"})
    assert line == "fused       no members: a layer is a LayerNorm"


def test_settings_that_one_worker_with_several_members_cannot_have():
    with pytest.raises(ConfigError, match=r"cluster.fuse is 2, and cluster.workers is 4: .*set cluster.workers=1"):
        ClusterConfig(fuse=2, workers=4)
    with pytest.raises(ConfigError, match=r"cluster.fuse is 2, and training.compile is default"):
        config(2, training=TrainingConfig(compile="default"))
    with pytest.raises(ConfigError, match=r"cluster.fuse is 2, and training.profile_steps is \[1, 2\]"):
        config(2, training=TrainingConfig(profile_steps=[1, 2]))
    for value in (0, -1, 1.5, True, "on"):
        with pytest.raises(ConfigError, match=r"cluster.fuse is .*; give off, auto, or a number of members from 1 on"):
            ClusterConfig(fuse=value)
    assert ClusterConfig(fuse=False).fuse == "off"  # what YAML makes of it


def test_it_is_no_part_of_what_an_experiment_is():
    assert identity(asdict(config("off"))) == identity(asdict(config(6)))
