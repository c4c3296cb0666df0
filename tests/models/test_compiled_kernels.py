"""What a C++ compiler makes of networks, on a CPU: the same outputs, gradients and masks, by scalar code."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._inductor.utils import run_and_get_code

from platform.checkout import ROOT
from platform.models.compiled import CompiledNetwork, compiling, megabytes
from platform.models.dropout import SampleDropout, set_keys
from platform.models.googlenet import ConvReLU, Inception, InceptionWidths
from tests.models.test_compiled import batch, learned, small

pytestmark = [pytest.mark.long, pytest.mark.timeout(3000)]


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Made by the C++ compiler. The folder that they are kept in."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    yield tmp_path
    torch._dynamo.reset()


def test_kernels_of_a_c_compiler_learn_the_same(kernels: Path) -> None:
    plain, network = small(), small()
    run = CompiledNetwork(network, "default")
    for images in (6, 6):
        with compiling("default"):
            found = learned(run, network, *batch(images))
        torch.testing.assert_close(found, learned(plain, plain, *batch(images)), rtol=1e-4, atol=1e-5)
    assert megabytes(kernels) > 0.1


@pytest.mark.parametrize("features", [8, 104])
@pytest.mark.usefixtures("kernels")
def test_kernels_of_a_c_compiler_drop_the_same_features(features: int) -> None:
    """Of 104 features, no multiple of a vector of 16, and of 4 samples: such a kernel once damaged the heap, as it
    multiplied a loop's counter by a constant of 19 digits, whose overflow C++ leaves undefined."""
    layer, x = SampleDropout(0.7, 0).train(), torch.randn(4, features)
    set_keys([layer], batch(4)[1])
    outputs, (code, *_) = run_and_get_code(CompiledNetwork(layer, "default"), x)
    assert torch.equal(outputs, layer(x))
    assert not re.search(r"\d{19}L?\)?\*x\d", code)


@pytest.mark.usefixtures("kernels")
def test_kernels_of_a_c_compiler_are_scalar() -> None:
    """A pooling of 8 channels: vectors of 16 were read past its end."""
    pool, x = nn.MaxPool2d(3, stride=2, ceil_mode=True), torch.randn(2, 8, 6, 6).to(memory_format=torch.channels_last)
    outputs, (code, *_) = run_and_get_code(CompiledNetwork(pool, "default"), x)
    assert torch.equal(outputs, pool(x))
    assert "out_ptr0[" in code
    assert "Vectorized" not in code


@pytest.mark.usefixtures("kernels")
def test_average_pooling_out_of_a_map_has_the_same_gradient() -> None:
    """Its last windows hold two columns of three, as network in network's do."""
    pool = nn.AvgPool2d(3, stride=2, ceil_mode=True)
    x = torch.randn(2, 8, 6, 6).to(memory_format=torch.channels_last)
    found, expected = (gradient(run, x) for run in (CompiledNetwork(pool, "default"), pool))
    torch.testing.assert_close(found, expected)


def gradient(run: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(run(x).square().sum(), x)[0]


@pytest.mark.usefixtures("kernels")
def test_a_narrow_inception_module_of_a_c_compilers_kernels_learns_the_same() -> None:
    """Pooling past a map's end, concatenation and batch norm, of widths that are no multiples of 16."""
    plain, network = inception(), inception()
    run = CompiledNetwork(network, "default")
    for _ in range(2):
        found, expected = learned(run, network, *batch(4)), learned(plain, plain, *batch(4))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def inception() -> nn.Module:
    torch.manual_seed(0)
    stem = [ConvReLU(3, 8, 7, 2, batch_norm=True), nn.MaxPool2d(3, stride=2, ceil_mode=True)]
    module = Inception(8, InceptionWidths(8, 8, 16, 8, 8, 8), batch_norm=True)
    return nn.Sequential(*stem, module, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(module.channels, 5))


def test_a_wrong_kernel_that_was_kept_is_not_taken(tmp_path: Path) -> None:
    """Plain PyTorch keeps the kernel of the gradient of average pooling, in a process of its own as options stay."""
    program = """
import torch
from torch import nn
from platform.models.compiled import CompiledNetwork

torch._inductor.config.cpp.simdlen = 1
pool, x = nn.AvgPool2d(3, stride=2, ceil_mode=True), torch.randn(2, 8, 6, 6).to(memory_format=torch.channels_last)

def gradient(run):
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(run(leaf).square().sum(), leaf)[0]

plain = gradient(torch.compile(pool, dynamic=False))
torch._dynamo.reset()
torch.testing.assert_close(gradient(CompiledNetwork(pool, "default")), gradient(pool))
print("differ" if not torch.allclose(plain, gradient(pool)) else "PyTorch's kernel is right: no fallback is needed")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "differ"), done.stderr
