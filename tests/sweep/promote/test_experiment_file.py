"""An experiment file composes to exactly what the trials trained, whatever they tried."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from platform.checkout import ROOT
from platform.config.checks import ConfigError
from platform.config.experiment import SINGLE, Experiment
from platform.config.identity import flatten, identity
from platform.config.optim import SGDConfig
from platform.config.sections import Config
from platform.overrides import join, override
from platform.sweep.promote.experiment_file import Sweep, experiment_text
from platform.sweep.trial_store import Trial, TrialStore
from tests.composing import Remembering, composing
from tests.sweep.handmade import COMMIT, store, trained, trial

NAME = "promoted"


@pytest.fixture(autouse=True, scope="module")
def hydra_is_there() -> Iterator[None]:
    with composing():
        yield


def composed(text: str, folder: Path, *overrides: str) -> Experiment:
    """What `+experiment=promoted WORDS` makes, the file lying in another folder than ours."""
    (folder / "experiment").mkdir(exist_ok=True, parents=True)
    (folder / "experiment" / f"{NAME}.yaml").write_text(text)
    line = [override("hydra.searchpath", [f"file://{folder}"]), f"+experiment={NAME}", *overrides]
    return Remembering().experiment(line)


def text_of(sweep: Sweep, trials: list[Trial], comments: list[str]) -> str:
    return experiment_text(NAME, sweep, trials, comments, Remembering())


def essence(config: Config | dict[str, Any]) -> dict[str, Any]:
    flat = flatten(identity(config if isinstance(config, dict) else asdict(config)))
    return {key: value for key, value in flat.items() if key != "name"}


BASE = [
    "+experiment=googlenet",
    "data=cifar10",
    "schedule=cosine",
    "optim.weight_decay=1e-5",
    "evaluation.views=[1,10]",
]
SMALL = trial(0, {"sampling": "small_crops", "optim.lr": 1e-5}, ["sampling=small_crops", "optim.lr=1e-05"])
WIDE = trial(1, {"model.width": 1.25, "sampling.area": [0.1, 0.9]}, ["model.width=1.25", "sampling.area=[0.1,0.9]"], 2)
AS_BASE = trial(2, {}, [])


@pytest.mark.slow
def test_an_ensemble_has_what_its_trials_trained_with(tmp_path: Path):
    text = text_of(Sweep(store(BASE)), [SMALL, WIDE, AS_BASE], ["Seven.", "  run it"])
    experiment = composed(text, tmp_path)
    assert list(experiment.members) == ["p000-s0", "p001-s2", "p002-s0"]
    for each in (SMALL, WIDE, AS_BASE):
        assert essence(experiment.members[each.name]) == essence(trained([*BASE, *each.overrides])), each.name
    assert (experiment.config.job, experiment.name) == ("ensemble", f"{NAME}-cifar10")
    assert experiment.config.evaluation.views == [1, 10]
    assert experiment.config.data.shards == str(ROOT / "data" / "cifar10")


def test_the_file_says_no_more_than_it_must():
    text = text_of(Sweep(store(BASE)), [SMALL, WIDE], ["Two points.", "  how to run it"])
    assert text.splitlines() == [
        "# @package _global_",
        "# Two points.",
        "#   how to run it",
        "defaults:",
        "  - override /data: cifar10",
        "  - override /schedule: cosine",
        "  - override /ensemble: none",
        "",
        "name: promoted-${data.name}",
        "job: ensemble",
        "evaluation:",
        "  views: [1, 10]",
        "optim:",
        "  weight_decay: 1e-05",
        "  clip_norm: 1.0",
        "schedule:",
        "  warmup_epochs: 0.5",
        "ensemble:",
        "  members:",
        "    p000-s0: [sampling=small_crops, optim.lr=1e-05]",
        '    p001-s2: [model.width=1.25, "sampling.area=[0.1,0.9]", seed=2]',
    ]


def test_one_trial_is_a_training_with_its_overrides_in_the_file(tmp_path: Path):
    text = text_of(Sweep(store(BASE)), [SMALL], ["One."])
    experiment = composed(text, tmp_path)
    assert essence(experiment.members[SINGLE]) == essence(trained([*BASE, *SMALL.overrides]))
    assert (experiment.config.job, experiment.config.ensemble.members) == ("train", {})
    assert "  - override /sampling: small_crops" in text


@pytest.mark.slow
def test_where_and_how_the_sweep_ran_stays_behind():
    machine = ["output_dir=/elsewhere", "cluster=ray", "cluster.workers=4", "tracking=server", "storage.cache=/fast"]
    places = ["checkpoint.every_s=1", "name=swept", "fresh=true", "bench.repeats=2", "ensemble=googlenet_seven"]
    text = text_of(Sweep(store([*BASE, *machine, *places])), [SMALL, WIDE], ["Two."])
    assert text == text_of(Sweep(store(BASE)), [SMALL, WIDE], ["Two."])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "written"),
    [("/data/set, no 1=x", '  shards: "/data/set, no 1=x"'), (str(ROOT / "data" / "mine"), "  shards: data/mine")],
)
def test_shards_in_the_checkout_are_relative_and_others_stay(place: str, written: str, tmp_path: Path):
    swept = store(["+experiment=googlenet", override("data.shards", place)])
    text = text_of(Sweep(swept), [SMALL, WIDE], ["Two."])
    assert written in text.splitlines()
    assert composed(text, tmp_path).config.data.shards == place


@pytest.mark.slow
def test_a_group_chosen_by_the_sweep_is_replaced_by_the_trials(tmp_path: Path):
    """A setting given beside the group stays on top of whichever group is chosen, as on the command line."""
    base = ["sampling=photometric", "sampling.lighting_std=0.2", "model=googlenet_bn"]
    plain = trial(0, {"sampling": "alexnet"}, ["sampling=alexnet"])
    for others in ([], [AS_BASE]):
        text = text_of(Sweep(store(base)), [plain, *others], ["Plain."])
        member = next(iter(composed(text, tmp_path).members.values()))
        assert essence(member) == essence(
            trained(["model=googlenet_bn", "sampling.lighting_std=0.2", *plain.overrides])
        )
        assert member.sampling.photometric_range == [1.0, 1.0]


@pytest.mark.slow
def test_what_the_sweep_recorded_wins_over_the_overrides(tmp_path: Path):
    """`data=cifar10` sets a rate, but the sweep's command line gave one, which happened to be that of the digits."""
    swept = ["optim.lr=0.03", "data=cifar10"]
    single = trial(0, {"data": "cifar10"}, ["data=cifar10"])
    text = text_of(Sweep(store(["optim.lr=0.03"]), {single.name: trained(swept)}), [single], ["One."])
    assert essence(composed(text, tmp_path).members[SINGLE]) == essence(trained(swept))
    other = trial(1, {"sampling": "plain"}, ["sampling=plain"])
    configs = {other.name: trained(["sampling=plain", "optim.momentum=0.8"])}
    text = text_of(Sweep(store([]), configs), [other, AS_BASE], ["Two."])
    assert "    p001-s0: [sampling=plain, optim.momentum=0.8]" in text


