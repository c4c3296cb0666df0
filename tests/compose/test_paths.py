"""Paths of a config: home folders."""

import pytest

from platform.compose.paths import at_home
from platform.config.data import DataConfig
from platform.config.sections import Config


def test_home_is_in_the_place_of_its_sign_in_front_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/me")
    config = at_home(Config(output_dir="~", data=DataConfig(source="~/a~b", shards="x/~/y")))
    assert (config.output_dir, config.data.source, config.data.shards) == ("/home/me", "/home/me/a~b", "x/~/y")
    for source, found in {
        "torchvision:CIFAR10@~/tv": "torchvision:CIFAR10@/home/me/tv", "file:~/x": "file:/home/me/x",
        "file://~/x": "file:///home/me/x", "https://~/x": "https://~/x",
    }.items():  # fmt: skip
        assert at_home(Config(data=DataConfig(source=source))).data.source == found
