"""Integer probabilities against the formula in floating point, and what the grid costs.

The golden hashes are the file format: a change of them makes every file written so far unreadable. To renew them on
purpose, raise `codec.bitstream.container.VERSION`, run this file, and paste the hashes that the failures show.
"""

import hashlib
import math

import numpy as np
import pytest
import torch

from codec.bitstream.probability_tables import (
    MASS,
    MEAN_MAX,
    MEAN_STEPS,
    SCALE_STEPS,
    WEIGHT_STEPS,
    GridMixture,
    _normal_table,
    cdf,
    on_grid,
    positions,
    sign_tables,
)
from codec.networks.likelihoods import LOG2_SCALE_MAX, LOG2_SCALE_MIN, StepMixture

LEVELS = round((LOG2_SCALE_MAX - LOG2_SCALE_MIN) * SCALE_STEPS)  # the largest index of a scale
NORMAL_TABLE_SHA256 = "43789a371801b8607f823098fc34c0a5f88427bfe0b776b2a06607775a81c0ea"
MASSES_SHA256 = "d32a81788d5d3d6cdb6e7fae4635bd5892a1586c9167f3a84d22ed2cb53f092a"


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


def worst(grid: GridMixture) -> np.ndarray:
    """What F may be off by, (N, 1): t is rounded to 2^-12, and the reciprocal of a large scale by up to half a unit,
    which stretches t; |t phi(t)| < 1/4."""
    stretch = (grid.weights / WEIGHT_STEPS * 0.5 * float_scales(grid) * MEAN_STEPS / 2**24).sum(1, keepdims=True)
    return 0.4 / 2**13 + 1e-5 + stretch / 4


@pytest.mark.parametrize("mixtures", [1, 3])
def test_the_mass_below_follows_the_formula(mixtures: int) -> None:
    grid = random_grid(300, seed=mixtures, mixtures=mixtures)
    centre = sign_tables(grid)[0]
    integers = centre[:, None] + np.unique(np.rint(np.sinh(np.linspace(-12, 12, 101))).astype(np.int64))
    mass = cdf(grid, integers.T).T
    assert (np.diff(mass) >= 0).all() and mass.min() >= 0 and mass.max() <= MASS
    assert (np.abs(mass / MASS - mixture_cdf(grid, integers + 0.5)) < worst(grid)).all()


def test_first_rows_are_centred_and_hold_the_whole_mass() -> None:
    grid = random_grid(40_000)  # more than one part
    centre, table = sign_tables(grid)
    mean = (grid.weights * grid.means).sum(1) / (WEIGHT_STEPS * MEAN_STEPS)
    assert np.array_equal(centre, np.floor(mean + 0.5))
    exact = table.astype(np.int64)
    assert np.array_equal(exact, table), "a frequency is no integer"
    assert exact.min() >= 1 and (exact.sum(1) == MASS + 3).all()
    assert np.array_equal(exact[:, :2].cumsum(1) - [1, 2], cdf(grid, np.stack([centre - 1, centre])).T)
    picked = np.array([0, 8191, 8192, 16384, 39_999])
    alone = [sign_tables(GridMixture(*(g[i : i + 1] for g in grid)))[1][0] for i in picked]
    assert np.array_equal(table[picked], np.stack(alone))


@pytest.mark.parametrize("mean", [-MEAN_MAX, -1, 0, 31, 32, MEAN_MAX])
@pytest.mark.parametrize("scale", [0, 36, LEVELS])
def test_the_mass_holds_at_every_extreme(mean: int, scale: int) -> None:
    grid = GridMixture(np.array([[64, 0]]), np.array([[mean, -mean]]), np.array([[scale, scale]]))
    integers = mean // MEAN_STEPS + np.array([[-(2**31), -(2**25), -1, 0, 1, 2**25, 2**31]])
    mass = cdf(grid, integers.T).T
    assert mass[0, 0] == mass[0, 1] == 0 and mass[0, -1] == mass[0, -2] == MASS
    assert (np.abs(mass / MASS - mixture_cdf(grid, integers + 0.5)) < worst(grid)).all()


def test_normal_table_is_the_normal_distribution() -> None:
    table = _normal_table()
    t = torch.arange(-8 * 256, 8 * 256 + 1, dtype=torch.float64) / 256
    expected = (torch.special.ndtr(t) * 2**24).numpy()
    assert len(table) == len(expected) and np.abs(table - expected).max() < 0.501
    assert (np.diff(table) >= 0).all() and np.array_equal(table + table[::-1], np.full(len(table), 2**24))


def test_golden_normal_table() -> None:
    assert hashlib.sha256(_normal_table().astype("<i4").tobytes()).hexdigest() == NORMAL_TABLE_SHA256


def test_golden_masses() -> None:
    count = 256
    index = np.arange(count)
    weights = np.stack([index % 65, (64 - index % 65) // 2, 64 - index % 65 - (64 - index % 65) // 2], 1)
    means = np.stack([index * 7 - 900, 300 - index, index * index % 1000], 1)
    scales = np.stack([index % 129, index * 5 % 129, index * 11 % 129], 1)
    grid = GridMixture(weights, means, scales)
    centre, table = sign_tables(grid)
    digest = hashlib.sha256(centre.astype("<i8").tobytes())
    digest.update(table.astype("<f4").tobytes())
    digest.update(cdf(grid, centre + np.array([[-300], [-17], [-2], [1], [5], [90]])).astype("<i8").tobytes())
    assert digest.hexdigest() == MASSES_SHA256


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
        np.abs(np.log2(float_scales(grid)) - np.log2(flat(scales)).clip(LOG2_SCALE_MIN, LOG2_SCALE_MAX)).max()
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
    centre = sign_tables(grid)[0]
    integers = np.arange(-reach - 1, reach + 1)[:, None] + centre
    edges = torch.from_numpy(integers.T)[:, None] + 0.5
    p = (weights * torch.special.ndtr((edges - means) / scales)).sum(1).diff().numpy()  # (N, 2 * reach + 1)
    entropy = -(p * np.log2(np.maximum(p, 1e-300))).sum()
    coded = (np.diff(cdf(grid, integers).T) + 1) / MASS
    assert 0 <= (p * -np.log2(coded)).sum() / entropy - 1 < 0.003
