"""Every check of the settings names the value and the remedy; identity and differences see what they should."""

import io
import math
import os
import pickle
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from platform.config.checks import ConfigError
from platform.config.cluster import ClusterConfig
from platform.config.data import DataConfig, LoaderConfig, StorageConfig
from platform.config.evaluation import EvaluationConfig
from platform.config.experiment import Experiment
from platform.config.identity import changes, differences, flatten, identity, replaced
from platform.config.jobs import BenchConfig, ChaosConfig, PackConfig, SweepConfig
from platform.config.kubernetes import KubeConfig
from platform.config.loss import LossConfig
from platform.config.models import GoogLeNetConfig, ModelConfig
from platform.config.optim import ScheduleConfig, SGDConfig
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.config.tracking import TrackingConfig
from platform.config.training import CheckpointConfig, TrainingConfig
from platform.redaction import VARIABLE
from platform.text import first_line, printable


def span(fewest: Any, most: Any) -> dict[str, Any]:
    return {"min": fewest, "max": most}


# (what is made, the setting named, the value named, the remedy named)
REFUSED: list[tuple[Callable[[], Any], str, str, str]] = [
    (lambda: DataConfig(classes=1), "data.classes", "1", "at least 2"),
    (lambda: DataConfig(image_size=31), "data.image_size", "31", "at least 32"),
    (lambda: DataConfig(samples_per_shard=0), "data.samples_per_shard", "0", "at least 1"),
    (lambda: DataConfig(max_corrupt=-1), "data.max_corrupt", "-1", "at least 0"),
    (lambda: DataConfig(value_range=[1.0, 1.0]), "data.value_range", "[1.0, 1.0]", "BLACK < WHITE"),
    (lambda: DataConfig(value_range=[0.0, float("inf")]), "data.value_range", "inf", "BLACK < WHITE"),
    (lambda: DataConfig(value_range=[1.0]), "data.value_range", "[1.0]", "[BLACK,WHITE]"),
    (lambda: DataConfig(jpeg_quality=0), "data.jpeg_quality", "0", "1 to 100"),
    (lambda: DataConfig(jpeg_quality=101), "data.jpeg_quality", "101", "1 to 100"),
    (lambda: DataConfig(val_fraction=0.0), "data.val_fraction", "0.0", "between 0 and 1"),
    (lambda: DataConfig(val_fraction=1.0), "data.val_fraction", "1.0", "between 0 and 1"),
    (lambda: DataConfig(min_crop_area=0.0), "data.min_crop_area", "0.0", "(0, 1]"),
    (lambda: DataConfig(min_crop_area=1.5), "data.min_crop_area", "1.5", "(0, 1]"),
    (lambda: DataConfig(mean=[0.5]), "data.mean", "1 values", "each of R, G, B"),
    (lambda: DataConfig(std=[0.5] * 4), "data.std", "4 values", "each of R, G, B"),
    (lambda: DataConfig(std=[0.5, 0.0, 0.5]), "data.std", "[0.5, 0.0, 0.5]", "more than 0"),
    (lambda: PackConfig(action="unpack"), "pack.action", "'unpack'", "write, verify, index"),
    (lambda: PackConfig(image=".jpg"), "pack.image", "'.jpg'", "give the extension"),
    (lambda: PackConfig(label=""), "pack.label", "''", "json:FIELD"),
    (lambda: PackConfig(label="json"), "pack.label", "'json'", "json:FIELD"),
    (lambda: PackConfig(label="txt:caption"), "pack.label", "'txt:caption'", "json:FIELD"),
    (lambda: LoaderConfig(streams=0), "loader.streams", "0", "at least 1"),
    (lambda: LoaderConfig(block=0), "loader.block", "0", "at least 1"),
    (lambda: LoaderConfig(threads=-1), "loader.threads", "-1", "at least 0"),
    (lambda: LoaderConfig(prefetch_batches=0), "loader.prefetch_batches", "0", "at least 1"),
    (lambda: SamplingConfig(method="five_crop"), "sampling.method", "'five_crop'", "random_square"),
    (lambda: SamplingConfig(interpolation="lanczos"), "sampling.interpolation", "'lanczos'", "bicubic"),
    (lambda: SamplingConfig(area=[0.5, 0.1]), "sampling.area", "[0.5, 0.1]", "smallest <= largest"),
    (lambda: SamplingConfig(area=[0.0, 1.0]), "sampling.area", "[0.0, 1.0]", "0.001 <="),
    (lambda: SamplingConfig(area=[0.5]), "sampling.area", "[0.5]", "[smallest, largest]"),
    (lambda: SamplingConfig(area=[0.5, 1.1]), "sampling.area", "1.1", "<= 1"),
    (lambda: SamplingConfig(aspect=[0.01, 1.0]), "sampling.aspect", "0.01", "0.1 <="),
    (lambda: SamplingConfig(photometric_range=[-1.0, 1.0]), "sampling.photometric_range", "-1.0", "0 <="),
    (lambda: SamplingConfig(lighting_std=-0.1), "sampling.lighting_std", "-0.1", "at least 0"),
    (lambda: ModelConfig(name="lenet"), "model.name", "'lenet'", "torchvision/NAME"),
    (lambda: GoogLeNetConfig(width=0.05), "model.width", "0.05", "0.1 to 16"),
    (lambda: GoogLeNetConfig(width=17), "model.width", "17", "0.1 to 16"),
    (lambda: GoogLeNetConfig(dropout=1.0), "model.dropout", "1.0", "[0, 1)"),
    (lambda: GoogLeNetConfig(dropout=-0.1), "model.dropout", "-0.1", "[0, 1)"),
    (lambda: GoogLeNetConfig(auxiliary_weight=-0.3), "model.auxiliary_weight", "-0.3", "at least 0"),
    (lambda: GoogLeNetConfig(freeze=["stem"]), "model.freeze", "['stem']", "give model.init, or model.freeze=[]"),
    (lambda: GoogLeNetConfig(auxiliary="none", auxiliary_weight=0.1), "model.auxiliary_weight", "0.1", "leave one out"),
    (lambda: SGDConfig(lr=0.0), "optim.lr", "0.0", "more than 0"),
    (lambda: SGDConfig(lr=float("nan")), "optim.lr", "nan", "more than 0"),
    (lambda: SGDConfig(momentum=1.0), "optim.momentum", "1.0", "[0, 1)"),
    (lambda: SGDConfig(nesterov=True, momentum=0.0), "optim.nesterov", "0", "optim.momentum above 0"),
    (lambda: SGDConfig(weight_decay=-1.0), "optim.weight_decay", "-1.0", "at least 0"),
    (lambda: SGDConfig(clip_norm=-2.0), "optim.clip_norm", "-2.0", "at least 0"),
    (lambda: ScheduleConfig(name="staircase"), "schedule.name", "'staircase'", "step_decay"),
    (lambda: ScheduleConfig(factor=0.0), "schedule.factor", "0.0", "(0, 1]"),
    (lambda: ScheduleConfig(factor=1.1), "schedule.factor", "1.1", "(0, 1]"),
    (lambda: ScheduleConfig(every_epochs=0.0), "schedule.every_epochs", "0.0", "more than 0"),
    (lambda: ScheduleConfig(final=1.1), "schedule.final", "1.1", "[0, 1]"),
    (lambda: ScheduleConfig(power=0.0), "schedule.power", "0.0", "more than 0"),
    (lambda: ScheduleConfig(power=float("inf")), "schedule.power", "inf", "such as"),
    (lambda: ScheduleConfig(initial=-0.1), "schedule.initial", "-0.1", "[0, 1]"),
    (lambda: ScheduleConfig(rise=0.0), "schedule.rise", "0.0", "between 0 and 1"),
    (lambda: ScheduleConfig(rise=1.0), "schedule.rise", "1.0", "between 0 and 1"),
    (lambda: ScheduleConfig(cycles=3), "schedule.cycles", "3", "without effect with schedule.name=step_decay"),
    (lambda: ScheduleConfig(cycle_growth=2.0), "schedule.cycle_growth", "2.0", "give cosine_restarts"),
    (lambda: Config(loss=LossConfig("bce", present_above=0.2)), "loss.present_above", "0.2", "transforms=mixup"),
    (lambda: ScheduleConfig(warmup_epochs=-1.0), "schedule.warmup_epochs", "-1.0", "at least 0"),
    (lambda: TrainingConfig(epochs=0.0), "training.epochs", "0.0", "more than 0"),
    (lambda: TrainingConfig(batch_size=0), "training.batch_size", "0", "at least 1"),
    (lambda: TrainingConfig(max_batch_per_worker=0), "training.max_batch_per_worker", "0", "at least 1"),
    (lambda: TrainingConfig(precision="float16"), "training.precision", "'float16'", "bfloat16"),
    (lambda: TrainingConfig(averaging="mean"), "training.averaging", "'mean'", "polyak"),
    (lambda: TrainingConfig(averaging_start=1.0), "training.averaging_start", "1.0", "[0, 1)"),
    (lambda: TrainingConfig(averaging_epochs=0.0), "training.averaging_epochs", "0.0", "more than 0"),
    (lambda: CheckpointConfig(every_s=0.0), "checkpoint.every_s", "0.0", "more than 0"),
    (lambda: TrainingConfig(log_every_steps=0), "training.log_every_steps", "0", "at least 1"),
    (lambda: TrainingConfig(max_attempts=0), "training.max_attempts", "0", "at least 1"),
    (lambda: EvaluationConfig(views=[]), "evaluation.views", "[]", "[1, 10, 12, 144]"),
    (lambda: EvaluationConfig(views=[1, 13]), "evaluation.views", "[1, 13]", "[1, 10, 12, 144]"),
    (lambda: EvaluationConfig(views=[10, 1]), "evaluation.views", "[10, 1]", "rising"),
    (lambda: EvaluationConfig(views=[1, 1]), "evaluation.views", "[1, 1]", "rising"),
    (lambda: EvaluationConfig(every_epochs=-1), "evaluation.every_epochs", "-1", "at least 0"),
    (lambda: EvaluationConfig(batch_size=0), "evaluation.batch_size", "0", "at least 1"),
    (lambda: EvaluationConfig(stored_dtype="int8"), "evaluation.stored_dtype", "'int8'", "float16"),
    (lambda: EvaluationConfig(keep="some"), "evaluation.keep", "'some'", "means"),
    (lambda: EvaluationConfig(keep_top=4), "evaluation.keep_top", "4", "at least 5"),
    (lambda: ClusterConfig(workers=0), "cluster.workers", "0", "at least 1"),
    (lambda: ClusterConfig(workers="many"), "cluster.workers", "'many'", "a number, or a range as {min:2,max:8}"),
    (lambda: ClusterConfig(workers=2.5), "cluster.workers", "2.5", "a range as {min:2,max:8}"),
    (lambda: ClusterConfig(workers=True), "cluster.workers", "True", "a range as {min:2,max:8}"),
    (lambda: ClusterConfig(workers=None), "cluster.workers", "None", "a range as {min:2,max:8}"),
    (lambda: ClusterConfig(workers=[2, 8]), "cluster.workers", "[2, 8]", "a range as {min:2,max:8}"),
    (lambda: ClusterConfig(workers={"lo": 1}), "cluster.workers", "{'lo': 1}", "a range as {min:2,max:8}"),
    (lambda: ClusterConfig(workers={"max": 8}), "cluster.workers", "{'max': 8}", "a range as {min:2,max:8}"),
    (lambda: ClusterConfig(workers=span("2", 8)), "cluster.workers", "'2'", "a range as {min:2,max:8}"),
    (lambda: ClusterConfig(workers=span(8, 2)), "cluster.workers", "8 to 2", "a min that is at most the max"),
    (lambda: ClusterConfig(workers=span(0, 2)), "cluster.workers", "0", "at least 1"),
    (lambda: ClusterConfig(resize_check_s=0.0), "cluster.resize_check_s", "0.0", "more than 0"),
    (lambda: ClusterConfig(cpus_per_worker=0), "cluster.cpus_per_worker", "0", "at least 1"),
    (lambda: ClusterConfig(gpus_per_worker=-1), "cluster.gpus_per_worker", "-1", "at least 0"),
    (lambda: ClusterConfig(lanes=-1), "cluster.lanes", "-1", "at least 0"),
    (lambda: ClusterConfig(stall_timeout_s=0), "cluster.stall_timeout_s", "0", "at least 10"),
    (lambda: TrackingConfig(system_metrics_every_s=0.0), "tracking.system_metrics_every_s", "0.0", "more than 0"),
    (lambda: BenchConfig(parts=["loader", "disk"]), "bench.parts", "'disk'", "loader, order, step, launch"),
    (lambda: BenchConfig(repeats=0), "bench.repeats", "0", "at least 1"),
    (lambda: BenchConfig(image_size=16), "bench.image_size", "16", "at least 32"),
    (lambda: Config(job="tarin"), "job", "'tarin'", "train"),
    (lambda: Config(name="../elsewhere"), "name", "'../elsewhere'", "letters, digits"),
    (lambda: Config(name=".hidden"), "name", "'.hidden'", "letters, digits"),
    (lambda: Config(name=""), "name", "''", "letters, digits"),
    (lambda: Config(cluster=ClusterConfig(workers=16)), "cluster.workers", "16", "raise loader.streams"),
    (lambda: Config(cluster=ClusterConfig(workers=span(2, 16))), "cluster.workers", "2 to 16", "raise loader.streams"),
    (lambda: Config(training=TrainingConfig(batch_size=30)), "training.batch_size", "30", "use 24 or 32"),
]


