"""`data.also`: its checks, what of it is an experiment's identity, and how it is written on a command line."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from platform.compose.composer import as_given
from platform.compose.quoting import as_typed
from platform.config.checks import ConfigError
from platform.config.data import AlsoConfig, DataConfig
from platform.config.distill import DistillConfig
from platform.config.identity import differences, identity
from platform.config.recorded import config_of
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from tests.composing import composing

MORE = {"shards": "data/more", "weight": 0.3}


def data(**also: Any) -> DataConfig:
    return DataConfig(also=also)


def test_sets_are_typed_and_in_one_order_however_they_are_written() -> None:
    one, other = (
        data(more=MORE, b={"shards": "s3://x/b", "weight": 0.25}),
        data(b=AlsoConfig("s3://x/b", 0.25), more=MORE),
    )
    assert one == other
    assert list(one.also) == list(other.also) == ["b", "more"]
    assert one.others["more"] == AlsoConfig("data/more", 0.3)
    assert one.weights == [0.45, 0.25, 0.3]
    assert one.places == {
        "data.shards": "data/digits",
        "data.also.b.shards": "s3://x/b",
        "data.also.more.shards": "data/more",
    }
    assert replace(one, image_size=64).others == one.others
    assert DataConfig().weights == [1]


@pytest.mark.parametrize(
    ("also", "said"),
    [
        ({"more": {"shards": "x"}}, r"data\.also\.more has no weight; give {shards: PATH_OR_URL, weight: SHARE}"),
        ({"more": {"weight": 0.1}}, r"data\.also\.more has no shards; give {"),
        ({"more": {"shards": "", "weight": 0.1}}, r"data\.also\.more has no shards; give {"),
        ({"more": MORE | {"shard": "x"}}, r"data\.also\.more\.shard does not exist; give {"),
        ({"more": "data/more"}, r"data\.also\.more is 'data/more'; give {"),
        ({"more": MORE | {"shards": 5}}, r"data\.also\.more\.shards is 5; give a folder or URL"),
        ({"more": MORE | {"weight": 0}}, r"data\.also\.more\.weight is 0; give a share between 0 and 1"),
        ({"more": MORE | {"weight": 1.0}}, r"weight is 1\.0; give a share between 0 and 1"),
        ({"more": MORE | {"weight": True}}, r"weight is True; give a share"),
        ({"more": MORE | {"weight": "much"}}, r"weight is 'much'; give a share"),
        ({"more": MORE | {"weight": float("nan")}}, r"weight is nan; give a share"),
        ({"more": MORE | {"weight": 0.12345}}, r"weight is 0\.12345; give at most 4 decimals"),
        ({"a": MORE | {"weight": 0.5}, "b": MORE | {"weight": 0.5}}, r"the weights of data\.also are 1 together, and"),
        ({"a.b": MORE}, r"data\.also\.a\.b: 'a\.b' is no name"),
        ({"digits": MORE}, r"data\.also\.digits is called as the first set is"),
    ],
)
def test_what_cannot_work_is_refused_in_a_line(also: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        data(**also)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("weights", [[0.0001], [0.3333, 0.3333, 0.3333], [0.1] * 9, [0.5, 0.4999]])
def test_four_decimals_are_exact(weights: list[float]) -> None:
    made = data(**{f"s{n}": {"shards": "x", "weight": weight} for n, weight in enumerate(weights)})
    assert [round(10_000 * each) for each in made.weights[1:]] == [round(10_000 * each) for each in weights]
    assert sum(round(10_000 * each) for each in made.weights) == 10_000


def test_what_cannot_be_exact_beside_it_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.balance is sqrt, and data\.also has its own weights"):
        DataConfig(also={"more": MORE}, balance="sqrt")
    with pytest.raises(ConfigError, match=r"data\.also has more, and sampling\.repeats is 2: .* leave one out"):
        Config(data=data(more=MORE), sampling=SamplingConfig(repeats=2))
    with pytest.raises(ConfigError, match=r"data\.also has more, and distill\.teacher is runs/x, which is asked about"):
        Config(data=data(more=MORE), job="distill", distill=DistillConfig(teacher="runs/x"))


def test_names_and_weights_are_the_identity_and_places_are_not() -> None:
    def of(**also: Any) -> dict[str, Any]:
        return identity(asdict(Config(data=data(**also))))

    assert differences(of(more=MORE), of(more=MORE | {"shards": "s3://elsewhere"})) == []
    assert differences(of(more=MORE), of(more=MORE | {"weight": 0.2})) == ["data.also.more.weight: 0.3 -> 0.2"]
    assert differences(of(more=MORE), of(less=MORE)) == [
        "data.also.less.weight: (absent) -> 0.3",
        "data.also.more.weight: 0.3 -> (absent)",
    ]
    old = asdict(Config())
    del old["data"]["also"]  # of a version that had no such setting
    assert identity(old) == of()


def test_a_record_gives_them_back() -> None:
    config = Config(data=data(more=MORE))
    assert config_of(asdict(config)) == config
    old = asdict(Config())
    del old["data"]["also"]
    assert config_of(old) == Config()


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.also.more.shards=data/more", "data.also.more.weight=0.3"],
        ["+data.also.more.shards=data/more", "+data.also.more.weight=0.3"],
        ["data.also.more={shards:data/more,weight:0.3}"],
        ["data.also={more:{shards:data/more,weight:0.3}}"],
        ["+data.also.more.weight=0.2", "++data.also.more.shards=data/more", "data.also.more.weight=0.3"],
    ],
)
def test_a_command_line_names_a_set_with_or_without_pluses(overrides: list[str]) -> None:
    with composing() as composer:
        made = composer.config(overrides)
        composer.experiment(["data=digits", *overrides])
        assert as_given(composer.composed).data.others == {"more": AlsoConfig("data/more", 0.3)}
    assert made.data.others == {"more": AlsoConfig(str(Path("data/more").absolute()), 0.3)}


def test_a_place_is_a_text_and_a_home_folder_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert as_typed("data.also.more.shards=2024_11") == "++data.also.more.shards='2024_11'"
    assert as_typed("data.also.more.weight=0.3") == "++data.also.more.weight=0.3"
    monkeypatch.setenv("HOME", "/home/someone")
    with composing() as composer:
        made = composer.config(["data.also.a.shards=~/more", "data.also.a.weight=0.1"])
        assert made.data.others["a"].shards == "/home/someone/more"
        made = composer.config(["data.also.a.shards=s3://bucket/more", "data.also.a.weight=0.1"])
        assert made.data.others["a"].shards == "s3://bucket/more"


def test_passwords_of_a_place_are_not_kept() -> None:
    made = asdict(Config(data=data(more=MORE | {"shards": "https://me:secret@host/more"})))
    assert "secret" not in str(made)
