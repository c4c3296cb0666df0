"""A training that begins with weights: they are where it starts, and a resumed run does not read them again."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from platform.config.data import DataConfig
from platform.data.index import Index
from platform.models.build import build
from platform.models.initial import Weights
from platform.training.loop import train
from platform.training.worker import Worker
from tests.training.test_loop import Recorder, assert_same, config, index, nothing

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]
__all__ = ["index"]  # the fixture


def test_it_begins_with_them_and_a_resumed_run_does_not_read_them_again(
    index: Index, digits_data: DataConfig, tmp_path: Path
):
    file, digest = tmp_path / "init" / "some.safetensors", "0123456789abcdef"
    cfg = config(digits_data, batch_norm=True, averaging="ema", every_s=1e-9)
    cfg = replace(cfg, model=replace(cfg.model, init="old", init_digest=digest))
    other = build(cfg.model, cfg.data.classes, cfg.data.image_size, seed=7)
    Weights(other.state_dict()).write(file)
    expected = train(cfg, index, Worker(), tmp_path / "whole", nothing, initial=file)
    with pytest.raises(KeyboardInterrupt):
        train(cfg, index, Worker(), tmp_path / "cut", Recorder(5), initial=file)
    file.unlink()
    assert_same(train(cfg, index, Worker(), tmp_path / "cut", nothing, initial=file), expected)
    still = replace(cfg, optim=replace(cfg.optim, lr=1e-30))
    Weights(other.state_dict()).write(file)
    found = train(still, index, Worker(), tmp_path / "still", nothing, initial=file).state_dict()
    for name, tensor in other.state_dict().items():
        assert torch.allclose(found[name], tensor, rtol=0, atol=1e-25) or "running_" in name or "num_b" in name, name
