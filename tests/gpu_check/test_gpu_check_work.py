"""Bytes and FLOP of a step, by hand."""

import torch
import torch.nn.functional as F

from platform.gpu_check.measures.work import Work, work_of

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
