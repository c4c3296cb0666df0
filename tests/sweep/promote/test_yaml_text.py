"""Settings written as YAML read back as what they were."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from platform.sweep.promote.yaml_text import yaml_lines, yaml_value

texts = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"])).filter(lambda text: "${" not in text)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = scalars | st.lists(scalars, max_size=4)


@pytest.mark.slow
@given(values | st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=5))
@example("1e-3")
@example("\x1b[31m\x85\u2028\n")
@example("🂡\u3000")
@example("yes")
@example("# no comment")
@example(1e-300)
@example(["optim.lr=0.1", "sampling.area=[0.1,0.9]", "a: b", "- c", "@d", "*e"])
def test_a_line_of_yaml_says_its_value(value: Any):
    read = OmegaConf.to_container(OmegaConf.create("\n".join(yaml_lines({"optim.lr": value}))))
    assert read == {"optim": {"lr": value}}


def test_numbers_and_switches_keep_their_kind():
    assert [yaml_value(each) for each in (1, 1.0, True, None, 1e-05)] == ["1", "1.0", "true", "null", "1e-05"]


def test_what_is_plain_to_everybody_is_not_quoted():
    assert yaml_value(["sampling=plain", "optim.lr=1e-05", "data/digits", "p003-s0"]) == (
        "[sampling=plain, optim.lr=1e-05, data/digits, p003-s0]"
    )


def test_settings_of_a_section_stand_below_its_name():
    assert yaml_lines({"optim.lr": 0.1, "seed": 3, "optim.clip": None}) == [
        "seed: 3",
        "optim:",
        "  lr: 0.1",
        "  clip: null",
    ]
