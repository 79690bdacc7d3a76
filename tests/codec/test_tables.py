"""Integer probability rows against the formula in floating point, and what the grid costs.

The golden hashes are the file format: a change of them makes every file written so far unreadable. To renew them on
purpose, raise `codec.bitstream.VERSION`, run this file, and paste the hashes that the failures show.
"""

import hashlib
import math

import numpy as np
import pytest
import torch

from codec.entropy import LOG2_SCALE_MAX, LOG2_SCALE_MIN, SCALE_MAX, SCALE_MIN, StepMixture
from codec.tables import (
    MEAN_MAX,
    MEAN_STEPS,
    REACHES,
    ROW_BITS,
    SCALE_STEPS,
    WEIGHT_STEPS,
    GridMixture,
    _normal_table,
    on_grid,
    positions,
    rows,
    support,
)

LEVELS = round((LOG2_SCALE_MAX - LOG2_SCALE_MIN) * SCALE_STEPS)  # the largest index of a scale
NORMAL_TABLE_SHA256 = "43789a371801b8607f823098fc34c0a5f88427bfe0b776b2a06607775a81c0ea"
ROWS_SHA256 = "e3bc8fa57180e9744ccfa315691dcc2e1be175c970594647d112ea7e554e31ba"


def random_grid(count: int, seed: int = 0, mixtures: int = 3) -> GridMixture:
    """Every weight, scale and means of all sizes, without a float: the golden hash needs the same on every machine."""
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.integers(0, WEIGHT_STEPS + 1, (count, mixtures - 1)), 1)
    weights = np.diff(cuts, prepend=0, append=WEIGHT_STEPS)
    means = rng.integers(-64, 65, (count, mixtures)) << rng.integers(0, 8, (count, 1))
    return GridMixture(weights, means, rng.integers(0, LEVELS + 1, (count, mixtures)))


def rounded(mixture: StepMixture) -> GridMixture:
    return on_grid(positions(mixture))


def float_scales(grid: GridMixture) -> np.ndarray:
    return 2.0 ** (LOG2_SCALE_MIN + grid.scales / SCALE_STEPS)


def mixture_cdf(grid: GridMixture, edges: np.ndarray) -> np.ndarray:
    """F at edges (N, E), in float64."""
    t = (edges[:, None] - grid.means[..., None] / MEAN_STEPS) / float_scales(grid)[..., None]  # (N, k, E)
    phi = 0.5 * torch.erfc(torch.from_numpy(-t / math.sqrt(2))).numpy()
    return (grid.weights[..., None] / WEIGHT_STEPS * phi).sum(1)


@pytest.mark.parametrize("reach", REACHES)
@pytest.mark.parametrize("mixtures", [1, 3])
def test_rows_follow_the_formula(reach: int, mixtures: int) -> None:
    grid = random_grid(150 if reach < 200 else 20, seed=reach, mixtures=mixtures)
    centre = support(grid).centre
    table = rows(grid, centre, reach)
    assert table.shape == (len(centre), 2 * reach + 2) and table.dtype == np.float32
    exact = table.astype(np.int64)
    assert np.array_equal(exact, table), "a frequency is no integer"
    assert exact.min() >= 1
    assert (exact.sum(1) == 2**ROW_BITS + table.shape[1]).all()
    cdf = mixture_cdf(grid, centre[:, None] + np.arange(-reach, reach + 2) - 0.5)
    inside = np.diff(cdf)
    assert np.abs((exact[:, :-1] - 1) / 2**ROW_BITS - inside).max() < 1e-5
    # the reciprocal of a large scale is off by up to half a unit, which stretches t; |t phi(t)| < 1/4 at both edges
    stretch = (grid.weights / WEIGHT_STEPS * 0.5 * float_scales(grid) * MEAN_STEPS / 2**24).sum(1)
    assert (np.abs((exact[:, -1] - 1) / 2**ROW_BITS - (1 - cdf[:, -1] + cdf[:, 0])) < 1e-5 + stretch / 2).all()


def test_rows_do_not_depend_on_their_neighbours() -> None:
    grid = random_grid(2000)  # more than one chunk
    centre = support(grid).centre
    table = rows(grid, centre, 32)
    picked = np.array([0, 321, 322, 999, 1999])
    alone = [rows(GridMixture(*(g[i : i + 1] for g in grid)), centre[i : i + 1], 32)[0] for i in picked]
    assert np.array_equal(table[picked], np.stack(alone))


