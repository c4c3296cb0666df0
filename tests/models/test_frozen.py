"""What is frozen: parameters by the beginnings of their names, and the statistics of the batch norms among them."""

import pytest
from torch import nn

from platform.config.checks import ConfigError
from platform.config.models import GoogLeNetConfig
from platform.models.build import build
from platform.models.frozen import counts, freeze, frozen_norms


def test_what_begins_so_has_no_gradient_and_its_norms_are_known():
    network = build(GoogLeNetConfig(width=0.1, batch_norm=True), 10, 32, 0)
    freeze(network, ["stem", "stages.3"])
    frozen = {".".join(name.split(".")[:2]) for name, each in network.named_parameters() if not each.requires_grad}
    assert frozen == {"stem.0", "stem.2", "stem.3", "stages.3a", "stages.3b"}
    names = {id(module): name for name, module in network.named_modules()}
    norms = {names[id(norm)] for norm in frozen_norms(network, ["stem", "stages.3"])}
    assert len(norms) == 3 + 2 * 6
    assert {name.split(".")[0] for name in norms} == {"stem", "stages"}
    of = sum(parameter.numel() for parameter in network.parameters())
    still = sum(parameter.numel() for parameter in network.parameters() if not parameter.requires_grad)
    assert counts(network).startswith(f"{still:,} of {of:,} parameters frozen (")
    assert frozen_norms(network, []) == []


def test_a_number_at_the_end_is_a_whole_one():
    network = nn.Sequential(*(nn.BatchNorm1d(2) for _ in range(12)))
    freeze(network, ["1", "3.w"])
    assert [name for name, each in network.named_parameters() if not each.requires_grad] == [
        "1.weight", "1.bias", "3.weight",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="'12', with which no parameter begins"):
        freeze(network, ["12"])


@pytest.mark.parametrize(("beginnings", "still"), [(["0.weight"], False), (["0.weight", "0.b"], True), (["0"], True)])
def test_a_norm_keeps_its_statistics_where_scale_and_shift_are_frozen(beginnings: list[str], still: bool):
    network = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    assert frozen_norms(network, beginnings) == ([network[0]] if still else [])


@pytest.mark.parametrize(
    ("beginnings", "said"), [(["stem", "inception3"], "'inception3', with which no parameter begins; there are stem.0"),
                             (["s", "a", "c"], "nothing is left to train")],
)  # fmt: skip
def test_what_is_not_there_and_everything_is_refused(beginnings: list[str], said: str):
    with pytest.raises(ConfigError, match=said):
        freeze(build(GoogLeNetConfig(width=0.1), 10, 32, 0), beginnings)
