"""Overrides say the values they were written of, to Hydra's own parser."""

from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st

from platform.overrides import is_of_section, join, key_of, override

texts = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"])).filter(lambda text: "${" not in text)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = scalars | st.lists(scalars, max_size=4) | st.fixed_dictionaries({"min": scalars, "max": scalars})


@given(values)
@example("a=b,c:d")
@example("it's \\'")
@example("\\")
@example("")
@example(["1e-3", "true", "null", 1e-05, [True, None]])
def test_an_override_says_its_value(value: Any):
    read = OverridesParser.create().parse_override(override("optim.lr", value))
    assert (read.key_or_group, plain(read.value())) == ("optim.lr", value)


def plain(value: Any) -> Any:
    """Without Hydra's marks of what was quoted."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {plain(key): plain(each) for key, each in value.items()}
    return getattr(value, "text", value)


@pytest.mark.parametrize("given_override", ["optim.lr=0.1", "+optim.lr=a=b", "++optim.lr=1", "~optim.lr"])
def test_an_override_sets_a_key(given_override: str):
    assert key_of(given_override) == "optim.lr"


def test_a_later_override_replaces_the_one_of_its_key():
    assert join(["sampling=plain", "optim.lr=1", "seed=0"], ["+optim.lr=2", "sampling=alexnet"]) == [
        "seed=0",
        "+optim.lr=2",
        "sampling=alexnet",
    ]


@pytest.mark.parametrize(
    ("given_override", "is_of_it"),
    [
        ("cluster=ray", True),
        ("+cluster@x=ray", True),
        ("~cluster.kube", True),
        ("clusters=1", False),
        ("a.cluster=1", False),
    ],
)
def test_an_override_is_of_a_section(given_override: str, *, is_of_it: bool):
    assert is_of_section(given_override, "cluster") == is_of_it
