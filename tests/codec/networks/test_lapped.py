"""The lapped linear path: an invertible filter, and a basis that rebuilds the pictures it was made from."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from codec.architecture import ModelConfig
from codec.networks.lapped import (
    BLOCK,
    CORRECTION_MAX,
    CORRECTION_MAX_SKIP,
    RESIDUAL_MAX,
    KltAnalysis,
    KltSynthesis,
    LappedAnalysis,
    LappedSynthesis,
    lap,
    lapping_matrix,
)

Photo = Callable[..., NDArray[np.uint8]]


def test_lapping_matrix_is_orthogonal_without_scaling_and_invertible_with_it() -> None:
    eye = torch.eye(BLOCK, dtype=torch.float64)
    plain, scaled = lapping_matrix(scale=1.0), lapping_matrix()
    torch.testing.assert_close(plain @ plain.T, eye)
    assert float((plain - eye).abs().max()) > 0.1 and float((scaled - plain).abs().max()) > 0.01
    torch.testing.assert_close(scaled @ torch.linalg.inv(scaled), eye)
    torch.testing.assert_close(torch.linalg.det(scaled).abs(), torch.tensor(1.3, dtype=torch.float64))


def test_lapping_scales_the_step_across_the_border_alone() -> None:
    _, gains, directions = torch.linalg.svd(lapping_matrix())
    expected = torch.ones(BLOCK, dtype=torch.float64)
    expected[0] = 1.3
    torch.testing.assert_close(gains, expected)
    step = directions[0] * directions[0, 0].sign()
    assert bool((step[:8] > 0).all()) and bool((step[8:] < 0).all())


def test_lapping_leaves_a_flat_picture_alone() -> None:
    ones = torch.ones(BLOCK, dtype=torch.float64)
    torch.testing.assert_close(lapping_matrix() @ ones, ones)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 48), (64, 32), (80, 32)])
def test_inverse_lap_undoes_lap(height: int, width: int) -> None:
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    matrix = lapping_matrix()
    lapped = lap(x, matrix)
    torch.testing.assert_close(lap(lapped, torch.linalg.inv(matrix)), x)
    assert torch.equal(lapped[..., :8, :8], x[..., :8, :8]), "corners have no border to be mixed across"
    assert not torch.equal(lapped, x)


def test_lap_mixes_across_each_block_border_only() -> None:
    x = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    x[..., 30, 3] = 1  # of the run of rows 24..40, outside every run of columns
    rows, columns = lap(x, lapping_matrix())[0, 0].abs().gt(1e-12).nonzero().T
    assert set(columns.tolist()) == {3} and set(rows.tolist()) <= set(range(24, 40))
    assert min(rows) < 32 <= max(rows)
    torch.testing.assert_close(lap(x.mT, lapping_matrix()), lap(x, lapping_matrix()).mT)


def test_linear_paths_invert_each_other_with_a_whole_basis(tiny_config: Callable[..., ModelConfig]) -> None:
    """Before training: residual and correction are zero, and an orthonormal basis of all 768 channels loses nothing."""
    config = tiny_config(latent=768)
    analysis, synthesis = KltAnalysis(config).requires_grad_(False), KltSynthesis(config).requires_grad_(False)
    basis = torch.linalg.qr(torch.randn(768, 768))[0].unflatten(1, (3, BLOCK, BLOCK))
    for transform in (analysis, synthesis):
        transform.linear.weight.copy_(basis)
        transform.deviation.copy_(torch.linspace(0.5, 40, 768))
    x, quality = torch.rand(2, 3, 64, 96), torch.tensor([1.0, 6.0])
    y = analysis(x, quality)
    assert y.shape == (2, 768, 4, 6)
    torch.testing.assert_close(synthesis(y, quality), x, atol=1e-4, rtol=0)


@pytest.mark.parametrize("transform", ["klt", "skip"])
def test_what_networks_add_is_limited_and_exact_within(tiny_config: Callable[..., ModelConfig], transform: str) -> None:
    from codec.model import TRANSFORMS

    torch.manual_seed(0)
    g_a, g_s = (layer(tiny_config(transform=transform)) for layer in TRANSFORMS[transform])
    assert isinstance(g_a, LappedAnalysis) and isinstance(g_s, LappedSynthesis)
    x, quality = torch.rand(1, 3, 64, 64), torch.full((1,), 4.0)
    y = g_a.linear_latents(x)
    last_a = g_a.out if transform == "klt" else g_a.network.tail[-1]
    last_s = g_s.out if transform == "klt" else g_s.network.up[-1]
    limit = CORRECTION_MAX if transform == "klt" else CORRECTION_MAX_SKIP
    with torch.no_grad():
        for bias, added_y, added_x in ((0.05, 0.05, 0.05), (1e6, 255 * RESIDUAL_MAX, limit), (-1e6, -4080.0, -limit)):
            last_a.bias.fill_(bias)
            last_s.bias.fill_(bias)
            assert torch.equal(g_a(x, quality), g_a.lapped(x - 0.5) + torch.tensor(added_y))
            picture = g_s.unlapped(y) + torch.tensor(added_x) + 0.5
            torch.testing.assert_close(g_s(y, quality), picture, rtol=0, atol=1e-6)
            assert torch.equal(g_s.linear_picture(y), g_s.unlapped(y) + 0.5)


def test_a_correction_beyond_its_limit_can_be_refined_back(tiny_config: Callable[..., ModelConfig]) -> None:
    torch.manual_seed(0)
    g_s = KltSynthesis(tiny_config(transform="klt"))
    with torch.no_grad():
        g_s.out.weight.normal_(std=0.1)
        g_s.out.bias.fill_(5.0)
    y = torch.randn(1, tiny_config().latent, 4, 4, requires_grad=True)
    picture = g_s(y, torch.full((1,), 4.0)) - g_s.linear_picture(y)
    (down,) = torch.autograd.grad(picture.sum(), y, retain_graph=True)
    (up,) = torch.autograd.grad(-picture.sum(), y)
    assert bool(down.any()) and not bool(up.any())
