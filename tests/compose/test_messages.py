"""What Hydra cannot read is one line that shows the quoting that works."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from platform.compose.messages import explained, explained_ambiguity
from platform.compose.quoting import as_typed


def test_the_character_is_named():
    with pytest.raises(OverrideParseException) as caught:
        OverridesParser.create().parse_overrides(["data.source=/my data/50%;x"])
    said = "data.source is /my data/50%;x, where ';' needs quotes; write \"data.source='/my data/50%;x'\""
    assert explained(caught.value) == said


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
