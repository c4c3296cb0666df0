"""What is frozen: parameters by the beginnings of their names, and the statistics of the batch norms among them."""

import pytest

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


@pytest.mark.parametrize(
    ("beginnings", "said"), [(["stem", "inception3"], "'inception3', with which no parameter begins; there are stem.0"),
                             (["s", "a", "c"], "nothing is left to train")],
)  # fmt: skip
def test_what_is_not_there_and_everything_is_refused(beginnings: list[str], said: str):
    with pytest.raises(ConfigError, match=said):
        freeze(build(GoogLeNetConfig(width=0.1), 10, 32, 0), beginnings)
