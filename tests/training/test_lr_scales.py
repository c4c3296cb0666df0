"""Learning rates of classifiers and by depth; frozen parts stay as they are; a resumed run is an undisturbed one."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from timm.optim._param_groups import param_groups_layer_decay

from platform.config.data import DataConfig
from platform.config.models import GoogLeNetConfig, ModelConfig
from platform.config.sections import Config
from platform.data.index import Index
from platform.models.build import build
from platform.models.initial import Weights, classifiers
from platform.training.loop import train
from platform.training.lr_scales import lr_scales, scale_lr, set_lr
from platform.training.optim import optimiser
from platform.training.worker import Worker
from tests.training.test_loop import Recorder, assert_same, config, index, nothing

__all__ = ["index"]  # the fixture
NARROW = GoogLeNetConfig(width=0.1)


def optim(**settings: float):
    return replace(Config().optim, **settings)  # pyright: ignore[reportArgumentType]


def test_each_block_has_a_share_of_the_rate_of_the_next():
    network = build(NARROW, 10, 32, 0)
    heads = classifiers(NARROW, 10, 32)
    found = lr_scales(network, heads, optim(layer_decay=0.5, head_lr=10.0))
    assert {found[name] for name in heads} == {10.0}
    by_block = {".".join(name.split(".")[:2]): scale for name, scale in found.items() if name not in heads}
    modules = ["3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"]
    order = ["stem.0", "stem.2", "stem.3", *(f"stages.{each}" for each in modules)]
    assert [by_block[name] for name in order] == [0.5**distance for distance in range(len(order), 0, -1)]
    assert by_block["auxiliary.4a"] == by_block["auxiliary.4d"] == 1.0  # with their classifiers
    resnet = build(ModelConfig("torchvision/resnet18"), 10, 64, 0)
    found = lr_scales(resnet, {"fc.weight", "fc.bias"}, optim(layer_decay=0.5))
    assert found["layer4.1.conv1.weight"] == 0.5
    assert found["layer4.0.conv1.weight"] == 0.25
    assert found["conv1.weight"] == 0.5**10


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("test_vit", ["pos_embed", *(f"blocks.{block}.mlp.fc1.weight" for block in range(6))]),
        ("test_convnext", ["stem.0.weight", "stages.0.blocks.0.gamma", "stages.1.downsample.1.weight"]),
        ("resnet18", ["conv1.weight", *(f"layer{n}.{m}.conv1.weight" for n in (1, 2, 3, 4) for m in (0, 1))]),
    ],
)
def test_blocks_of_timms_networks_are_those_that_timm_names(name: str, order: list[str]):
    """As timm's own groups have them, all but the classifier."""
    model, cfg = ModelConfig(f"timm/{name}"), optim(layer_decay=0.5, head_lr=10.0)
    network, heads = build(model, 10, 64, 0), classifiers(model, 10, 64)
    optimizer = optimiser(network, cfg)
    scale_lr(optimizer, network, cfg, model, 10, 64)
    set_lr(optimizer, 1.0)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    found = {each: rate[id(parameter)] for each, parameter in network.named_parameters()}
    groups = param_groups_layer_decay(network, weight_decay=0.1, layer_decay=0.5)
    theirs = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    assert {each: rate for each, rate in found.items() if each not in heads} == {
        each: theirs[id(p)] for each, p in network.named_parameters() if each not in heads
    }
    assert {found[each] for each in heads} == {10.0}
    assert [found[each] / found[order[0]] for each in order] == [2.0**block for block in range(len(order))]
    assert name == "test_convnext" or found[order[-1]] == 0.5


def test_groups_are_split_by_their_scales_and_follow_the_schedule():
    network, cfg = build(NARROW, 10, 32, 0), optim(head_lr=10.0)
    optimizer = optimiser(network, cfg)
    scale_lr(optimizer, network, cfg, NARROW, 10, 32)
    set_lr(optimizer, 0.02)
    rate = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert len(rate) == len(list(network.parameters()))
    heads = classifiers(NARROW, 10, 32)
    for name, parameter in network.named_parameters():
        decay = cfg.weight_decay if parameter.ndim > 1 else 0.0
        assert rate[id(parameter)] == (0.2 if name in heads else 0.02, decay), name
    usual = optimiser(network, optim())
    scale_lr(usual, network, optim(), NARROW, 10, 32)
    assert [len(group["params"]) for group in usual.param_groups] == [
        sum(p.ndim > 1 for p in network.parameters()), sum(p.ndim <= 1 for p in network.parameters())
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread", "few_images")
def test_frozen_parts_stay_as_begun_and_a_resumed_run_ends_as_an_undisturbed_one(
    index: Index, digits_data: DataConfig, tmp_path: Path
):
    """With batch norm and averaged weights: neither training nor the statistics taken anew change a frozen one. Which
    weights it began with is read once."""
    file = tmp_path / "init" / "some.safetensors"
    cfg = config(digits_data, batch_norm=True, averaging="polyak", averaging_start=0.0, every_s=1e-9)
    cfg = replace(cfg, model=replace(cfg.model, init="some", freeze=["stem", "stages.3"]))
    cfg = replace(cfg, optim=replace(cfg.optim, head_lr=5.0, layer_decay=0.8))
    begun = build(cfg.model, 10, 32, seed=5).state_dict()
    begun = {name: value + 0.5 if "running_mean" in name else value for name, value in begun.items()}
    Weights(begun).write(file)
    expected = train(cfg, index, Worker(), tmp_path / "whole", nothing, initial=file)
    with pytest.raises(KeyboardInterrupt):
        train(cfg, index, Worker(), tmp_path / "cut", Recorder(5), initial=file)
    file.unlink()
    assert_same(train(cfg, index, Worker(), tmp_path / "cut", nothing, initial=file), expected)
    for name, value in expected.state_dict().items():
        still = name.startswith(("stem", "stages.3"))
        changing = torch.equal(value, begun[name])
        assert changing == still, name
