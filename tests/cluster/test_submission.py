"""What a cluster elsewhere is told: words, names, and paths that would not be found there."""

import shlex
from dataclasses import replace

import pytest

from platform.cluster.submission import FOLDER, JOB, NAME, Submission, difference, entrypoint, submission
from platform.config.checks import ConfigError
from platform.config.data import AlsoConfig, DataConfig, StorageConfig
from platform.config.experiment import Experiment
from platform.config.jobs import PredictionConfig
from platform.config.sections import Config
from platform.config.tracking import TrackingConfig
from platform.config.training import CheckpointConfig

THERE = Config(
    name="mine",
    output_dir="/shared/runs",
    data=DataConfig(shards="/shared/digits", source="sklearn:digits"),
    tracking=TrackingConfig(uri="http://mlflow:5000"),
)


def sent(config: Config, words: list[str] | None = None) -> Submission:
    return submission(Experiment(config, {"model": config}), config, words or [])


def test_the_words_are_the_same_but_for_the_address():
    words = ["+experiment=googlenet", "cluster=ray", "cluster.address=http://head:8265", "cluster.workers=8"]
    there = "python -m platform.launch +experiment=googlenet cluster=ray cluster.workers=8 cluster.address=auto"
    assert entrypoint(words) == there
    assert entrypoint(["++cluster.address=https://head", "job=check"]).endswith("launch job=check cluster.address=auto")


def test_words_pass_a_shell_unchanged():
    words = ["cluster.workers={min:1,max:2}", "tracking.experiment=my $HOME `it's`", "evaluation.views=[1,10]"]
    assert shlex.split(entrypoint(words))[3:-1] == words


def test_words_that_differ_are_told_apart_whatever_their_order():
    ours = entrypoint(["name=a", "optim.lr=0.1"])
    assert difference(ours, entrypoint(["optim.lr=0.1", "name=a"])) == ""
    assert difference(ours, entrypoint(["name=a", "optim.lr=0.2"])) == "optim.lr=0.1 instead of optim.lr=0.2"
    assert difference(ours, entrypoint(["name=a"])) == "optim.lr=0.1 instead of nothing"


def test_a_job_says_what_it_is_and_an_id_is_used_once():
    mine = sent(THERE)
    assert (mine.metadata[NAME], mine.metadata[FOLDER], mine.metadata[JOB]) == ("mine", "/shared/runs/mine", "train")
    first = mine.id(set())
    assert first == f"mine-{mine.digest}"
    assert mine.id({first}) == f"{first}-2"
    assert mine.id({first, f"{first}-2"}) == f"{first}-3"


def test_where_and_how_it_runs_does_not_change_the_id_but_what_it_is_does():
    again = replace(THERE, cluster=replace(THERE.cluster, workers=4, ship_code=False))
    assert sent(again).digest == sent(THERE).digest
    assert sent(replace(THERE, seed=1)).digest != sent(THERE).digest
    assert sent(replace(THERE, job="evaluate")).digest != sent(THERE).digest


def test_work_in_another_folder_or_of_another_job_is_other_work():
    mine = sent(THERE)
    assert mine.is_work_of(sent(replace(THERE, seed=1)).metadata)
    assert not mine.is_work_of(sent(replace(THERE, output_dir="/elsewhere")).metadata)
    assert not mine.is_work_of(sent(replace(THERE, job="check")).metadata)
    assert not mine.is_work_of(None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"output_dir": "runs"}, "output_dir=runs: relative, .* give paths .*: output_dir=/PATH/runs$"),
        ({"output_dir": "~/runs"}, "output_dir=~/runs"),
        ({"data": DataConfig(shards="./data/d")}, "data.shards=./data/d: .*data.shards=/PATH/data/d$"),
        ({"data": DataConfig(shards="/d", source="images.tar")}, "data.source=images.tar"),
        ({"data": replace(THERE.data, also={"m": AlsoConfig("m", 0.1)})}, "data.also.m.shards=m: .*/PATH/m$"),
        ({"data": replace(THERE.data, also={"m": AlsoConfig("s3://m", 0.1)})}, "storage.cache=data/cache"),
        ({"data": DataConfig(shards="s3://b/d")}, "storage.cache=data/cache"),  # the shards' blocks on each node
        ({"checkpoint": CheckpointConfig(copy_to="copies")}, "checkpoint.copy_to=copies"),
        (
            {"tracking": TrackingConfig()},
            "tracking.uri=sqlite:///mlflow.db: .*: tracking.uri=sqlite:////PATH/mlflow.db$",
        ),
        ({"tracking": TrackingConfig(uri="mlruns")}, "tracking.uri=mlruns: .*: tracking.uri=/PATH/mlruns$"),
        ({"job": "bench", "bench": replace(THERE.bench, json="figures.json")}, "bench.json=figures.json"),
        (
            {"job": "predict", "predict": PredictionConfig(["s3://b/x", "/x.jpg", "x.jpg"], "models:/x@champion")},
            "^predict.images=x.jpg: .*: predict.images=/PATH/x.jpg$",
        ),
        ({"job": "predict", "predict": PredictionConfig("/x", output="x.csv")}, "^predict.output=x.csv: relative"),
        ({"job": "promote"}, "job=promote writes into this checkout; leave out cluster.address"),
        ({"job": "serve"}, "job=serve answers where it is started; start it on the cluster's head with"),
    ],
)
def test_a_path_of_this_machine_is_refused_with_its_remedy(change, said: str):
    with pytest.raises(ConfigError, match=said):
        sent(replace(THERE, **change))


@pytest.mark.parametrize(
    "uri", ["sqlite:////shared/mlflow.db", "postgresql://db/mlflow", "file:///shared/m", "/m", "uc"]
)
def test_a_place_that_the_cluster_knows_is_taken(uri: str):
    config = replace(THERE, tracking=TrackingConfig(uri=uri), storage=StorageConfig(cache="/cache"))
    assert sent(config).name == "mine"
    assert sent(replace(config, data=DataConfig(shards="gs://b/d"))).name == "mine"


def test_a_password_is_not_sent():
    with pytest.raises(
        ConfigError, match=r"tracking\.uri holds a password or token, .*; leave it out and set it where"
    ) as refused:
        sent(THERE, ["tracking.uri=postgresql://me:secret@db/mlflow"])
    assert "secret" not in str(refused.value)
