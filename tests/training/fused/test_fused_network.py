"""What can be computed together is; anything else is refused by name, and leaves the members as they were."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from platform.config.models import BNInceptionConfig, CifarFastConfig, GoogLeNetConfig, InceptionV3Config, NINConfig
from platform.models.build import build, logits_and_auxiliary
from platform.models.dropout import layers, set_keys
from platform.training.fused.network import FusedNetwork
from platform.training.fused.operations import NotFusable
from tests.training.fused.trainings import small

pytestmark = pytest.mark.usefixtures("one_thread")
KEYS = [torch.arange(1, 5) + 100 * member for member in range(2)]


class Calls(nn.Module):
    """A convolution, and a function behind it."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(3, 4, 3), function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(self.conv(images)).mean((2, 3))


def images(size: int = 32, members: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 3, size, size, generator=generator) for _ in range(members)]


def require_same_outputs(modules: list[nn.Module], shown: list[Tensor]) -> None:
    expected = []
    for module, own, keys in zip(modules, shown, KEYS, strict=True):
        alone = copy.deepcopy(module).train()
        set_keys(layers(alone), keys)
        main, auxiliary = logits_and_auxiliary(alone(own))
        expected.append([main, *auxiliary])
    network = FusedNetwork(modules)
    network.begin_step()
    for logits_NMK, of_members in zip(network.outputs(shown, KEYS), zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(logits_NMK, torch.stack(of_members, 1), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize(
    ("model", "size"),
    [
        (GoogLeNetConfig(width=0.1), 32),
        (GoogLeNetConfig(width=0.1, naive=True, batch_norm=True), 32),
        (CifarFastConfig(), 32),
        (NINConfig(), 32),
        pytest.param(BNInceptionConfig(), 32, marks=pytest.mark.slow),
        pytest.param(InceptionV3Config(first_stride=1, first_pool=False), 79, marks=pytest.mark.slow),
    ],
    ids=lambda each: getattr(each, "label", str(each)),
)
def test_networks_of_the_platform(model, size: int, channels_last: bool):
    form = torch.channels_last if channels_last else torch.contiguous_format
    modules = [build(model, 5, size, seed).to(memory_format=form) for seed in range(2)]
    require_same_outputs(modules, [each.contiguous(memory_format=form) for each in images(size)])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.pad(x, (1, 1, 0, 2)),
        lambda x: F.gelu(x) * 2 + x,
        lambda x: torch.cat([x, x * 2], dim=-3),
        lambda x: F.adaptive_avg_pool2d(x, 3),
        lambda x: F.local_response_norm(x, 3),
        lambda x: x * (1 / x.shape[1]) + x.size(1) + x.size()[1],
    ],
)
def test_functions_that_keep_members_apart(function: Callable[[Tensor], Tensor]):
    torch.manual_seed(0)
    require_same_outputs([Calls(function) for _ in range(2)], images())


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (lambda x: x.softmax(1), "softmax"),
        (lambda x: x[:, :2], "__getitem__"),
        (lambda x: torch.cat([x, x], dim=2), "along dimension 2"),
        (lambda x: F.pad(x, (0, 0, 0, 0, 1, 1)), "pad"),
        (lambda x: x - x.mean(), "mean"),
        (lambda x: x.view(len(x), 2, -1, *x.shape[2:]).sum(1), "view"),
        (lambda x: x + x.mean((2, 3)), "add"),
        (lambda x: F.dropout(x, 0.5), "dropout"),
    ],
)
def test_functions_that_may_mix_members_are_refused(function: Callable[[Tensor], Tensor], named: str):
    network = FusedNetwork([Calls(function) for _ in range(2)])
    with pytest.raises(NotFusable, match=named):
        network.outputs(images(), KEYS)


@pytest.mark.parametrize(
    ("modules", "why"),
    [
        (lambda: [small(0), small(1, widths=(4, 8))], "shape"),
        (lambda: [small(0), small(1, batch_norm=False)], "shape"),
        (lambda: [nn.Sequential(nn.Conv2d(3, 4, 3, padding=pad)) for pad in (0, 1)], "padding"),
        (lambda: [nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)) for _ in range(2)], "GroupNorm"),
        (lambda: [nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout2d()) for _ in range(2)], "Dropout2d"),
        (lambda: [nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")) for _ in range(2)], "reflect"),
        (lambda: [nn.Sequential(nn.BatchNorm2d(3, momentum=None)) for _ in range(2)], "plain mean"),
        (lambda: [nn.Sequential(nn.Conv2d(3, 4, 3), each) for each in (nn.Identity(), nn.Dropout(0.5))], "is Identity"),
        (lambda: [nn.Sequential(nn.Conv2d(3, 4, 3), each) for each in (nn.Dropout(0.5), nn.Identity())], "is Dropout"),
        (lambda: [nn.Sequential(nn.Conv2d(3, 4, 3), nn.LeakyReLU(slope)) for slope in (0.1, 0.2)], "0.1.*0.2"),
        (lambda: [nn.Sequential(nn.Conv2d(3, 4, 3), *more) for more in ([], [nn.ReLU()])], "1 is nothing in one"),
    ],
)
def test_members_that_cannot_be_together_stay_as_they_were(modules: Callable[[], list[nn.Module]], why: str):
    made = modules()
    before = [copy.deepcopy(module.state_dict()) for module in made]
    with pytest.raises(NotFusable, match=why):
        FusedNetwork(made)
    for module, state in zip(made, before, strict=True):
        torch.testing.assert_close(module.state_dict(), state, atol=0, rtol=0)
        assert all(each.untyped_storage().nbytes() == each.nbytes for each in module.parameters())


def test_shared_parameters_are_refused():
    made = [nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)) for _ in range(2)]
    for first, second in made:
        second.weight = first.weight
    with pytest.raises(NotFusable, match="share"):
        FusedNetwork(made)


def test_parameters_are_views_until_they_are_released():
    made = [small(seed) for seed in range(3)]
    before = [copy.deepcopy(module.state_dict()) for module in made]
    network = FusedNetwork(made)
    shared = [each.untyped_storage().data_ptr() for each in made[0].parameters()]
    assert shared == [each.untyped_storage().data_ptr() for each in made[2].parameters()]
    network.release()
    for module, state in zip(made, before, strict=True):
        torch.testing.assert_close(module.state_dict(), state, atol=0, rtol=0)
        assert all(each.untyped_storage().nbytes() == each.nbytes for each in module.parameters())


def test_members_keep_their_modes():
    """Those of frozen batch norms are in evaluation mode."""
    made = [small(seed) for seed in range(2)]
    for module in made:
        module.get_submodule("stem").eval()
    FusedNetwork(made)
    modes = [[layer.training for layer in module.modules()] for module in made]
    assert modes[0] == modes[1]
    assert sum(mode is False for mode in modes[0]) == 4  # the stem and its parts


class Counting(TorchDispatchMode):
    """Counts operations, each of which is a kernel or several on a GPU."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **kwargs or {})


def test_a_pass_has_as_many_operations_for_seven_members_as_for_two():
    """What makes small networks slow on a GPU are launches."""

    def operations(members: int) -> int:
        network = FusedNetwork([small(seed) for seed in range(members)])
        network.begin_step()
        shown, keys = images(32, members), [torch.arange(1, 5)] * members
        with Counting() as counting:
            main, auxiliary = network.outputs(shown, keys)
            (main.sum() + auxiliary.sum()).backward()
        return counting.count

    for members in (2, 7):
        operations(members)  # constants of so many go to the device the first time
    assert operations(7) == operations(2) > 50