@pytest.mark.parametrize(
    ("make", "key", "value", "remedy"), REFUSED, ids=[f"{key}={value}" for _, key, value, _ in REFUSED]
)
def test_a_setting_that_cannot_work_is_refused_with_its_value_and_the_remedy(
    make: Callable[[], Any], key: str, value: str, remedy: str
) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    message = str(error.value)
    assert message.startswith(key)
    assert value in message.removeprefix(key)
    assert remedy in message
    assert "\n" not in message


def test_a_batch_smaller_than_the_streams_is_told_the_smallest_that_works() -> None:
    with pytest.raises(ConfigError, match=r"training\.batch_size is 4, .* use 8"):
        Config(training=TrainingConfig(batch_size=4))


@pytest.mark.parametrize(
    "make",
    [
        Config,
        lambda: DataConfig(
            classes=2, image_size=32, max_corrupt=0, jpeg_quality=100, min_crop_area=1.0, value_range=[-1, 1]
        ),
        lambda: SamplingConfig(area=[1.0, 1.0], aspect=[1.0, 1.0], lighting_std=0.0),
        lambda: GoogLeNetConfig(width=0.1, dropout=0.0, auxiliary_weight=0.0),
        lambda: SGDConfig(momentum=0.0, weight_decay=0.0, clip_norm=0.0),
        lambda: ScheduleConfig(factor=1.0, final=1.0, power=0.01, initial=0.0, rise=0.99),
        lambda: TrainingConfig(batch_size=1, averaging_start=0.0, epochs=0.01),
        lambda: EvaluationConfig(views=[144], every_epochs=0),
        lambda: ClusterConfig(gpus_per_worker=0),
        lambda: ClusterConfig(workers=span(1, 1)),
        lambda: Config(cluster=ClusterConfig(workers=span(1, 8))),
        lambda: Config(cluster=ClusterConfig(workers=7)),
        lambda: BenchConfig(parts=[]),
        lambda: Config(name="googlenet_ens-2.1"),
    ],
)
def test_what_lies_on_a_limit_is_accepted(make: Callable[[], Any]) -> None:
    make()


