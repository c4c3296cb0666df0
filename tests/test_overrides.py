"""Overrides: strings stay as typed, and the quoting that an error shows gives what was meant."""

import re
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from hypothesis import given
from hypothesis import strategies as st

from platform.config.checks import ConfigError
from platform.config.identity import replaced
from platform.config.sections import Config, DataConfig
from platform.overrides import as_typed, at_home, explained, explained_ambiguity, in_quotes, refuse_empty, strings


@pytest.mark.parametrize(
    ("typed", "taken"),
    [
        ("name=2024_11_28", "name='2024_11_28'"),
        ("+name=1.10", "+name='1.10'"),
        ("name=true", "name='true'"),
        ("name=-1e5", "name='-1e5'"),
        ("name=1.10,a, 1.20", "name='1.10',a, '1.20'"),
        ("output_dir=~/a b,~/c", "output_dir='~/a b','~/c'"),
        ("name={a}", "name='{a}'"),
        ("data.source=[2024] photos", "data.source='[2024] photos'"),
        ("data.source={it's}/y", "data.source='{it\\'s}/y'"),
        *[(same, same) for same in (
            "name=null", "name='1.10'", "name=007", "name=1:30", "name=v1.10", "name=choice(1,2)", "name=it's", "~name",
            "seed=1_0", "optim.lr=1.10", "bench.parts=[1,2]", "--multirun", "output_dir='~/x'", "sampling=plain",
        )],
    ],
)  # fmt: skip
def test_strings_stay_as_typed(typed: str, taken: str):
    assert as_typed(typed) == taken


def test_every_setting_that_is_a_string_is_known():
    assert {"name", "tracking.experiment", "data.source", "cluster.kube.queue", "promote.experiment"} <= strings()
    assert not {"seed", "bench.parts", "ensemble.members", "cluster.workers", "optim.lr"} & strings()


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1))
def test_the_quoting_that_is_shown_works_in_a_shell(value: str):
    shown = in_quotes("name", value)
    if shown:  # a backslash at the end of what has both quotes, and the like
        (word,) = shlex.split(shown)
        assert OverridesParser.create().parse_override(word).value() == value
    assert shown or "\\" in value


def test_the_character_is_named():
    with pytest.raises(OverrideParseException) as caught:
        OverridesParser.create().parse_overrides(["data.source=/my data/50%;x"])
    said = "data.source is /my data/50%;x, where ';' needs quotes; write \"data.source='/my data/50%;x'\""
    assert explained(caught.value) == said


def test_home_is_in_the_place_of_its_sign_in_front_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/me")
    config = at_home(Config(output_dir="~", data=DataConfig(source="~/a~b", shards="x/~/y")))
    assert (config.output_dir, config.data.source, config.data.shards) == ("/home/me", "/home/me/a~b", "x/~/y")
    for source, found in {
        "torchvision:CIFAR10@~/tv": "torchvision:CIFAR10@/home/me/tv", "file:~/x": "file:/home/me/x",
        "file://~/x": "file:///home/me/x", "https://~/x": "https://~/x",
    }.items():  # fmt: skip
        assert at_home(Config(data=DataConfig(source=source))).data.source == found


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("name=1,2", """write "name='1,2'\""""),
        ("data.source=a b,c", """write "data.source='a b,c'\""""),
        ("data.value_range=0,4095", "write data.value_range=[0,4095]"),
        ("evaluation.views=1,10", "write evaluation.views=[1,10]"),
        ("seed=1,2", "give one of them"),
    ],
)
def test_several_values_of_one_setting_show_what_was_meant(typed: str, shown: str):
    said = explained_ambiguity(as_typed(typed))
    assert said.startswith(typed.replace("=", " is ", 1) + ", where ',' parts several values for --multirun")
    assert said.endswith(shown)


@pytest.mark.parametrize(
    "key", ["data.source", "data.shards", "output_dir", "tracking.uri", "storage.cache", "name", "cluster.address"]
)
def test_an_empty_string_is_refused(key: str):
    refuse_empty(Config(name="x"))
    with pytest.raises(ConfigError, match=rf"^{re.escape(key)} is (empty|'')"):
        refuse_empty(replaced(Config(name="x"), key, ""))