@pytest.mark.slow
def test_what_pbt_changed_has_its_last_value(tmp_path: Path):
    changes = [[1, "optim.lr", 0.02], [3, "optim.lr", 0.016], [3, "optim.momentum", 0.8]]
    mutated = trial(4, {"optim.lr": 0.03}, ["optim.lr=0.03"], changes=changes)
    for others in ([], [SMALL]):
        for configs in ({}, {mutated.name: trained(["optim.lr=0.03"])}):
            text = text_of(Sweep(store([]), configs), [mutated, *others], ["PBT."])
            member = next(iter(composed(text, tmp_path).members.values()))
            assert isinstance(member.optim, SGDConfig)
            assert (member.optim.lr, member.optim.momentum) == (0.016, 0.8)


@pytest.mark.slow
def test_the_promoted_experiment_can_be_changed_as_any_other(tmp_path: Path):
    text = text_of(Sweep(store(BASE)), [SMALL, WIDE], ["Two."])
    changed = composed(text, tmp_path, "data=digits", "training.epochs=3")
    assert {each.data.name for each in changed.members.values()} == {"digits"}
    assert {each.training.epochs for each in changed.members.values()} == {3}
    assert changed.name == f"{NAME}-digits"


@pytest.mark.slow
@pytest.mark.parametrize("data", ["digits", "cifar10", "imagenet", "folder"])
def test_it_composes_on_the_command_line_with_every_data_set(data: str, tmp_path: Path):
    composed(text_of(Sweep(store(BASE)), [SMALL, WIDE], ["Two."]), tmp_path)
    line = ["--config-dir", str(tmp_path), f"+experiment={NAME}", f"data={data}", "--cfg", "job"]
    command = [sys.executable, "-m", "platform.launch", *line]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert f"name: {data}" in done.stdout


def test_comments_stay_comments():
    text = text_of(Sweep(store([])), [SMALL], ["One\nname: hijacked\u2028job: pack", ""])
    assert text.splitlines()[1:3] == ["# One\\nname: hijacked\\u2028job: pack", "#"]


def same_as(other: Trial) -> Trial:
    return trial(9, other.values, other.overrides)


def spoilt(change: dict[str, Any]) -> TrialStore:
    swept = store([])
    for key, value in change.items():
        section, _, rest = key.partition(".")
        swept.base[section][rest] = value
    return swept


@pytest.mark.parametrize(
    ("change", "trials", "said"),
    [
        ({}, [SMALL, same_as(SMALL)], "p000-s0 and p009-s0 are the same training"),
        ({}, [AS_BASE, trial(5, {}, ["data.image_size=64"])], "p005-s0 changes data.image_size=64, which"),
        ({}, [AS_BASE, trial(5, {}, ["data=cifar10"])], "promote it alone with promote.count=1"),
        ({"optim.lr": -1.0}, [AS_BASE], "optim.lr is -1"),
        ({"optim.lr": "fast"}, [AS_BASE], "fast"),
        ({"optim.beta": 0.5}, [AS_BASE], "beta"),
    ],
)
def test_what_cannot_be_promoted_is_said(change: dict[str, Any], trials: list[Trial], said: str):
    with pytest.raises(Exception, match=said):
        text_of(Sweep(spoilt(change)), trials, ["None."])