@pytest.mark.parametrize("mean", [-MEAN_MAX, -1, 0, 31, 32, MEAN_MAX])
@pytest.mark.parametrize("scale", [0, 36, LEVELS])
@pytest.mark.parametrize("reach", [1, 1024])
def test_rows_hold_at_every_extreme(mean: int, scale: int, reach: int) -> None:
    grid = GridMixture(np.array([[64, 0]]), np.array([[mean, -mean]]), np.array([[scale, scale]]))
    for centre in (mean // MEAN_STEPS, 0, -(2**30), 2**30):
        table = rows(grid, np.array([centre]), reach).astype(np.int64)
        assert table.min() >= 1 and table.sum() == 2**ROW_BITS + table.shape[1]
        cdf = mixture_cdf(grid, centre + np.arange(-reach, reach + 2)[None] - 0.5)
        assert np.abs((table[:, :-1] - 1) / 2**ROW_BITS - np.diff(cdf)).max() < 1e-5


def test_normal_table_is_the_normal_distribution() -> None:
    table = _normal_table()
    t = torch.arange(-8 * 256, 8 * 256 + 1, dtype=torch.float64) / 256
    expected = (torch.special.ndtr(t) * 2**24).numpy()
    assert len(table) == len(expected) and np.abs(table - expected).max() < 0.501
    assert (np.diff(table) >= 0).all() and np.array_equal(table + table[::-1], np.full(len(table), 2**24))


def test_golden_normal_table() -> None:
    assert hashlib.sha256(_normal_table().astype("<i4").tobytes()).hexdigest() == NORMAL_TABLE_SHA256


def test_golden_rows() -> None:
    count = 256
    index = np.arange(count)
    weights = np.stack([index % 65, (64 - index % 65) // 2, 64 - index % 65 - (64 - index % 65) // 2], 1)
    means = np.stack([index * 7 - 900, 300 - index, index * index % 1000], 1)
    scales = np.stack([index % 129, index * 5 % 129, index * 11 % 129], 1)
    grid = GridMixture(weights, means, scales)
    window = support(grid)
    digest = hashlib.sha256(np.stack(window).astype("<i8").tobytes())
    for reach in (1, 16, 256):
        digest.update(rows(grid, window.centre, reach).astype("<f4").tobytes())
    assert digest.hexdigest() == ROWS_SHA256


def test_support_is_centred_and_leaves_little_to_the_escape() -> None:
    grid = random_grid(3000)
    centre, reach = support(grid)
    mean = (grid.weights * grid.means).sum(1) / (WEIGHT_STEPS * MEAN_STEPS)
    assert np.array_equal(centre, np.floor(mean + 0.5))
    assert set(reach) <= set(REACHES)
    edges = np.stack([centre - reach - 0.5, centre + reach + 0.5], 1)
    cdf = mixture_cdf(grid, edges)
    outside = 1 - cdf[:, 1] + cdf[:, 0]
    assert outside[reach < REACHES[-1]].max() < 2e-4
    # and no wider than that needs: the next smaller row would cut a component short of four deviations
    used = np.where(grid.weights > 0, np.abs(grid.means / MEAN_STEPS - centre[:, None]) + 4 * float_scales(grid), 0)
    smaller = np.array([0, *REACHES])[np.searchsorted(REACHES, reach)]
    assert (used.max(1) + 2 > smaller).all()


def test_support_ignores_components_without_weight() -> None:
    grid = GridMixture(np.array([[64, 0]]), np.array([[10 * MEAN_STEPS, 4096]]), np.array([[0, LEVELS]]))
    assert [int(v[0]) for v in support(grid)] == [10, 1]


def test_on_grid_rounds_every_parameter() -> None:
    weights = torch.rand(2, 5, 3, 4).softmax(-2)
    means, scales = torch.randn(2, 5, 3, 4) * 50, (torch.randn(2, 5, 3, 4) * 2).exp()
    grid = rounded(StepMixture(weights, means, scales))
    assert all(g.shape == (40, 3) and g.dtype == np.int64 for g in grid)
    assert (grid.weights.sum(1) == WEIGHT_STEPS).all() and grid.weights.min() >= 0

    def flat(x: torch.Tensor) -> np.ndarray:  # symbols in the order (..., p)
        return np.array(
            [[float(x[a, b, k, p]) for k in range(3)] for a in range(2) for b in range(5) for p in range(4)]
        )

    assert np.abs(grid.weights / WEIGHT_STEPS - flat(weights)).max() <= 1 / WEIGHT_STEPS
    assert np.abs(grid.means / MEAN_STEPS - flat(means)).max() <= 0.5 / MEAN_STEPS + 1e-6
    assert (
        np.abs(np.log2(float_scales(grid)) - np.log2(flat(scales).clip(SCALE_MIN, SCALE_MAX))).max()
        <= 0.5 / SCALE_STEPS + 1e-6
    )


@pytest.mark.parametrize("total", [0.97, 1.02])
def test_on_grid_weights_sum_to_their_steps_whatever_the_floats_sum_to(total: float) -> None:
    weights = torch.rand(50, 3, 2).softmax(-2) * total
    grid = rounded(StepMixture(weights, torch.zeros(50, 3, 2), torch.ones(50, 3, 2)))
    assert (grid.weights.sum(1) == WEIGHT_STEPS).all()


def test_on_grid_clamps_extremes() -> None:
    means = torch.tensor([[-1e30, 1e30, -262144.5, 262144.0]])
    scales = torch.tensor([[1e-30, 1e30, 0.044194173, 2896.3093]])
    grid = rounded(StepMixture(torch.ones(1, 4), means, scales))
    assert grid.means.flatten().tolist() == [-MEAN_MAX, MEAN_MAX, -MEAN_MAX, MEAN_MAX]
    assert grid.scales.flatten().tolist() == [0, LEVELS, 0, LEVELS]


def test_a_shift_moves_every_boundary_and_nothing_else() -> None:
    shift = 2.0**-11
    at = positions(StepMixture(torch.rand(500, 3, 4).softmax(-2), torch.randn(500, 3, 4), torch.rand(500, 3, 4) + 0.1))
    plain, moved = on_grid(at), on_grid(at, shift)
    assert all(np.array_equal(a, b) for a, b in zip(on_grid(at, 0.0), plain, strict=True))
    for index, real in ((moved.weights.cumsum(1), at.weights), (moved.means, at.means), (moved.scales, at.scales)):
        assert np.array_equal(index, np.rint(real + shift))
    assert (moved.weights.sum(1) == WEIGHT_STEPS).all() and not np.array_equal(moved.means, plain.means)
    extreme = positions(StepMixture(torch.ones(1, 1, 2), torch.tensor([[-1e30, 1e30]]), torch.tensor([[1e-30, 1e30]])))
    assert all(np.array_equal(a, b) for a, b in zip(on_grid(extreme, shift), on_grid(extreme), strict=True))


@pytest.mark.parametrize("mixtures", [1, 3])
def test_the_grid_costs_less_than_three_thousandths(mixtures: int) -> None:
    count, reach = 600, 256
    weights = torch.randn(count, mixtures, 1).softmax(1).double()
    means = torch.randn(count, mixtures, 1).double() * 2
    scales = (torch.rand(count, mixtures, 1).double() * math.log(200)).exp() * 0.1  # log-uniform over 0.1..20
    grid = rounded(StepMixture(weights, means, scales))
    centre, reaches = support(grid)
    edges = torch.arange(-reach, reach + 2)[None, None] - 0.5 + torch.from_numpy(centre)[:, None, None]
    p = (weights * torch.special.ndtr((edges - means) / scales)).sum(1).diff().numpy()  # (N, 2 * reach + 1)
    entropy = -(p * np.log2(np.maximum(p, 1e-300))).sum()
    bits = 0.0
    for at in range(count):
        own = int(reaches[at])
        row = rows(GridMixture(*(g[at : at + 1] for g in grid)), centre[at : at + 1], own)[0].astype(np.float64)
        cost = -np.log2(row / row.sum())
        inner = slice(reach - own, reach + own + 1)
        bits += (p[at, inner] * cost[:-1]).sum()
        distance = np.abs(np.arange(-reach, reach + 1))
        number = 5 + np.floor(np.log2(2 * distance + 1))  # the length in 5 bits, then so many
        outside = p[at] * (distance > own)
        bits += (outside * (cost[-1] + number)).sum()
    assert 0 <= bits / entropy - 1 < 0.003