def test_the_papers_recipe_is_the_default() -> None:
    cfg = Config()
    assert isinstance(cfg.model, GoogLeNetConfig)
    assert (cfg.schedule.name, cfg.schedule.factor, cfg.schedule.every_epochs) == ("step_decay", 0.96, 8)
    assert isinstance(cfg.optim, SGDConfig)
    assert (cfg.optim.momentum, cfg.model.dropout, cfg.model.auxiliary_weight) == (0.9, 0.4, 0.3)
    assert cfg.sampling.area == [0.08, 1.0]
    assert cfg.sampling.aspect == [3 / 4, 4 / 3]
    assert (cfg.sampling.photometric_range, cfg.sampling.lighting_std) == ([0.5, 1.5], 0.1)
    assert cfg.evaluation.views == [1, 10, 144]


def test_the_global_batch_is_shared_by_the_workers() -> None:
    shares = [Config().shares(world) for world in (1, 2, 3, 5, 8)]
    assert shares == [[32], [16, 16], [12, 12, 8], [8, 8, 8, 4, 4], [4] * 8]
    assert [Config().batch_per_worker(world) for world in (1, 3, 8)] == [32, 12, 4]


@pytest.mark.parametrize(("workers", "bounds", "text"), [(4, (4, 4), "4"), (span(2, 8), (2, 8), "2 to 8")])
def test_workers_are_a_number_or_a_range_whoever_carries_them(workers: Any, bounds: tuple[int, int], text: str) -> None:
    cluster = ClusterConfig(workers=workers)
    carried = [
        cluster,
        replace(cluster, lanes=2),
        ClusterConfig(**asdict(cluster)),
        pickle.loads(pickle.dumps(cluster)),  # noqa: S301
        OmegaConf.to_object(OmegaConf.structured(cluster)),
        OmegaConf.to_object(
            OmegaConf.merge(OmegaConf.structured(ClusterConfig), OmegaConf.create({"workers": workers}))
        ),
    ]
    for each in carried:
        assert isinstance(each, ClusterConfig)
        assert type(each.workers) is type(workers)
        assert (each.min_workers, each.max_workers, each.workers_text) == (*bounds, text)


