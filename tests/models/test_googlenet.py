"""GoogLeNet against the figures of its paper: weights, multiply-adds, sizes, heads, and a start that learns."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from platform.models.dropout import SampleDropout
from platform.models.googlenet import TABLE_1, AuxiliaryHead, ConvReLU, GoogLeNet, InceptionWidths, scaled_width

# Exact weights without biases, by the widths of Table 1, and multiply-adds in millions as it prints them.
WEIGHTS = {
    "conv1": 9_408,
    "conv2": 114_688,
    "3a": 163_328,
    "3b": 388_096,
    "4a": 375_552,
    "4b": 448_512,
    "4c": 509_440,
    "4d": 604_672,
    "4e": 867_328,
    "5a": 1_042_432,
    "5b": 1_442_816,
    "linear": 1_024_000,
}
PRINTED_MILLIONS = {
    "conv2": 360,
    "3a": 128,
    "3b": 304,
    "4a": 73,
    "4b": 88,
    "4c": 100,
    "4d": 119,
    "4e": 170,
    "5b": 71,
    "linear": 1,
}
CORRECTED_MILLIONS = {"conv1": 118.0, "5a": 51.1}  # where the printed table slips
NAIVE_CHANNELS = {  # 1x1 + 3x3 + 5x5 + all that comes in
    "3a": 416,
    "3b": 832,
    "4a": 1280,
    "4b": 1728,
    "4c": 2176,
    "4d": 2640,
    "4e": 3344,
    "5a": 4048,
    "5b": 4944,
}


def layer_of(name: str) -> str:
    """Table 1's name of the row a module belongs to; "auxiliary" for the heads."""
    first, _, rest = name.partition(".")
    if first == "stem":
        return "conv1" if rest.startswith("0") else "conv2"
    return {"stages": rest.partition(".")[0], "classifier": "linear"}.get(first, "auxiliary")


@dataclass
class Trace:
    """What one training pass of the full network at 224 px showed."""

    multiply_adds: Counter[str] = field(default_factory=Counter)
    sizes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    smallest: dict[str, float] = field(default_factory=dict)  # least activation behind each convolution

    def watch(self, name: str, layer: nn.Module) -> None:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            self.sizes[name] = tuple(output.shape[1:])
            if isinstance(layer, nn.Conv2d | nn.Linear):
                positions = math.prod(output.shape[2:])
                self.multiply_adds[layer_of(name)] += layer.weight.numel() * positions
            if isinstance(layer, ConvReLU):
                self.smallest[name] = output.min().item()

        layer.register_forward_hook(hook)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network() -> GoogLeNet:
    torch.manual_seed(0)
    return GoogLeNet()


@pytest.fixture(scope="module")
def trace(network: GoogLeNet) -> Trace:
    result = Trace()
    for name, layer in network.named_modules():
        result.watch(name, layer) if not isinstance(layer, GoogLeNet | nn.ModuleDict) else None
    with torch.no_grad():
        network.train()(torch.randn(1, 3, 224, 224))
    return result


def weights_by_layer(network: nn.Module) -> Counter[str]:
    counts: Counter[str] = Counter()
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            counts[layer_of(name)] += parameter.numel()
    return counts


@pytest.mark.parametrize("naive", [False, True])
def test_modules_and_stages_pool_by_the_maximum(naive: bool) -> None:
    """Only the auxiliary heads average, and the end."""
    with torch.device("meta"):
        network = GoogLeNet(naive=naive)
    pools = {name: layer for name, layer in network.named_modules() if "Pool2d" in type(layer).__name__}
    trunk = {name: layer for name, layer in pools.items() if not name.startswith("auxiliary")}
    assert {type(layer) for layer in trunk.values()} == {nn.MaxPool2d}
    within = [layer for name, layer in trunk.items() if name.startswith("stages")]
    between = [layer for name, layer in trunk.items() if not name.startswith("stages")]
    assert [(each.kernel_size, each.stride, each.padding) for each in within] == 9 * [(3, 1, 1)]
    assert [(each.kernel_size, each.stride, each.padding) for each in between] == 3 * [(3, 2, 0)]


def test_weights_of_every_layer_are_the_papers(network: GoogLeNet) -> None:
    counts = weights_by_layer(network)
    assert {layer: counts[layer] for layer in WEIGHTS} == WEIGHTS
    assert sum(counts[layer] for layer in WEIGHTS) == 6_990_272


def test_weights_of_every_module_follow_the_formula(network: GoogLeNet) -> None:
    counts, c_in = weights_by_layer(network), 192
    for name, w in TABLE_1.items():
        ones = c_in * (w.conv1 + w.reduce3 + w.reduce5 + w.pool)
        assert counts[name] == ones + 9 * w.reduce3 * w.conv3 + 25 * w.reduce5 * w.conv5
        c_in = w.conv1 + w.conv3 + w.conv5 + w.pool
    assert c_in == 1024


