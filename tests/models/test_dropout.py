"""Dropout masks follow from the samples: in any part of a batch, in any order, each drops the same features."""

import copy

import pytest
import torch
from torch import Tensor, nn

from platform.config.models import model_of
from platform.models.build import build
from platform.models.dropout import SampleDropout, SampleDropPath, by_sample, layers, set_keys

P = 0.4
SAMPLES, FEATURES = 64, 4096
KEYS_N = torch.randint(2**53, (SAMPLES,), generator=torch.Generator().manual_seed(1))


def masks(keys_N: Tensor = KEYS_N, *, number: int = 0, p: float = P, features: int = FEATURES) -> Tensor:
    """What ones become."""
    layer = SampleDropout(p, number).train()
    set_keys([layer], keys_N)
    return layer(torch.ones(len(keys_N), features))


def correlation(one: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([(one > 0).flatten().float(), (other > 0).flatten().float()]))[0, 1])


@pytest.mark.parametrize("p", [0.1, 0.4, 0.7])
def test_a_share_p_is_dropped_and_the_others_scaled(p: float) -> None:
    dropped = masks(p=p)
    assert float((dropped == 0).float().mean()) == pytest.approx(p, abs=4 * (p * (1 - p) / dropped.numel()) ** 0.5)
    assert set(dropped.unique().tolist()) == {0.0, float(torch.tensor(1 / (1 - p)))}
    of_each = (dropped == 0).float().mean(1)  # no sample and no feature is special
    assert (of_each - p).abs().max() < 5 * (p * (1 - p) / FEATURES) ** 0.5
    assert ((dropped == 0).float().mean(0) - p).abs().max() < 6 * (p * (1 - p) / SAMPLES) ** 0.5


def test_the_same_keys_drop_the_same_in_any_parts_and_order() -> None:
    whole = masks()
    parts = [masks(part) for part in KEYS_N.split([1, 20, 43])]
    assert torch.equal(torch.cat(parts), whole)
    order = torch.randperm(SAMPLES)
    assert torch.equal(masks(KEYS_N[order]), whole[order])
    torch.manual_seed(12345)  # whatever else is drawn
    assert torch.equal(masks(), whole)


def test_masks_of_other_keys_and_layers_are_independent() -> None:
    """Keys that lie side by side and layers one after another included."""
    bound = 5 / (SAMPLES * FEATURES) ** 0.5
    whole = masks()
    for other in (masks(KEYS_N + 1), masks(KEYS_N ^ (1 << 52)), masks(number=1), masks(number=2), masks(number=1000)):
        assert abs(correlation(whole, other)) < bound
    assert abs(correlation(whole[1:], whole[:-1])) < bound
    assert abs(correlation(whole[:, 1:], whole[:, :-1])) < bound
    neighbours = masks(torch.arange(SAMPLES))
    assert abs(correlation(neighbours[1:], neighbours[:-1])) < bound


def test_images_are_dropped_as_their_features_are() -> None:
    layer = SampleDropout(P, 0).train()
    set_keys([layer], KEYS_N)
    images = torch.ones(SAMPLES, 16, 16, 16).to(memory_format=torch.channels_last)
    assert torch.equal(layer(images).flatten(1), masks())
    assert layer(images.bfloat16()).dtype == torch.bfloat16


def test_evaluation_and_a_share_of_none_drop_nothing() -> None:
    x = torch.randn(SAMPLES, 8)
    for layer in (SampleDropout(P, 0).eval(), SampleDropout(0.0, 0).train()):
        set_keys([layer], KEYS_N)
        assert layer(x) is x


def test_without_keys_pytorchs_generator_draws() -> None:
    layer, x = SampleDropout(P, 0).train(), torch.ones(SAMPLES, FEATURES)
    torch.manual_seed(0)
    drawn = layer(x)
    torch.manual_seed(0)
    assert torch.equal(drawn, nn.functional.dropout(x, P))
    assert not torch.equal(drawn, layer(x))


def test_the_gradient_passes_where_nothing_was_dropped() -> None:
    layer, x = SampleDropout(P, 0).train(), torch.randn(SAMPLES, FEATURES, requires_grad=True)
    set_keys([layer], KEYS_N)
    layer(x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, masks())


@pytest.mark.parametrize("name", ["torchvision/mobilenet_v3_small", "torchvision/alexnet", "googlenet"])
def test_every_network_gets_its_own(name: str) -> None:
    """Its dropout is ours, each layer by another number, and checkpoints do not notice."""
    network = build(model_of({"name": name} | ({"width": 0.25} if name == "googlenet" else {})), 10, 64, seed=0)
    assert not [module for module in network.modules() if type(module) is nn.Dropout]
    found = layers(network)
    assert found
    assert [layer.number for layer in found] == list(range(len(found)))
    names = set(network.state_dict())
    set_keys(found, KEYS_N)
    assert set(network.state_dict()) == names
    assert not [name for name in names if "dropout" in name.lower() and "keys" in name]
    assert set(copy.deepcopy(network).state_dict()) == names


