"""Bytes and FLOP of a step: by hand, and of networks of which they are known."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from platform.config.models import GoogLeNetConfig
from platform.gpu_check.measures.work import Work, work_of
from platform.models.build import logits_and_auxiliary
from platform.models.googlenet import build

FLOAT = 4  # bytes


def test_a_product_reads_both_and_writes_one_and_a_relu_is_joined_to_it() -> None:
    left, right = torch.randn(8, 16), torch.randn(16, 4)
    work = work_of(lambda: (left @ right).relu())
    product = FLOAT * (8 * 16 + 16 * 4 + 8 * 4)
    assert work.joined_bytes == product
    assert work.bytes_moved == product + FLOAT * 2 * 8 * 4
    assert work.flop == 2 * 8 * 16 * 4


def test_views_move_nothing_and_expanded_tensors_only_what_they_hold() -> None:
    images = torch.randn(2, 3, 4)
    assert work_of(lambda: images.permute(1, 0, 2).flatten()).bytes_moved > 0  # a copy
    assert work_of(lambda: images.permute(1, 0, 2)[:, :1]).bytes_moved == 0
    row = torch.ones(1, 8)
    assert work_of(lambda: row.expand(100, 8).sum()).bytes_moved == FLOAT * (8 + 1)


def test_in_place_operators_write_what_they_read() -> None:
    weights, gradient = torch.zeros(10), torch.ones(10)
    assert work_of(lambda: weights.add_(gradient)).bytes_moved == FLOAT * 3 * 10


def test_a_backward_pass_counts() -> None:
    images, kernel = torch.randn(2, 3, 8, 8), torch.randn(4, 3, 3, 3, requires_grad=True)
    forward = 2 * 2 * 4 * 6 * 6 * 3 * 3 * 3
    assert work_of(lambda: F.conv2d(images, kernel)).flop == forward
    assert work_of(lambda: F.conv2d(images, kernel).sum().backward()).flop == 2 * forward  # of the kernel alone


def test_a_step_takes_as_long_as_the_longer_of_its_bytes_and_its_flop() -> None:
    work = Work(bytes_moved=100, joined_bytes=50, flop=1000)
    assert work.seconds(10, 1000, joined=False) == 10
    assert work.seconds(10, 1000, joined=True) == 5
    assert work.seconds(10, 10, joined=True) == 100


def training_step(network: nn.Module, images: int, size: int = 224) -> Callable[[], object]:
    """In bfloat16, on the meta device: nothing is computed."""
    given = torch.empty(images, 3, size, size, device="meta", dtype=torch.bfloat16)
    labels = torch.empty(images, device="meta", dtype=torch.int64)
    network = network.to("meta").bfloat16().train()

    def step() -> None:
        main, auxiliary = logits_and_auxiliary(network(given.to(memory_format=torch.channels_last)))
        sum(F.cross_entropy(each.float(), labels) for each in [main, *auxiliary]).backward()  # pyright: ignore[reportAttributeAccessIssue]

    return step


def test_of_a_known_network_it_is_what_is_known() -> None:
    """torchvision's GoogLeNet at 224 px. Forward 2 x 1.5 G multiply-adds, as torchvision and the paper say, and twice
    that backward but for the gradient of the images make 8.8 GFLOP. 204 MB an image kernel by kernel, and 140 with
    batch norm and ReLU in one, are an estimate for an H100 by hand, with more passes of some kernels in it."""
    images = 256
    network = torchvision.models.googlenet(weights=None, aux_logits=False, init_weights=False)
    work = work_of(training_step(network, images))
    assert work.flop / images / 1e9 == pytest.approx(8.8, rel=0.01)
    assert work.bytes_moved / images / 1e6 == pytest.approx(204, rel=0.05)
    assert work.joined_bytes / images / 1e6 == pytest.approx(140, rel=0.1)


def test_of_the_paper_s_network_flop_follow_from_its_table() -> None:
    """6,990,272 weights, 1.58 G multiply-adds forward (Table 1, by the formula); backward each product twice, but the
    images of the first convolution get no gradient."""
    images, multiply_adds, first = 2, 1.584e9, 112 * 112 * 7 * 7 * 3 * 64
    network = build(GoogLeNetConfig(auxiliary="none"), 1000, 224)
    flop = work_of(training_step(network, images)).flop / images
    assert flop == pytest.approx(2 * (3 * multiply_adds - first), rel=0.002)


def test_what_takes_two_passes_counts_twice() -> None:
    images, weights = torch.randn(2, 3, 8, 8), torch.ones(3)
    statistics = FLOAT * 4 * 3 + FLOAT * 2 * 3  # scale, shift, running statistics; what the backward pass needs
    size = FLOAT * 2 * 3 * 8 * 8

    def normalise(training: bool) -> int:
        return work_of(
            lambda: F.batch_norm(images, torch.zeros(3), torch.ones(3), weights, torch.zeros(3), training)
        ).joined_bytes

    assert normalise(training=True) == pytest.approx(3 * size + statistics, abs=FLOAT * 12)
    assert normalise(training=False) == pytest.approx(2 * size + statistics, abs=FLOAT * 12)


def test_a_compiled_pooling_keeps_a_byte_for_each_place() -> None:
    images = torch.randn(2, 3, 8, 8)
    work = work_of(lambda: F.max_pool2d(images, 2, return_indices=True))
    given, made = 2 * 3 * 8 * 8, 2 * 3 * 4 * 4
    assert work.bytes_moved == FLOAT * (given + made) + 8 * made
    assert work.joined_bytes == FLOAT * (given + made) + made
