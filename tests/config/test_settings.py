"""Settings by their dotted keys."""

import re

import pytest

from platform.config.checks import ConfigError
from platform.config.identity import replaced
from platform.config.sections import Config
from platform.config.settings import refuse_empty, strings


def test_every_setting_that_is_a_string_is_known():
    assert {"name", "tracking.experiment", "data.source", "cluster.kube.queue", "promote.experiment"} <= strings()
    assert not {"seed", "bench.parts", "ensemble.members", "cluster.workers", "optim.lr"} & strings()


@pytest.mark.parametrize(
    "key", ["data.source", "data.shards", "output_dir", "tracking.uri", "storage.cache", "name", "cluster.address"]
)
def test_an_empty_string_is_refused(key: str):
    refuse_empty(Config(name="x"))
    with pytest.raises(ConfigError, match=rf"^{re.escape(key)} is (empty|'')"):
        refuse_empty(replaced(Config(name="x"), key, ""))
