"""Throughput: operations equal a count by hand, and a matrix product sets the peak."""

from collections.abc import Callable

import pytest
import torch

from codec.architecture import ModelConfig
from codec.training.throughput import crop_flops, matmul_flops, peak_memory_bytes

CPU = torch.device("cpu")


def test_operations_grow_with_the_pixels_and_the_network(tiny_config: Callable[..., ModelConfig]) -> None:
    # 256 px and more: whole windows of attention, so that nothing is padded
    small, large = (crop_flops(tiny_config(), side, CPU) for side in (256, 512))
    assert large == pytest.approx(4 * small, rel=0.02)
    assert crop_flops(tiny_config(transform="paper"), 256, CPU) > crop_flops(tiny_config(), 256, CPU) > 0


def test_one_more_layer_counts_what_it_multiplies(tiny_config: Callable[..., ModelConfig]) -> None:
    block = {"analysis_blocks": 2}
    more = crop_flops(tiny_config(**block), 128, CPU) - crop_flops(tiny_config(), 128, CPU)
    convolution = 2 * 9 * 16 * 16 * (128 // 8) ** 2  # 3x3, 16 to 16 channels, on 8x8 cells
    assert more == 2 * 3 * convolution, "two convolutions, each forward, to its input and to its weights"


def test_a_matrix_product_is_timed() -> None:
    assert 1e8 < matmul_flops(CPU, torch.float32) < 1e15
    assert peak_memory_bytes(CPU) > 5e7