def test_a_base_of_another_version_names_the_checkout_to_use():
    swept = store([])
    del swept.base["optim"]["nesterov"]
    with pytest.raises(ConfigError, match=rf"optim.nesterov: \(absent\) -> False.*commit {COMMIT}"):
        text_of(Sweep(swept), [SMALL], ["None."])


@pytest.mark.parametrize("model", ["googlenet", "resnet50"])
def test_a_sweep_of_an_earlier_version_is_promoted(model: str):
    """It knew one optimiser, and networks of torchvision had GoogLeNet's settings without using them."""
    swept = store([f"model={model}"])
    now = text_of(Sweep(swept), [AS_BASE], ["One."])
    del swept.base["optim"]["name"]
    former = {"width": 1.0, "batch_norm": False, "naive": False, "local_response_norm": False, "dropout": 0.4}
    swept.base["model"] = former | swept.base["model"]
    assert text_of(Sweep(swept), [AS_BASE], ["One."]) == now


shares = st.floats(0, 1, exclude_max=True)
texts = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), max_size=12).filter(
    lambda text: "${" not in text and "???" not in text  # OmegaConf's own: an interpolation, a missing value
)
ODD = ["1e-3", "true", "null", "a=b,c", "it's", 'say "x"', "~", "\\'", "[a]", "{a: 1}", "# no", "- a", "\\"]
SPACE = {
    "sampling": st.sampled_from(["alexnet", "plain", "small_crops", "photometric"]),
    "schedule": st.sampled_from(["cosine", "constant", "inception"]),
    "model": st.sampled_from(["googlenet_bn", "resnet50"]),
    "seed": st.integers(0, 2**31),
    "order_seed": st.integers(0, 9),
    "optim.lr": st.floats(1e-12, 1e6),
    "optim.momentum": shares,
    "optim.nesterov": st.booleans(),
    "optim.weight_decay": st.sampled_from([0.0, 1e-05, 2e-4, 1e-300]),
    "sampling.area": st.tuples(st.floats(0.001, 0.5), st.floats(0.5, 1)).map(list),
    "sampling.photometric": st.booleans(),
    "schedule.warmup_epochs": st.floats(0, 10),
    "training.epochs": st.integers(1, 500),
    "training.averaging": st.sampled_from(["none", "ema"]),
    "training.precision": st.sampled_from(["auto", "float32"]),
}
SHARED = {
    "data.shorter_side": st.none() | st.integers(512, 600),
    "data.mean": st.lists(shares, min_size=3, max_size=3),
    "data.source": st.none() | texts.filter(bool) | st.sampled_from(ODD),  # an empty one is refused
    "data.mirror": st.booleans(),
    "loader.log_samples": st.booleans(),
    "evaluation": st.just("single"),
    "data": st.sampled_from(["imagenet", "cifar10", "folder"]),
}


def line(point: dict[str, Any]) -> list[str]:
    return [override(setting, value) for setting, value in point.items()]


@pytest.mark.slow
@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # seconds an example: shrinking would take minutes
)
@given(
    base=st.fixed_dictionaries({}, optional=SPACE | SHARED),
    points=st.lists(st.fixed_dictionaries({}, optional=SPACE), min_size=1, max_size=3),
    alone=st.fixed_dictionaries({}, optional=SHARED),
    recorded=st.booleans(),
)
def test_whatever_was_swept_is_what_is_promoted(
    base: dict[str, Any], points: list[dict[str, Any]], alone: dict[str, Any], *, recorded: bool
):
    """Against the sweep's own command line: its overrides, and the trial's in place of those that it sets itself."""
    if len(points) == 1:
        points = [points[0] | alone]
    if not recorded:  # a group may set what the base set to the same value: see `what_the_sweep_recorded_wins`
        points = [{key: value for key, value in point.items() if "." in key or "seed" in key} for point in points]
    assume(all(_runs(base | point) for point in [{}, *points]))
    lines = [join([*line(base), "name=swept"], line(point)) for point in points]
    wanted = [essence(trained(each)) for each in lines]
    assume(all(one not in wanted[:place] for place, one in enumerate(wanted)))
    trials = [trial(number, point, line(point)) for number, point in enumerate(points)]
    configs = {each.name: trained(overrides) for each, overrides in zip(trials, lines, strict=True)} if recorded else {}
    text = text_of(Sweep(store([*line(base), "name=swept"]), configs), trials, ["Any."])
    with tempfile.TemporaryDirectory(prefix="test_promotion_") as folder:
        members = composed(text, Path(folder), "name=promoted").members
    assert [essence(each) for each in members.values()] == wanted, text


def _runs(point: dict[str, Any]) -> bool:
    """Whether the platform takes it: what it does not take is not swept."""
    return not point.get("optim.nesterov") or point.get("optim.momentum", 0.9) > 0