def test_the_place_of_torchvisions_keeps_its_share_and_its_weights() -> None:
    plain = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.2), nn.Sequential(nn.Dropout(0.6), nn.Linear(4, 2)))
    names = list(plain.state_dict())
    assert [layer.p for layer in layers(by_sample(plain))] == [0.2, 0.6]
    assert list(plain.state_dict()) == names


def test_a_layer_in_two_places_becomes_two() -> None:
    shared = nn.Dropout(P)
    network = by_sample(nn.ModuleDict({"one": shared, "other": nn.Sequential(shared)}))
    assert [(layer.p, layer.number) for layer in layers(network)] == [(P, 0), (P, 1)]


def test_a_copy_drops_as_its_original_and_follows_its_own_keys() -> None:
    network = by_sample(nn.Sequential(nn.Dropout(P))).train()
    set_keys(layers(network), KEYS_N)
    x = torch.ones(SAMPLES, FEATURES)
    copied = copy.deepcopy(network)
    assert torch.equal(copied(x), network(x))
    set_keys(layers(copied), KEYS_N + 1)
    assert not torch.equal(copied(x), network(x))


def paths(keys_N: Tensor | None, *, rows: int = 1, scaled: bool = True) -> Tensor:
    """What becomes of ones that stochastic depth drops, `rows` of them for each sample."""
    layer = SampleDropPath(P, 3, scaled=scaled).train()
    set_keys([layer], keys_N)
    return layer(torch.ones(SAMPLES * rows, 5, 2))


def test_stochastic_depth_drops_whole_samples_by_their_keys() -> None:
    keys_N = torch.randint(2**53, (SAMPLES,), generator=torch.Generator().manual_seed(2))
    dropped = paths(keys_N)
    assert set(dropped.unique().tolist()) == {0.0, float(torch.tensor(1 / (1 - P)))}
    assert (dropped == dropped[:, :1, :1]).all()
    assert float((dropped == 0).float().mean()) == pytest.approx(P, abs=4 * (P * (1 - P) / SAMPLES) ** 0.5)
    parts = [paths_of(part) for part in keys_N.split([1, 20, 43])]
    assert torch.equal(torch.cat(parts), dropped)
    assert set(paths(keys_N, scaled=False).unique().tolist()) == {0.0, 1.0}
    assert torch.equal(paths(keys_N, rows=4).view(SAMPLES, 4, 5, 2)[:, 3], dropped)
    torch.manual_seed(0)
    assert not torch.equal(paths(None), paths(None))


def paths_of(keys_N: Tensor) -> Tensor:
    layer = SampleDropPath(P, 3).train()
    set_keys([layer], keys_N)
    return layer(torch.ones(len(keys_N), 5, 2))


def test_windows_of_a_sample_follow_from_its_key() -> None:
    """Swin drops in windows of all images, those of an image one after another."""
    layer = SampleDropout(P, 0).train()
    set_keys([layer], KEYS_N)
    whole = layer(torch.ones(SAMPLES * 4, 8)).view(SAMPLES, 4, 8)
    set_keys([layer], KEYS_N[5:7])
    assert torch.equal(layer(torch.ones(2 * 4, 8)).view(2, 4, 8), whole[5:7])


def test_what_has_no_samples_is_dropped_by_pytorchs_generator() -> None:
    layer = SampleDropout(P, 0).train()
    set_keys([layer], KEYS_N)
    torch.manual_seed(0)
    found = layer(torch.ones(1, 8))
    torch.manual_seed(0)
    assert torch.equal(found, nn.functional.dropout(torch.ones(1, 8), P))


def test_stochastic_depth_of_torchvision_and_timm_becomes_ours() -> None:
    from timm.layers.drop import DropPath
    from torchvision.ops import StochasticDepth

    of_batch = StochasticDepth(0.2, "batch")  # one draw for all images: it stays
    network = by_sample(nn.Sequential(StochasticDepth(0.1, "row"), of_batch, DropPath(0.3, scale_by_keep=False)))
    found = [(type(layer), layer.p, layer.scaled) for layer in layers(network) if isinstance(layer, SampleDropPath)]
    assert found == [(SampleDropPath, 0.1, True), (SampleDropPath, 0.3, False)]
    assert of_batch in network.children()
