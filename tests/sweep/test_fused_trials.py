"""Which trials of a sweep are trained together, what the plan says of it, and what is refused."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from platform.cluster import resources
from platform.cluster.resources import cpus_here
from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.experiment import fused_plan
from platform.sweep.fused_trials import fused_trials_lines, trials_together
from platform.sweep.plan import SweepPlan, lines, plan_sweep
from tests.composing import Remembering, composing

pytestmark = pytest.mark.slow
RATES = "optim.lr:[0.01,0.02]"
BATCHES = "training.batch_size:[32,64]"


@pytest.fixture(scope="module")
def _conf() -> Iterator[None]:
    """Hydra in this process."""
    with composing():
        yield


@pytest.fixture(autouse=True)
def _networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether their layers are known takes seconds to try; see tests/training/fused/test_fused_rehearsal.py."""
    monkeypatch.setattr(fused_plan, "_of_network", lambda config: "")


@pytest.fixture
def shards(_conf: None, digits_data: DataConfig) -> str:
    return f"data.shards={digits_data.shards}"


def planned(shards: str, space: str, *overrides: str) -> SweepPlan:
    given = ["+experiment=googlenet", "job=sweep", f"+sweep.space={{{space}}}", shards, *overrides]
    composer = Remembering()
    return plan_sweep(replace(composer.experiment(given), composer=composer))


def said(found: SweepPlan) -> list[str]:
    return fused_trials_lines(found.base.experiment.config, found.tried)


def together(found: SweepPlan, trials: int, lanes: int, **options: Any) -> int:
    return trials_together(found.base.experiment.config, found.tried, trials, lanes, **options)


def test_each_trial_is_by_itself_unless_it_is_said(shards: str):
    found = planned(shards, RATES)
    assert said(found) == []
    assert together(found, 20, 1, on_gpu=True) == 1


def test_as_many_as_are_given_whatever_there_is(shards: str):
    found = planned(shards, RATES, "cluster.fuse=4", "sweep.seeds=3")
    assert together(found, 6, 6, on_gpu=False) == 4
    assert together(found, 2, 2, on_gpu=False) == 2
    rounding = "they end as by themselves but for rounding, not to the last bit"
    line = f"fused       up to 4 trials in one step of a worker; {rounding}"
    assert said(found) == [line]
    assert line in lines(found)
    assert found.side_by_side
    assert found.side_by_side % 4 == 0


def test_what_sets_trials_apart_is_said(shards: str):
    space = f"{RATES},{BATCHES},model:[googlenet,bn_inception],sampling:[plain,alexnet]"
    found = planned(shards, space, "cluster.fuse=2")
    apart = "            not those that differ in the network or batch by training.batch_size and model"
    assert said(found)[1:] == [apart]


def test_where_all_are_apart_it_is_refused(shards: str):
    with pytest.raises(ConfigError, match=r"fuse is 2, and no two trials are of one shape, as training.batch_size set"):
        planned(shards, BATCHES, "cluster.fuse=2")
    planned(shards, BATCHES, "cluster.fuse=2", "sweep.seeds=2")
    planned(shards, f"{BATCHES},{RATES}", "cluster.fuse=2")


@pytest.mark.parametrize(
    ("space", "reason"),
    [
        ("cluster.cpus_per_worker:[1,2]", "cluster.cpus_per_worker is swept, and a worker"),
        ("training.tf32:[off,all]", "training.tf32 is swept, and holds for all that a worker trains"),
        ("training.autotune:[true,false]", "training.autotune is swept, and holds for all that a worker trains"),
    ],
)
def test_what_trials_together_cannot_have_is_refused_and_auto_leaves_it(shards: str, space: str, reason: str):
    with pytest.raises(ConfigError, match=rf"cluster.fuse is 2, and .*{reason}.*; set cluster.fuse=off"):
        planned(shards, space, "cluster.fuse=2")
    found = planned(shards, space, "cluster.fuse=auto")
    assert together(found, 20, 1, on_gpu=True) == 1
    (line,) = said(found)
    assert line.startswith("fused       no trials: ")
    assert reason in line


def test_several_workers_are_refused_with_the_point(shards: str):
    with pytest.raises(ConfigError, match=r"space, at cluster.workers=2: cluster.fuse is 2, and cluster.workers is"):
        planned(shards, "cluster.workers:[1,2]", "cluster.fuse=2")


def test_settings_that_a_step_of_several_does_not_have_leave_auto_with_none(shards: str):
    found = planned(shards, RATES, "training.profile_steps=[1,2]", "cluster.fuse=auto")
    assert together(found, 20, 1, on_gpu=True) == 1
    assert said(found) == ["fused       no trials: training.profile_steps traces each by itself"]


def test_how_many_are_together_is_not_swept(shards: str):
    with pytest.raises(ConfigError, match=r"sweep.space.cluster.fuse cannot be swept"):
        planned(shards, "cluster.fuse:[1,2]")


def test_auto_is_for_small_trials_on_a_gpu_where_a_worker_has_several(shards: str, monkeypatch: pytest.MonkeyPatch):
    """Of 32 x 32 pixels in batches of 32 there is room for 49; the largest that are swept count."""
    found = planned(shards, RATES, "cluster.fuse=auto", "training.batch_size=32")
    assert together(found, 200, 1, on_gpu=True) == 49
    assert together(found, 20, 4, on_gpu=True) == 5
    assert together(found, 4, 4, on_gpu=True) == 1
    assert together(found, 200, 1, on_gpu=False) == 1
    larger = planned(shards, f"{RATES},training.batch_size:[32,64],data.image_size:[32,64]", "cluster.fuse=auto")
    assert together(larger, 200, 1, on_gpu=True) == 6
    monkeypatch.setattr(resources, "gpus_here", lambda: 1)
    (line,) = said(found)
    assert line.startswith("fused       up to 49 trials in one step, if workers have GPUs and several each; they end")
    monkeypatch.setattr(resources, "gpus_here", lambda: 0)
    assert said(found) == ["fused       no trials: there is no GPU to train on"]


def test_a_network_whose_layers_are_not_known_is_refused_unless_others_are_swept(
    shards: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        fused_plan, "_of_network", lambda config: "a layer is odd" if config.model.name == "googlenet" else ""
    )
    with pytest.raises(ConfigError, match=r"cluster.fuse is 2, and a layer is odd; set cluster.fuse=off"):
        planned(shards, RATES, "cluster.fuse=2")
    planned(shards, f"{RATES},model:[googlenet,bn_inception]", "cluster.fuse=2")


def test_pbt_wants_a_place_for_each_of_its_trials(shards: str):
    pbt = ["sweep.scheduler=pbt", "training.epochs=4", "+sweep.mutate={optim.lr:[0.8,1.25]}"]
    cpus = f"cluster.cpus_per_worker={cpus_here()}"  # of one worker
    with pytest.raises(ConfigError, match=r"gives 2 trials a place, and .*=pbt wants one for each of its 3; raise"):
        planned(shards, "optim.lr:[0.01,0.02,0.03]", "cluster.fuse=2", cpus, *pbt)
    planned(shards, "optim.lr:[0.01,0.02,0.03]", "cluster.fuse=3", cpus, *pbt)
    hyperband = ["sweep.scheduler=hyperband", "training.epochs=4"]  # whose paused trials give theirs back
    planned(shards, "optim.lr:[0.01,0.02,0.03]", "cluster.fuse=2", cpus, *hyperband)