def test_a_range_of_workers_is_two_parameters_of_a_run() -> None:
    flat = flatten(asdict(ClusterConfig(workers=span(2, 8))), "cluster.")
    assert (flat["cluster.workers.min"], flat["cluster.workers.max"]) == (2, 8)


def with_setting(key: str, value: Any) -> dict[str, Any]:
    """The default config as nested dicts, one dotted key changed."""
    config = asdict(Config())
    *sections, last = key.split(".")
    section = config
    for name in sections:
        section = section[name]
    assert last in section
    section[last] = value
    return config


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("job", "evaluate"),
        ("fresh", True),
        ("output_dir", "elsewhere"),
        ("data.shards", "/mnt/digits"),
        ("data.value_range", [0.0, 4095.0]),
        ("pack.action", "verify"),
        ("loader.threads", 7),
        ("loader.prefetch_batches", 1),
        ("checkpoint.every_s", 1.0),
        ("training.max_attempts", 9),
        ("cluster.workers", 2),
        ("cluster.workers", span(2, 8)),
        ("cluster.resize_check_s", 1.0),
        ("tracking.uri", "http://127.0.0.1:5000"),
        ("bench.repeats", 1),
    ],
)
def test_where_and_how_it_runs_is_not_an_experiments_identity(key: str, value: Any) -> None:
    assert identity(with_setting(key, value)) == identity(asdict(Config()))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 1),
        ("order_seed", 1),
        ("data.image_size", 64),
        ("data.min_crop_area", 0.5),
        ("loader.streams", 4),
        ("loader.block", 1),
        ("sampling.mirror", False),
        ("model.width", 2.0),
        ("loss.smoothing", 0.1),
        ("optim.lr", 1.0),
        ("schedule.factor", 0.5),
        ("training.batch_size", 64),
        ("training.epochs", 1.0),
        ("training.averaging", "none"),
    ],
)
def test_what_changes_the_result_is(key: str, value: Any) -> None:
    changed, plain = identity(with_setting(key, value)), identity(asdict(Config()))
    assert changed != plain
    assert [line.partition(":")[0] for line in differences(plain, changed)] == [key]