def test_multiply_adds_of_every_layer_are_the_papers(trace: Trace) -> None:
    for layer, millions in PRINTED_MILLIONS.items():
        assert trace.multiply_adds[layer] / 1e6 == pytest.approx(millions, abs=0.7), layer
    for layer, millions in CORRECTED_MILLIONS.items():
        assert trace.multiply_adds[layer] / 1e6 == pytest.approx(millions, abs=0.05), layer
    assert sum(trace.multiply_adds[layer] for layer in WEIGHTS) / 1e9 == pytest.approx(1.58, abs=0.005)


def test_output_sizes_of_every_stage_are_the_papers(trace: Trace) -> None:
    stem = [trace.sizes[f"stem.{place}"] for place in range(5)]
    assert stem == [(64, 112, 112), (64, 56, 56), (64, 56, 56), (192, 56, 56), (192, 28, 28)]
    for name, widths in TABLE_1.items():
        side = {"3": 28, "4": 14, "5": 7}[name[0]]
        assert trace.sizes[f"stages.{name}"] == (widths.total, side, side)
    assert {name: widths.total for name, widths in TABLE_1.items()} == {
        "3a": 256,
        "3b": 480,
        "4a": 512,
        "4b": 512,
        "4c": 512,
        "4d": 528,
        "4e": 832,
        "5a": 832,
        "5b": 1024,
    }


def test_auxiliary_heads_pool_4a_and_4d_to_4x4(network: GoogLeNet, trace: Trace) -> None:
    assert list(network.auxiliary) == ["4a", "4d"]
    assert trace.sizes["auxiliary.4a.pool"] == (512, 4, 4)
    assert trace.sizes["auxiliary.4d.pool"] == (528, 4, 4)
    for name in ("4a", "4d"):
        assert trace.sizes[f"auxiliary.{name}.conv"] == (128, 4, 4)
        assert trace.sizes[f"auxiliary.{name}.hidden"] == (1024,)
        assert trace.sizes[f"auxiliary.{name}.classifier"] == (1000,)


def test_relu_follows_every_convolution(network: GoogLeNet, trace: Trace) -> None:
    convolutions = [name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 3 + 9 * 6 + 2
    assert {name.rpartition(".")[0] for name in convolutions} == trace.smallest.keys()
    assert all(smallest == 0 for smallest in trace.smallest.values())


def test_dropout_is_40_percent_before_the_classifier_and_70_in_the_heads(network: GoogLeNet) -> None:
    shares = {name: layer.p for name, layer in network.named_modules() if isinstance(layer, SampleDropout)}
    assert shares == {"dropout": 0.4, "auxiliary.4a.dropout": 0.7, "auxiliary.4d.dropout": 0.7}
    assert GoogLeNet(10, 32, width=0.1, dropout=0.0).dropout.p == 0


def test_the_plain_network_has_no_batch_norm_and_the_other_has_one_behind_every_convolution() -> None:
    plain, normalised = GoogLeNet(10, 32, width=0.1), GoogLeNet(10, 32, width=0.1, batch_norm=True)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in plain.modules())
    blocks = [block for block in normalised.modules() if isinstance(block, ConvReLU)]
    assert len(blocks) == sum(isinstance(layer, nn.Conv2d) for layer in normalised.modules())
    for block in blocks:
        conv, norm, relu = block
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert isinstance(relu, nn.ReLU)
        assert conv.bias is None  # the normalisation's own shift takes its place
        assert norm.num_features == conv.out_channels


def test_local_response_norm_stands_twice_in_the_stem_on_request() -> None:
    with_it, without = GoogLeNet(10, 32, width=0.1, local_response_norm=True), GoogLeNet(10, 32, width=0.1)
    assert sum(isinstance(layer, nn.LocalResponseNorm) for layer in with_it.stem) == 2
    assert not any(isinstance(layer, nn.LocalResponseNorm) for layer in without.modules())
    assert with_it(torch.randn(2, 3, 32, 32))[0].shape == (2, 10)


def test_the_naive_modules_hand_all_their_input_on() -> None:
    with torch.device("meta"):
        network = GoogLeNet(10, 64, naive=True)
    assert {name: block.channels for name, block in network.stages.items()} == NAIVE_CHANNELS
    assert network.classifier.in_features == 4944
    small = GoogLeNet(10, 48, width=0.1, naive=True)
    logits, *auxiliary = small(torch.randn(2, 3, 48, 48))
    assert [tuple(x.shape) for x in (logits, *auxiliary)] == [(2, 10)] * 3


def test_a_wider_network_is_wider_everywhere() -> None:
    with torch.device("meta"):
        plain, wider = GoogLeNet(1000, 224), GoogLeNet(1000, 224, width=1.5)
    widths = [
        [layer.out_channels for layer in network.modules() if isinstance(layer, nn.Conv2d)]
        for network in (plain, wider)
    ]
    assert all(scaled_width(narrow, 1.5) == wide > narrow for narrow, wide in zip(*widths, strict=True))
    assert wider.classifier.in_features == 1536


