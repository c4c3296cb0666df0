"""A run again from its record: what is refused, what differs, and that the same comes out."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from jobs import reproduce
from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.config.experiment import SINGLE, Experiment
from platform.config.jobs import ReproduceConfig
from platform.config.recorded import config_of
from platform.config.sections import Config
from platform.config.tracking import TrackingConfig
from platform.data.index import Index
from platform.experiment.folder import ExperimentFolder
from platform.experiment.origin import FILE, Origin
from platform.experiment.recorded import recorded_in


@pytest.fixture
def experiment(tmp_path: Path, digits_data: DataConfig) -> Experiment:
    config = Config(name="first", data=digits_data, output_dir=str(tmp_path / "runs"))
    config.optim.lr = 0.07
    config.cluster.workers = 2
    return Experiment(config, {"one": config, "two": replace(config, order_seed=3)}, ["+experiment=x", "optim.lr=0.07"])


@pytest.fixture
def folder(experiment: Experiment, digits: Index) -> ExperimentFolder:
    folder = ExperimentFolder(experiment.folder)
    folder.open(experiment, digits)
    return folder


def here(experiment: Experiment, *overrides: str, **settings: object) -> Experiment:
    """What the launcher makes of `job=reproduce` and the overrides."""
    config = Config(output_dir=experiment.config.output_dir, **settings)  # pyright: ignore[reportArgumentType]
    return Experiment(config, {SINGLE: config}, ["job=reproduce", *overrides])


def test_a_recorded_config_is_what_it_was(experiment: Experiment):
    for member in experiment.members.values():
        assert config_of(json.loads(json.dumps(asdict(member)))) == member


def test_settings_that_are_no_more_are_named(experiment: Experiment):
    settings = asdict(experiment.config)
    settings["optim"]["gone"] = 1
    with pytest.raises(ConfigError, match=r"optim\.gone"):
        config_of(settings)


def test_the_record_decides_but_for_the_places(experiment: Experiment, folder: ExperimentFolder):
    again = reproduce.repeated(recorded_in("first", folder.path.parent), here(experiment))
    assert again.name == "first-reproduced"
    assert again.config.job == "ensemble"
    assert [member.order_seed for member in again.members.values()] == [0, 3]
    assert all((m.optim.lr, m.cluster.workers) == (0.07, 2) for m in again.members.values())
    assert all(m.data == experiment.config.data for m in again.members.values())
    places = here(experiment, "cluster.workers=1", "data.shards=x", data=DataConfig(shards="x"), name="mine")
    again = reproduce.repeated(recorded_in(str(folder.path), Path()), places)
    assert (again.name, again.config.cluster.workers, again.config.data.shards) == ("mine", 1, "x")


def test_shards_have_moved_with_the_project(experiment: Experiment, folder: ExperimentFolder, tmp_path: Path):
    then = recorded_in("first", folder.path.parent)
    assert then.folder
    config, moved = then.configs["one"], tmp_path / "new place" / "runs" / "first"
    assert reproduce.moved_along(config, then.folder) == config.data.shards  # they are there
    gone = replace(config, output_dir="/old/runs", data=replace(config.data, shards="/old/data/digits"))
    assert reproduce.moved_along(gone, moved) == str(tmp_path / "new place" / "data" / "digits")
    assert reproduce.moved_along(gone, None) == "/old/data/digits"
    elsewhere = replace(gone, data=replace(gone.data, shards="/nfs/digits"))
    assert reproduce.moved_along(elsewhere, moved) == "/nfs/digits"
    again = reproduce.repeated(replace(then, folder=moved, configs={"one": gone, "two": gone}), here(experiment))
    assert f"data.shards is {again.config.data.shards}, not /old/data/digits as then" in reproduce.different_here(
        replace(then, configs={"one": gone, "two": gone}), again
    )


def test_a_member_alone(experiment: Experiment, folder: ExperimentFolder):
    then = recorded_in("first/two", folder.path.parent)
    assert (then.name, list(then.configs), then.configs["two"].order_seed) == ("first-two", ["two"], 3)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("frist", "no experiment.json in frist; did you mean .*runs/first"),
        ("another", "no experiment.json in another; in .*runs are first$"),
        ("first/tow", "has no tow; did you mean .*runs/first/two"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(folder: ExperimentFolder, place: str, said: str):
    with pytest.raises(ConfigError, match=said):
        recorded_in(place, folder.path.parent)


def test_a_sweep_is_repeated_trial_by_trial(experiment: Experiment, folder: ExperimentFolder):
    record = folder.record()
    record.identity["sweep"], record.member_runs = {}, {"two": "key"}
    folder.write(record)
    with pytest.raises(ConfigError, match=r"is a sweep; give one of its trials, such as .*first/two"):
        recorded_in("first", folder.path.parent)
    assert list(recorded_in("first/two", folder.path.parent).configs) == ["two"]


@pytest.mark.parametrize(
    "override", ["optim.lr=0.1", "+experiment=googlenet", "sampling=plain", "seed=1", "data=cifar10"]
)
def test_overrides_of_the_record_are_refused(override: str):
    with pytest.raises(ConfigError, match="has no effect: job=reproduce repeats a run as it was"):
        reproduce.require_nothing_else(["job=reproduce", override])
    reproduce.require_nothing_else(
        ["job=reproduce", "cluster=ray", "cluster.workers=2", "tracking.uri=x", "data.shards=y"]
    )


def test_other_data_are_refused_before_anything_is_trained(experiment: Experiment, folder: ExperimentFolder):
    then = recorded_in("first", folder.path.parent)
    reproduce.require_same_data(then, experiment.config)
    other = replace(then, data={"train": "9 samples in 1 shards, sha256 0"})
    with pytest.raises(ConfigError, match=r"has other data .train: 9 samples .* then, .* here; val: none then"):
        reproduce.require_same_data(other, experiment.config)


def test_what_differs_here_is_said(experiment: Experiment, folder: ExperimentFolder):
    then = recorded_in("first", folder.path.parent)
    assert then.origin is not None
    assert "optim.lr=0.07" in reproduce.describe(then)
    clean = replace(
        then, origin=replace(then.origin, commit=then.origin.commit.removesuffix("-dirty") + "x", cpu="other")
    )
    said = "\n".join(reproduce.different_here(clean, reproduce.repeated(then, here(experiment, "cluster.workers=1"))))
    assert "differs here  commit: " in said
    assert "differs here  CPU: other -> " in said
    assert "differs here  cluster.workers: 2 -> 1" in said
    (folder.path / FILE).unlink()
    assert "is not known" in reproduce.describe(recorded_in("first", folder.path.parent))


def test_no_empty_database_is_made_to_look_a_run_up(tmp_path: Path):
    config = Config(
        reproduce=ReproduceConfig(run="0" * 32), tracking=TrackingConfig(uri=f"sqlite:///{tmp_path / 'x.db'}")
    )
    with pytest.raises(ConfigError, match=r"there is no MLflow database .*x\.db; give the tracking\.uri that has it"):
        reproduce.recorded(config)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_a_run_is_reproduced_to_the_last_bit_from_its_folder_and_from_mlflow(launch):
    words = ["job=train", "name=first", "training.epochs=0.5", "seed=3"]
    status, output = launch(*words)
    assert status == 0, output
    origin = Origin.read(launch.folder / "runs" / "first")
    assert origin is not None
    assert "seed=3" in origin.command
    small = [f"output_dir={launch.folder / 'runs'}", f"tracking.uri={launch.uri}"]
    status, output = launch.bare("job=reproduce", "reproduce.run=first", *small)
    assert status == 0, output
    assert "reproduced, to the last bit" in output
    run = launch.runs("first")["parent"].info.run_id
    status, output = launch.bare("job=reproduce", f"reproduce.run={run}", "name=by-id", *small)
    assert status == 0, output
    assert "reproduced, to the last digit of the scores" in output


def test_a_record_is_not_looked_up_in_the_environment(experiment: Experiment):
    settings = asdict(experiment.config)
    settings["tracking"]["experiment"] = "${oc.env:HOME}"
    with pytest.raises(ConfigError, match="which would be looked up here"):
        config_of(settings)