@pytest.mark.parametrize("training", [{"patience_epochs": 2.0}, {"weights": "best"}])
def test_how_often_it_is_evaluated_is_identity_where_scores_choose_the_end_or_the_weights(
    training: dict[str, Any],
) -> None:
    def evaluated(every_epochs: int, **settings: Any) -> dict[str, Any]:
        evaluation = EvaluationConfig(every_epochs=every_epochs)
        return identity(asdict(Config(training=TrainingConfig(**settings), evaluation=evaluation)))

    assert differences(evaluated(1, **training), evaluated(5, **training)) == ["evaluation.every_epochs: 1 -> 5"]
    assert evaluated(1) == evaluated(5)


def test_identity_leaves_the_config_as_it_was() -> None:
    config = asdict(Config())
    identity(config)
    assert config == asdict(Config())


def test_flatten_makes_dotted_keys_and_keeps_lists() -> None:
    nested = {"a": 1, "b": {"c": {"d": [1, 2]}, "e": None}, "f": {}}
    assert flatten(nested) == {"a": 1, "b.c.d": [1, 2], "b.e": None, "f": {}}


def test_differences_name_what_changed_came_and_went() -> None:
    old = {"same": 1, "optim": {"lr": 0.01, "gone": 2}, "list": [1]}
    new = {"same": 1, "optim": {"lr": 0.02, "come": None}, "list": [1, 2]}
    assert differences(old, new) == [
        "list: [1] -> [1, 2]",
        "optim.come: (absent) -> None",
        "optim.gone: 2 -> (absent)",
        "optim.lr: 0.01 -> 0.02",
    ]
    assert differences(old, old) == []


