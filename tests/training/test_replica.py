"""Replicas over gloo: gradients are the mean, where they are exchanged in place, compressed or compiled."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._dynamo.backends.registry import set_default_backend
from torch.multiprocessing.spawn import start_processes
from torch.nn.parallel import DistributedDataParallel

from platform.config.checks import ConfigError
from platform.config.training import TrainingConfig
from platform.models.compiled import CompiledNetwork
from platform.training import arithmetic
from platform.training.arithmetic import set_arithmetic
from platform.training.replica import as_run
from platform.training.worker import Worker

WORLD = 2
CUDNN: Any = torch.backends.cudnn  # of which PyTorch's stubs lack half


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 6 * 6, 5))


def images(rank: int, part: int) -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(10 * rank + part))


def gradients(model: nn.Module, run: nn.Module, rank: int) -> list[Tensor]:
    """Of two micro-batches, the first without an exchange."""
    model.zero_grad(set_to_none=True)
    with run.no_sync() if isinstance(run, DistributedDataParallel) else torch.enable_grad():
        run(images(rank, 0)).square().mean().backward()
    run(images(rank, 1)).square().mean().backward()
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/cache{rank}"
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORLD)
    set_default_backend("aot_eager")
    left, worker = {}, Worker(rank, WORLD)
    plain = network()
    left["plain"] = gradients(plain, DistributedDataParallel(plain), rank)
    for name, training in {
        "in place": TrainingConfig(),
        "compiled": TrainingConfig(compile="default"),
        "compressed": TrainingConfig(gradient_compression="bfloat16"),
    }.items():
        model = network()
        run = as_run(model, training, worker)
        left[name] = [gradients(model, run, rank) for _ in range(2)][1]  # buckets are made anew after the first
    torch.save(left, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[Tensor]]]:
    folder = tmp_path_factory.mktemp("replicas")
    start_processes(_worker, (str(folder),), nprocs=WORLD, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


def test_gradients_exchanged_in_place_are_the_same_to_the_last_bit(replicas: Any) -> None:
    for left in replicas:
        torch.testing.assert_close(left["in place"], left["plain"], rtol=0, atol=0)
    own = [gradients(model := network(), model, rank) for rank in range(WORLD)]
    mean = [(first + second) / WORLD for first, second in zip(*own, strict=True)]
    torch.testing.assert_close(replicas[0]["in place"], mean)


def test_a_compiled_replica_has_the_same_gradients(replicas: Any) -> None:
    for left in replicas:
        torch.testing.assert_close(left["compiled"], left["plain"])


def test_compressed_gradients_are_rounded_and_the_same_everywhere(replicas: Any) -> None:
    first, second = (left["compressed"] for left in replicas)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(first, replicas[0]["plain"], rtol=2**-6, atol=1e-3)
    assert all(torch.equal(each, each.bfloat16().float()) for each in first)
    assert not all(torch.equal(each, exact) for each, exact in zip(first, replicas[0]["plain"], strict=True))


def test_what_is_tested_on_a_gpu_alone_is_refused_on_a_cpu() -> None:
    assert isinstance(as_run(network(), TrainingConfig(compile="default"), Worker()), CompiledNetwork)
    with pytest.raises(ConfigError, match=r"max-autotune-.* trains on cpu, .*; set\s+training.compile=default"):
        as_run(network(), TrainingConfig(compile="max-autotune-no-cudagraphs"), Worker())


def test_graphs_without_a_gpu_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"reduce-overhead, .* trains on cpu .* set\s+training.compile=default"):
        as_run(network(), TrainingConfig(compile="reduce-overhead"), Worker())


@pytest.fixture
def arithmetic_as_before() -> Iterator[None]:
    matmul, cudnn = torch.backends.cuda.matmul, CUDNN
    before = matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.benchmark
    yield
    matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.benchmark = before


@pytest.mark.usefixtures("arithmetic_as_before")
@pytest.mark.parametrize(
    ("tf32", "matmul", "convolution"),
    [("convolutions", "ieee", "tf32"), ("all", "tf32", "tf32"), ("off", "ieee", "ieee")],
)
def test_a_gpu_rounds_what_is_said(tf32: str, matmul: str, convolution: str, caplog: pytest.LogCaptureFixture) -> None:
    """The settings are PyTorch's own, which it has without a GPU, too."""
    with caplog.at_level("INFO"):
        set_arithmetic(TrainingConfig(tf32=tf32, autotune=tf32 == "all"), torch.device("cuda"))
    assert torch.backends.cuda.matmul.fp32_precision == matmul
    assert CUDNN.conv.fp32_precision == convolution
    assert CUDNN.benchmark == (tf32 == "all")
    assert arithmetic.SAID[tf32] in caplog.text


def test_a_cpu_has_nothing_to_set(arithmetic_as_before: None) -> None:
    before = torch.backends.cuda.matmul.fp32_precision
    set_arithmetic(TrainingConfig(tf32="all"), torch.device("cpu"))
    assert torch.backends.cuda.matmul.fp32_precision == before
