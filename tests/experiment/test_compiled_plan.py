"""What the plan refuses of `training.compile`, with the remedy, before anything starts."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from platform.cluster import resources
from platform.config.checks import ConfigError
from platform.config.cluster import ClusterConfig
from platform.config.identity import identity
from platform.config.sections import Config
from platform.config.training import COMPILE_MODES, TrainingConfig
from platform.experiment.compiled_plan import check_compiled, compiled_line


def config(cluster: ClusterConfig | None = None, **training: object) -> Config:
    made = TrainingConfig(**training)  # pyright: ignore[reportArgumentType]
    return replace(Config(), training=made, cluster=cluster or ClusterConfig())


def test_without_a_gpu_default_alone_compiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(resources, "gpus_here", lambda: 0)
    for cluster in (ClusterConfig(), ClusterConfig(address="auto", gpus_per_worker=0)):
        check_compiled(config(cluster, compile="default"))
        for mode in COMPILE_MODES[2:]:
            with pytest.raises(ConfigError, match=r"no GPU to train on; set training.compile=default"):
                check_compiled(config(cluster, compile=mode))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    check_compiled(config(ClusterConfig(address="auto", gpus_per_worker=0), compile="default"))
    with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler"):
        check_compiled(config(compile="default"))


def test_graphs_of_several_workers_or_parts_are_refused() -> None:
    elsewhere = ClusterConfig(address="auto")
    check_compiled(config(elsewhere, compile="reduce-overhead"))
    for cluster, training, said in (
        (replace(elsewhere, workers=2), {}, r"cluster.workers is 2; set training.compile=default"),
        (elsewhere, {"max_batch_per_worker": 16}, r"max_batch_per_worker is 16 with training.batch_size=32; set"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_compiled(config(cluster, compile="reduce-overhead", **training))
        check_compiled(config(cluster, compile="default", **training))
    with pytest.raises(ConfigError, match=r"training.sizes has 2; set training.compile=default"):
        TrainingConfig(compile="reduce-overhead", sizes=[[0, 32], [0.5, 40]])


def test_a_compiler_that_is_missing_here_is_named_where_it_is_to_compile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(resources, "gpus_here", lambda: 1)
    check_compiled(config())
    check_compiled(config(ClusterConfig(address="auto"), compile="default"))
    with pytest.raises(ConfigError, match="needs a C compiler"):
        check_compiled(config(compile="default"))


def test_the_plan_has_a_line_of_what_is_compiled() -> None:
    assert compiled_line(config()) == []
    (line,) = compiled_line(config(compile="default", sizes=[[0, 32], [0.5, 40]]))
    assert line == (
        "compiled    default: each worker compiles in the first step of each of 2 sizes of images, or finds it on its "
        "machine's disk"
    )


def test_yaml_s_off_is_off() -> None:
    assert TrainingConfig(compile="False", tf32="False") == TrainingConfig(compile="off", tf32="off")


def test_how_it_runs_is_no_part_of_what_it_is() -> None:
    plain = identity(asdict(config()))
    assert identity(asdict(config(compile="default", autotune=False))) == plain
    for key, value in (("tf32", "all"), ("gradient_compression", "bfloat16")):
        changed = Config(training=replace(TrainingConfig(), **{key: value}))
        assert identity(asdict(changed))["training"] == plain["training"] | {key: value}
