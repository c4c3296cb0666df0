"""What a sweep will do, and that what cannot work is one line before Ray starts."""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from platform.checkout import ROOT
from platform.compose.composer import HydraComposer
from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.config.sections import Config
from platform.sweep.checks import refuse_without_effect
from platform.sweep.plan import SweepPlan, lines, plan_sweep
from platform.sweep.space import parameters
from platform.sweep.trial_config import composed, overrides_of
from tests.composing import Remembering, composing
from tests.launching import launched

SWEEPS = sorted(path.stem for path in (ROOT / "conf" / "sweep").glob("*.yaml") if path.stem != "none")


class Counting(Remembering):
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = list[list[str]]()

    def config(self, overrides: list[str]) -> Config:
        self.asked.append(overrides)
        return super().config(overrides)


@pytest.fixture(scope="module")
def conf() -> Iterator[None]:
    """Hydra in this process."""
    with composing():
        yield


@pytest.fixture
def shards(conf: None, digits_data: DataConfig) -> str:
    return f"data.shards={digits_data.shards}"


def planned(*given: str) -> tuple[SweepPlan, Counting]:
    overrides = list(given)
    if not any(override.startswith("+experiment=") for override in given):
        overrides.insert(0, "+experiment=googlenet")
    composer = Counting()
    return plan_sweep(replace(composer.experiment(overrides), composer=composer)), composer


def space(text: str) -> str:
    return f"+sweep.space={{{text}}}"


RANDOM = ("sweep.search=random", "sweep.points=5")
ASHA = ("sweep.scheduler=asha", "training.epochs=4")
RATES = space("optim.lr:[0.01,0.02]")


@pytest.mark.slow
def test_the_small_sweep(shards: str):
    found, _ = planned("+experiment=sampling_schedule_sweep", shards)
    assert (found.points, found.trials) == (12, 18)
    assert "grid: 12 points, 3 seed(s) for the best 3: 18 trials" in "\n".join(lines(found))


@pytest.mark.slow
def test_the_large_sweep_is_planned_with_few_compositions(shards: str):
    overrides = ["+experiment=sampling_schedule_sweep", "sweep=sampling_schedule", "training.epochs=20", shards]
    found, composer = planned(*overrides)
    assert (found.points, found.trials) == (504, 524)
    assert len(composer.asked) == 7 + 6 + 4 + 3


@pytest.mark.slow
@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("data", ["digits", "cifar10", "imagenet", "folder"])
def test_every_sweep_composes_with_every_data_set(conf: None, sweep: str, data: str):
    """Every trial is another one there, too: what suits a data set wins over general choices."""
    overrides = ["+experiment=sampling_schedule_sweep", f"sweep={sweep}", f"data={data}"]
    experiment = HydraComposer().experiment(overrides)
    for parameter in parameters(experiment.config.sweep.space):
        configs = [composed(experiment, {parameter.key: choice}, 0) for choice in parameter.choices]
        assert all(one != other for number, one in enumerate(configs) for other in configs[:number]), parameter.key


@pytest.mark.slow
def test_trials_are_overrides_with_a_seed(shards: str):
    found, _ = planned(shards, "seed=7", RATES)
    assert overrides_of(found.base.experiment.config, {"optim.lr": 0.02}, 2) == ["optim.lr=0.02", "seed=9"]
    point = {"schedule": "cosine", "schedule.final": 0.1, "optim.lr": 0.5}
    config = composed(found.base.experiment, point, 1)
    assert (config.seed, config.schedule.name, config.schedule.final, config.optim.lr) == (8, "cosine", 0.1, 0.5)
    assert config.data == found.base.experiment.config.data


@pytest.mark.slow
def test_a_group_and_a_key_in_it_are_swept_together(shards: str):
    factors = "schedule.factor:{choices:[0.9,0.8],when:{schedule:[googlenet,inception]}}"
    found, _ = planned(shards, space(f"schedule:[googlenet,inception,cosine],{factors}"))
    assert found.points == 5
    assert planned(shards, space("schedule.final:[0.0,0.1],schedule:[linear,cosine]"))[0].points == 4


