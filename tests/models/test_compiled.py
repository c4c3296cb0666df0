"""A compiled network is the network: outputs, gradients, masks of dropout, names; and compiled once for all of a kind.

PyTorch traces and differentiates the networks here as it always does, and runs the operators one by one instead of
kernels made by a C++ compiler: those are in test_compiled_kernels.py.
"""

import copy
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.backends.registry import set_default_backend

from platform.config.checks import ConfigError
from platform.models import compiled
from platform.models.compiled import (
    CompiledNetwork,
    cache_folder,
    compiled_graphs,
    compiling,
    megabytes,
    require_compiler,
)
from platform.models.dropout import by_sample, layers, set_keys


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    set_default_backend("aot_eager")
    yield
    set_default_backend("inductor")
    torch._dynamo.reset()


class Small(nn.Module):
    """With what is peculiar to training: batch norm, dropout by samples, an auxiliary head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8)
        self.dropout, self.head, self.auxiliary = nn.Dropout(0.4), nn.Linear(8, 5), nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Any:
        x = torch.relu(self.norm(self.conv(images))).mean((2, 3))
        return (self.head(self.dropout(x)), self.auxiliary(x)) if self.training else self.head(x)


def small() -> Small:
    torch.manual_seed(0)
    network = Small()
    by_sample(network)
    return network


def batch(images: int, size: int = 32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(images)
    pixels = torch.randn(images, 3, size, size, generator=generator).to(memory_format=torch.channels_last)
    return pixels, torch.randint(0, 2**53, (images,), generator=generator)


def learned(run: nn.Module, network: nn.Module, images: Tensor, keys_N: Tensor) -> dict[str, Tensor]:
    """Outputs, gradients and statistics after a step's forward and backward pass."""
    set_keys(layers(run), keys_N)
    outputs = run(images)
    torch.stack([each.float().square().sum() for each in outputs if each is not None]).sum().backward()
    set_keys(layers(run), None)
    found = {
        f"gradient of {name}": each.grad.clone() for name, each in network.named_parameters() if each.grad is not None
    }
    network.zero_grad()
    found |= {f"output {number}": each.detach() for number, each in enumerate(outputs) if each is not None}
    return found | {name: each.clone() for name, each in network.named_buffers()}


@pytest.mark.usefixtures("traced")
def test_it_learns_what_the_network_learns() -> None:
    plain, network = small(), small()
    run = CompiledNetwork(network, "default")
    for images in (6, 6, 4):
        torch.testing.assert_close(learned(run, network, *batch(images)), learned(plain, plain, *batch(images)))
    assert network.state_dict().keys() == plain.state_dict().keys()
    assert layers(run) == layers(network)


@pytest.mark.usefixtures("traced")
def test_networks_of_one_architecture_are_compiled_once_for_a_shape() -> None:
    first, second, graphs = small(), small(), compiled_graphs()
    for network, images, more in ((first, 6, 1), (first, 6, 1), (second, 6, 1), (second, 4, 2), (first, 4, 2)):
        learned(CompiledNetwork(network, "default"), network, *batch(images))
        assert compiled_graphs() - graphs == more
    learned(CompiledNetwork(first, "default"), first, *batch(6, size=40))
    assert compiled_graphs() - graphs == 3


@pytest.mark.usefixtures("traced")
def test_copies_that_are_evaluated_compile_once_and_short_batches_never() -> None:
    network, graphs = small(), compiled_graphs()
    for _ in range(2):
        evaluated = copy.deepcopy(network).eval()
        run = CompiledNetwork(evaluated, "default", one_shape=True)
        with torch.inference_mode():
            for images in (6, 6, 1):
                torch.testing.assert_close(run(batch(images)[0]), evaluated(batch(images)[0]))
    assert compiled_graphs() - graphs == 1


@pytest.mark.usefixtures("traced")
def test_frozen_layers_and_modes_are_seen_after_compiling() -> None:
    """`train()` and `eval()` of the network itself, which the wrapper is not told of."""
    plain, network = small(), small()
    run = CompiledNetwork(network, "default")
    learned(run, network, *batch(6))
    learned(plain, plain, *batch(6))
    for each in (plain, network):
        each.norm.eval()
        each.conv.requires_grad_(False)
    found, expected = learned(run, network, *batch(6)), learned(plain, plain, *batch(6))
    assert "gradient of conv.weight" not in found
    torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("traced")
def test_what_cannot_be_compiled_is_one_line() -> None:
    def no_backend(graph: Any, inputs: Any) -> Any:
        raise NotImplementedError("no kernel for this\nand more lines")

    set_default_backend(no_backend)
    with (
        pytest.raises(ConfigError, match=r"training.compile is default, .* set\s+training.compile=off") as raised,
        compiling("default"),
    ):
        CompiledNetwork(small(), "default")(batch(2)[0])
    assert "no kernel for this" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("traced")
def test_errors_of_the_network_stay_what_they_are() -> None:
    with pytest.raises(torch.OutOfMemoryError), compiling("default"):
        raise torch.OutOfMemoryError("no room")


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CC", raising=False)
    require_compiler("off", on_gpu=False)
    with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler, and g\+\+ is not there; install one"):
        require_compiler("default", on_gpu=False)
    for variable, on_gpu in (("CXX", False), ("CC", True)):
        own = tmp_path / "own"
        monkeypatch.setenv(variable, str(own))
        monkeypatch.setattr(compiled, "find_spec", lambda name: object())
        with pytest.raises(ConfigError, match=f"{own} is not there"):
            require_compiler("default", on_gpu=on_gpu)
        own.write_text("#!/bin/sh\n")
        own.chmod(0o755)
        require_compiler("default", on_gpu=on_gpu)
        own.unlink()
    monkeypatch.setattr(compiled, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs Triton"):
        require_compiler("default", on_gpu=True)


def test_the_cache_is_one_folder_that_only_this_user_writes_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = cache_folder()
    assert folder == cache_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "kernel").write_bytes(b"x" * 500_000)
    assert megabytes(folder) == pytest.approx(0.5)
    folder.chmod(0o777)
    with caplog.at_level(logging.WARNING):
        own = cache_folder()
    assert own != folder
    assert own.stat().st_mode & 0o777 == 0o700
    assert f"{folder} is not this user's alone" in caplog.text


def test_a_link_in_place_of_the_cache_is_not_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    folder = tmp_path / f"compiled-networks-{os.getuid()}"
    folder.symlink_to(elsewhere)
    assert cache_folder() not in (folder, elsewhere)