def test_widths_scale_to_multiples_of_eight_and_never_vanish() -> None:
    assert [scaled_width(64, width) for width in (1.0, 0.25, 0.1, 1.5, 1.3)] == [64, 16, 8, 96, 80]
    assert scaled_width(16, 0.1) == 8
    assert TABLE_1["5b"].scaled(1.0) == TABLE_1["5b"]
    assert TABLE_1["3a"].scaled(0.5) == InceptionWidths(32, 48, 64, 8, 16, 16)


@pytest.mark.parametrize("size", [32, 33, 41, 48, 64, 79, 96, 224, 299])
def test_every_image_size_goes_forward_and_backward(size: int) -> None:
    network = GoogLeNet(7, size, width=0.1)
    outputs = network(torch.randn(2, 3, size, size))
    assert [tuple(x.shape) for x in outputs] == [(2, 7)] * 3
    torch.stack(outputs).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("classes", [2, 10, 104, 1000])
def test_any_number_of_classes_is_what_every_classifier_gives(classes: int) -> None:
    outputs = GoogLeNet(classes, 32, width=0.1)(torch.randn(2, 3, 32, 32))
    assert [tuple(x.shape) for x in outputs] == [(2, classes)] * 3


def test_images_under_32_px_are_refused() -> None:
    with pytest.raises(ValueError, match=r"image_size is 31.*at least 32"):
        GoogLeNet(10, 31)


def test_evaluation_leaves_the_auxiliary_heads_out() -> None:
    network = GoogLeNet(5, 32, width=0.1).eval()
    used: list[nn.Module] = []
    for head in network.auxiliary.values():
        head.register_forward_hook(lambda head, _, __: used.append(head))
    images = torch.randn(2, 3, 32, 32)
    logits = network(images)
    assert isinstance(logits, Tensor)
    assert logits.shape == (2, 5)
    assert not used
    assert torch.equal(logits, network(images))  # no dropout either
    network.train()(images)
    assert len(used) == 2


def powers(network: nn.Module, images: Tensor) -> list[tuple[float, float]]:
    """Behind each convolution of the trunk: mean square, and of that what differs from image to image."""
    found = []

    def hook(_: nn.Module, __: object, output: Tensor) -> None:
        varying = output - output.mean(0, keepdim=True)
        found.append((output.square().mean().item(), varying.square().mean().item()))

    handles = [
        layer.register_forward_hook(hook)
        for name, layer in network.named_modules()
        if isinstance(layer, ConvReLU) and not name.startswith("auxiliary")
    ]
    with torch.no_grad():
        network.eval()(images)
    for handle in handles:
        handle.remove()
    return found


def test_our_initialisation_keeps_the_signal_where_torchs_default_loses_it() -> None:
    torch.manual_seed(1)
    network, images = GoogLeNet(1000, 64, width=0.5), torch.randn(4, 3, 64, 64)
    ours = powers(network, images)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.reset_parameters()
    default = powers(network, images)
    last = slice(-6, None)  # the six convolutions of 5b
    first, end = ours[0][0], sum(power for power, _ in ours[last]) / 6
    assert 1 / 20 < end / first < 20  # a little over one order: max pooling raises it
    assert all(1 / 100 < power / first < 100 for power, _ in ours)
    assert sum(power for power, _ in default[last]) / 6 < default[0][0] / 100
    assert min(varying for _, varying in ours[last]) > 1e-3 * ours[0][1]
    assert max(varying for _, varying in default[last]) < 1e-9 * default[0][1]  # constant logits: nothing to learn from


@pytest.mark.parametrize("classes", [10, 1000])
def test_the_first_loss_of_every_classifier_is_that_of_not_knowing(classes: int) -> None:
    torch.manual_seed(2)
    network = GoogLeNet(classes, 64)
    labels = torch.arange(16) % classes
    for logits in network(torch.randn(16, 3, 64, 64)):
        assert F.cross_entropy(logits, labels).item() == pytest.approx(math.log(classes), rel=0.05)


def test_a_hidden_layer_as_wide_as_there_are_classes_is_no_classifier() -> None:
    torch.manual_seed(3)
    network = GoogLeNet(256, 32, width=0.25)
    head = network.auxiliary["4a"]
    assert isinstance(head, AuxiliaryHead)
    hidden = head.hidden[1]
    assert isinstance(hidden, nn.Linear)
    assert hidden.out_features == 256
    assert hidden.weight.std().item() == pytest.approx(math.sqrt(2 / hidden.in_features), rel=0.05)
    for classifier in (head.classifier, network.classifier):
        assert classifier.weight.std() < hidden.weight.std() / 2


@pytest.mark.slow
def test_biases_start_at_nought() -> None:
    network = GoogLeNet(10, 32, width=0.1)
    biases = [p for name, p in network.named_parameters() if name.endswith("bias")]
    assert len(biases) == sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in network.modules())
    assert not any(bias.any() for bias in biases)