@pytest.mark.slow
def test_keys_that_the_experiment_sets_are_the_trials(shards: str):
    """sampling_schedule_sweep sets optim.clip_norm."""
    overrides = ["+experiment=sampling_schedule_sweep", "sweep=none", shards, space("optim.clip_norm:[0.5,2.0]")]
    found, _ = planned(*overrides)
    assert composed(found.base.experiment, {"optim.clip_norm": 2.0}, 0).optim.clip_norm == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "trials"),
    [
        ([RATES], 2),
        ([RATES, "sweep.seeds=3"], 6),
        ([RATES, "sweep.seeds=3", "sweep.finalists=1"], 4),
        ([RATES, "sweep.seeds=3", "sweep.finalists=5"], 6),
        ([RATES, "sweep.points=1"], 1),
        ([space("optim.lr:{low:0.01,high:0.1}"), *RANDOM], 5),
        ([space("optim.lr:{low:0.01,high:0.1}"), "sweep.search=tpe", "sweep.points=7"], 7),
        ([space("optim.lr:{low:1e-3,high:0.1,log:true,points:3}")], 3),
        ([space("training.batch_size:{low:16,high:64,step:16}"), "sweep.search=random", "sweep.points=4"], 4),
        ([space("cluster.workers:[1,{min:1,max:2}]")], 2),
        ([space("sampling.area:[[0.08,1.0],[0.2,1.0]]")], 2),
        ([space("data.mirror:[true,false]")], 2),
        ([*ASHA, RATES, "sweep.grace_epochs=3"], 2),
        (["sweep.scheduler=pbt", "training.epochs=4", RATES], 2),
    ],
)
def test_trials_are_counted(shards: str, overrides: list[str], trials: int):
    found, _ = planned(shards, *overrides)
    assert found.trials == trials
    assert f" {trials} trials" in "\n".join(lines(found))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], "sweep.space is empty; give keys and what they may be, or choose a sweep=NAME"),
        ([space("optim.lrr:[0.1]")], "sweep.space, at optim.lrr=0.1: optim.lrr does not exist; did you mean optim.lr"),
        ([space("samplings:[plain]")], "samplings does not exist; did you mean sampling"),
        ([space("optim.lr:[fast]")], "sweep.space, at optim.lr=fast: optim.lr is 'fast'"),
        ([space("optim.lr:[0.1,-1]")], "sweep.space, at optim.lr=-1: optim.lr is -1.0; give more than 0"),
        ([space("optim.lr:{low:-1.0,high:1.0}"), *RANDOM], "sweep.space, at optim.lr=-1.0: optim.lr is -1.0; give"),
        ([space("schedule:[cosine,cosin]")], "sweep.space.schedule has ['cosin']; choose among constant, cosine"),
        ([space("schedule:{low:1,high:2}"), *RANDOM], "is a config group, which has no range; choose among"),
        ([space("training:[1,2]")], "sweep.space.training is a section; sweep keys in it, such as training.epochs"),
        ([space("optim:{lr:[0.1,0.2]}")], "write a dotted key as one: {optim.lr: [0.01, 0.1]}"),
        ([space("seed:[1,2]")], "sweep.space.seed cannot be swept: sweep.seeds says with how many seeds each point is"),
        ([space("name:[a,b]")], "sweep.space.name cannot be swept: it is the whole sweep's"),
        ([space("evaluation.views:[[1],[1,10]]")], "sweep.space.evaluation.views cannot be swept"),
        ([space("evaluation:[single,paper]")], "sweep.space.evaluation cannot be swept"),
        ([space("data:[digits,cifar10]")], "sweep.space.data cannot be swept"),
        ([space("cluster:[local,ray]")], "sweep.space.cluster cannot be swept"),
        ([space("experiment:[googlenet]")], "sweep.space.experiment cannot be swept"),
        ([space("hydra.job.name:[a,b]")], "sweep.space.hydra.job.name cannot be swept"),
        ([space("hydra/help:[platform]")], "sweep.space.hydra/help cannot be swept"),
        ([space("promote.count:[1,2]")], "sweep.space.promote.count cannot be swept"),
        ([space("optim.lr:{low:0.1,high:0.2}")], "sweep.space.optim.lr is a range, of which a grid has no end"),
        ([space("optim.lr:{low:0.1,high:0.2,points:101}")],
            "the sweep has 101 trials (101 points, 1 seeds), more than sweep.max_trials (100); raise it, shrink"),
        ([RATES, "sweep.seeds=3", "sweep.max_trials=5"], "the sweep has 6 trials (2 points, 3 seeds), more than"),
        ([space("optim.lr:{low:0.1,high:0.2,points:100000},optim.momentum:{low:0.1,high:0.2,points:100000}")],
            "the sweep has 10000000000 trials"),
        ([RATES, *RANDOM], "sweep.points is 5, but sweep.space has 2; lower it, or use sweep.search=grid"),
        ([RATES, "sweep.search=tpe", "sweep.points=3"], "sweep.points is 3, but sweep.space has 2"),
        ([RATES, "sweep.search=tpe"], "sweep.search is tpe, which needs sweep.points: how many points to try"),
        ([space("optim.lr:[0.1,'0.1']")], "sweep.space.optim.lr: 0.1 and 0.1 are the same here; leave one out"),
        ([RATES, *ASHA, "evaluation.every_epochs=2"],
            "sweep.scheduler=asha looks at trials after every epoch; give evaluation.every_epochs=1"),
        ([RATES, *ASHA, "sweep.grace_epochs=4"], "from epoch sweep.grace_epochs=4 on, but training.epochs is 4; lower"),
        ([space("training.epochs:[2,4]"), "sweep.scheduler=asha"],
            "looks at trials of the same length; leave training.epochs out of"),
        ([RATES, *ASHA, "sweep.scheduler=pbt", "sweep.seeds=2"], "sweep.seeds is 2; sweep.scheduler=pbt has none"),
        ([RATES, *ASHA, "sweep.scheduler=pbt", "sweep.search=tpe", "sweep.points=2"], "it searches by itself"),
        ([RATES, *ASHA, "sweep.scheduler=pbt", "+sweep.mutate={model.width:[2.0]}"], "['model.width']; of"),
        ([RATES, *ASHA, "sweep.scheduler=pbt", "+sweep.mutate={optim.lrr:[2.0]}"],
            "sweep.mutate: optim.lrr does not exist; did you mean optim.lr"),
        ([RATES, *ASHA, "sweep.scheduler=pbt", "+sweep.mutate={optim.nesterov:[2.0]}"],
            "sweep.mutate has optim.nesterov, which is False; give keys of numbers"),
        ([space("training.batch_size:[32,33]")], "sweep.space, at training.batch_size=33: training.batch_size is 33"),
        ([space("training.batch_size:[32,8000]")], "at training.batch_size=8000: training.batch_size is 8000"),
        ([space("model.name:[googlenet,torchvision/resnet51]")], "at model.name=torchvision/resnet51: model.name is"),
        # Each choice works by itself: only points tell.
        ([space("training.batch_size:[24,32],loader.streams:[4,8,16]"), "loader.streams=8"],
            "loader.streams=8 has no effect"),
        ([space("training.batch_size:[24,32],loader.streams:[4,8,16]")],
            "sweep.space, at training.batch_size=24, loader.streams=16: training.batch_size is 24, not a multiple"),
        ([space("training.batch_size:{low:16,high:64}"), *RANDOM], "not a multiple of loader.streams (8); use"),
        ([space("model:[googlenet,resnet50],model.width:[1.0,0.5]")],
            "sweep.space, at model=resnet50, model.width=1.0: model.width is a setting of googlenet, and"),
        ([space("optim.nesterov:[false,true],optim.momentum:[0.0,0.9]")],
            "sweep.space, at optim.nesterov=true, optim.momentum=0.0: optim.nesterov needs optim.momentum above 0"),
        ([space("cluster.cpus_per_worker:[1,1000]")], "is 1000, this machine has"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_one_line(shards: str, overrides: list[str], said: str):
    with pytest.raises(ConfigError) as error:
        planned(shards, *overrides)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_huge_grid_is_refused_at_once(shards: str):
    keys = ["lr", "momentum", "weight_decay"]
    started = time.monotonic()
    with pytest.raises(ConfigError, match="the sweep has 1000000000000 trials"):
        planned(shards, space(",".join(f"optim.{key}:{{low:0.1,high:0.2,points:10000}}" for key in keys)))
    assert time.monotonic() - started < 10


@pytest.mark.slow
def test_a_fine_step_is_not_composed_step_by_step(shards: str):
    _, composer = planned(shards, space("optim.lr:{low:0.001,high:0.1,step:0.00001}"), *RANDOM)
    assert len(composer.asked) == 2


SPACE: dict[str, Any] = {
    "optim.lr": [0.1, 0.2],
    "schedule": ["googlenet", "cosine"],
    "schedule.factor": {"choices": [0.9], "when": {"schedule": "googlenet"}},
}


@pytest.mark.parametrize("override", ["optim.lr=0.1", "+optim.lr=0.1", "schedule=cosine", "schedule=googlenet"])
def test_an_override_that_every_trial_replaces_is_refused(override: str):
    key = override.split("=")[0].lstrip("+")
    with pytest.raises(ConfigError) as error:
        refuse_without_effect(["+experiment=googlenet", override], parameters(SPACE))
    assert str(error.value) == (
        f"{override} has no effect: every trial sets {key}; leave it out, or take {key} out of sweep.space"
    )


@pytest.mark.parametrize(
    "override",
    ["schedule.factor=0.5", "schedule.final=0.1", "optim=sgd", "optim.lr_=1", "sweep.space.optim.lr=[1]", "job=check"],
)
def test_an_override_that_some_trials_keep_is_not(override: str):
    refuse_without_effect([override], parameters(SPACE))


# --- the whole command ---


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return launched("+experiment=sampling_schedule_sweep", *arguments)


@pytest.mark.slow
def test_check_prints_the_sweep_and_writes_nothing(tmp_path: Path):
    done = command("job=check", f"data.shards={tmp_path / 'd'}", f"output_dir={tmp_path / 'r'}")
    assert done.returncode == 0, done.stderr
    assert "12 points, 3 seed(s) for the best 3: 18 trials" in done.stdout
    assert "schedule  googlenet, inception, cosine, one_cycle" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("job", ["check", "sweep"])
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["sampling=plain"], "sampling=plain has no effect: every trial sets sampling; leave it out, or take sampling"),
        (["sweep=none", space("optim.lr:[0.1,abc]")], "sweep.space, at optim.lr=abc: optim.lr is 'abc'"),
    ],
)
def test_the_command_stops_with_one_line_before_ray(job: str, overrides: list[str], said: str, tmp_path: Path):
    done = command(f"job={job}", f"data.shards={tmp_path / 'd'}", f"output_dir={tmp_path / 'r'}", *overrides)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {said}")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert list(tmp_path.iterdir()) == []
