"""Strings stay as typed, and the quoting that an error shows gives what was meant."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from platform.compose.quoting import as_typed, has_several_values, in_quotes


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


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1))
def test_the_quoting_that_is_shown_works_in_a_shell(value: str):
    shown = in_quotes("name", value)
    if shown:  # a backslash at the end of what has both quotes, and the like
        (word,) = shlex.split(shown)
        assert OverridesParser.create().parse_override(word).value() == value
    assert shown or "\\" in value


@pytest.mark.parametrize(
    ("override", "several"),
    [
        ("optim.lr=0.1,0.2", True),
        ("+a=range(1,3)", True),
        ("data=digits,cifar10", True),
        ("optim.lr=0.1", False),
        ("evaluation.views=[1,10]", False),
        ("export.models=false", False),
        ("name='a,b'", False),
        ("--multirun", False),
        ("optim.lr=[0.1", False),
    ],
)
def test_values_that_multirun_takes_apart_are_known(override: str, several: bool):
    assert has_several_values(override) is several