def test_an_experiment_is_named_after_its_model_and_data_unless_told() -> None:
    plain = Config(model=ModelConfig(name="torchvision/resnet18"), output_dir="out")
    assert str(Experiment(plain, {}).folder) == "out/torchvision-resnet18-digits"
    assert Experiment(Config(name="mine"), {}).name == "mine"


def test_messages_of_libraries_name_no_buffer() -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011
        Image.open(io.BytesIO(b"no image"))
    assert "BytesIO" in str(caught.value)
    assert first_line(caught.value) == "cannot identify image file"


@pytest.mark.parametrize("key", ["seed", "order_seed"])
@pytest.mark.parametrize("value", [2**64, -(2**63) - 1])
def test_a_seed_of_more_than_64_bits_is_refused(key: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"^{key} is {value}; give a whole number from .* to {2**64 - 1}$"):
        replaced(Config(), key, value)


@pytest.mark.parametrize(
    "key", [key for key, value in flatten(asdict(Config())).items() if type(value) in (int, float)]
)
def test_a_number_that_nothing_can_hold_is_refused(key: str) -> None:
    whole = isinstance(flatten(asdict(Config()))[key], int)
    for value in (2**64, -(2**64)) if whole else (math.inf, -math.inf, math.nan, 1e300):
        with pytest.raises(
            ConfigError, match=rf"^{re.escape(key)} (is|x .* is) .*{re.escape(str(value))}.*; (give|lower|set) "
        ):
            replaced(Config(), key, value)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: Config(data=DataConfig(mean=[0.5, 0.5, math.nan])),
            r"data\.mean is nan; give a number of at most 1e\+38",
        ),
        (lambda: Config(chaos=ChaosConfig(steps=[2**63])), r"chaos\.steps is 9223372036854775808; give a number of at"),
        (lambda: Config(sweep=SweepConfig(mutate={"optim.lr": [math.inf]})), r"sweep\.mutate is inf; give a number of"),
        (
            lambda: Config(cluster=ClusterConfig(kube=KubeConfig(deadline_h=math.inf))),
            r"cluster\.kube\.deadline_h is inf; give a number of at most 277777\.7778",
        ),
        (
            lambda: Config(storage=StorageConfig(timeout_s=1e10)),
            r"storage\.timeout_s is .*; give a number of at most 1000000000$",
        ),
        (lambda: Config(seed=2**64 - 1, sweep=SweepConfig(seeds=2)), rf"^seed \+ sweep.seeds - 1 is {2**64}; give"),
    ],
)
def test_nor_one_in_a_list_and_no_time_that_never_ends(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()


@pytest.mark.parametrize("value", [2**64 - 1, -(2**63), -1])
def test_a_seed_of_64_bits_is_one_that_pytorch_takes(value: int) -> None:
    torch.Generator().manual_seed(Config(seed=value, order_seed=value).seed)


@pytest.mark.parametrize("password", ["of-one", "of-another"])
def test_what_one_test_knows_of_an_address_no_other_does(password: str) -> None:
    """The fixture of conftest.py: else the second would be told of two passwords, and launched processes of all."""
    assert TrackingConfig(uri=f"http://me:{password}@mlflow").uri == "http://me:***@mlflow"
    assert password in os.environ[VARIABLE]
    assert password == "of-one" or "of-one" not in os.environ[VARIABLE]


def test_names_of_files_take_one_line():
    assert printable("a/new\nline\t\x1b[31m.jpg: é 猫 \udcff") == r"a/new\nline\t\x1b[31m.jpg: é 猫 ?"


def test_changes_are_told_in_the_keys_of_the_command_line() -> None:
    one, two = ({"lr": lr, "seed": lr, "name": f"n{lr}"} for lr in (1, 2))
    assert changes({"model": one}, {"model": two}, ["model"]) == ["lr: 1 -> 2", "seed: 1 -> 2"]
    assert changes({"model": one}, {"model": one | {"name": None}}, ["model"]) == []
    old, new = {"a": one, "b": one, "data": {"train": "x"}}, {"a": two, "b": two | {"seed": 1}, "data": {"train": "y"}}
    assert changes(old, new, ["a", "b"]) == [
        "lr: 1 -> 2 (all 2 members)", "seed: 1 -> 2 (a)", "data.train: x -> y"
    ]  # fmt: skip
    assert changes({"a": one}, {"a": one, "b": two}, ["a", "b"]) == ["member b: new"]
    assert changes({"a": one, "b": two}, {"a": one}, ["a", "b"]) == ["member b: not there now"]
