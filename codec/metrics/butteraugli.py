"""Butteraugli in torch: batched and differentiable; the second witness beside SSIMULACRA 2.

    x --linear light, 80 nits--> opsin X, Y, B of an eye adapted to the surroundings of each pixel
      --Gaussians--> low, middle, high and ultra-high frequencies; small values of X removed, those of Y amplified

    error     of each band and channel: squared differences, and squares of their sums along 16 lines ("Malta")
    mask      weight of errors, smaller where the original is busy
    map       sqrt(sum of masked errors), a weighted sum of that of the picture and that of half its size
    norm      mean of the 3-, 6- and 12-norm of the map: 0 for identical pictures, about 1 where flaws begin to show

The invariant: `norm` at both sizes is the 3-norm that libjxl's `butteraugli_main` prints, within 5 %. At half size
alone it costs a quarter, and is what refinement minimises. Every error reaches less than `BLOCK_HALO` pixels, so
that pictures are measured block by block, in bounded memory.

Source: Jyrki Alakuijala et al., libjxl 0.7 (github.com/libjxl/libjxl, lib/jxl/butteraugli), whose constants these are.
"""

from collections.abc import Iterable
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.errors import ConfigError
from codec.images.pixels import Pixels, to_tensor
from codec.metrics.frequency_bands import Bands, bands, constant
from codec.metrics.ssimulacra2 import at_least_single, halve, linear_light, spans

SIDE_MIN = 8  # pixels; the half-size map is left out where its sides would be shorter
# weights of squared differences of (X, Y, B), and of line sums with the amplitude that halves them for (X, Y)
LOW_SQUARES, MIDDLE_SQUARES, HIGH_SQUARES = (
    (29.2353797994, 0.844626970982, 0.703646627719),
    (2150.0, 10.6195433239, 16.2176043152),
    (400.0, 1.50815703118),
)
ULTRA_LINES = ((173.5, 5.0), (1.10039032555, 71.7800275169))
HIGH_LINES = ((6923.99476109, 8051.15833247), (18.7237414387, 4498534.45232))
MIDDLE_LINES = ((8246.75321353, 1009002.70582), (37.0819870399, 130262059.556))
DENSE_SCALE, SPARSE_SCALE, LINE_LENGTH = 0.39905817637, 0.611612573796, 3.75
SQUARE_SHARE, BEYOND_SHARE, LINE_LOW, LINE_HIGH = 0.5, 0.33, 0.55, 1.05  # of line sums
SQUARE_SCALE, HIGH_LOW = 0.8, 0.4  # of squared differences of high frequencies
DISTANCE_MIN, MEAN_MIN = 1e-6, 1e-37  # below them roots have no slope

MASK_ERROR, EROSION_STEP = 10.0, 3
EROSION = (0.45, 0.3, 0.25)  # weights of the three smallest of the neighbours
GOOD = 17.83 * 0.79079917404  # internal distance that is 1
MASK_CURVE, MASK_CURVE_LOW = (
    (2.5485944793, 0.451936922203, 0.829591754942),
    (0.505054525019, 3.87449418804, 0.20025578522),
)
FULL_SIZE, HALF_SIZE = 0.85, 0.5  # weights of the maps of the picture and of the halved picture
NORMS = (3, 6, 12)
BLOCK, BLOCK_HALO = 1024, 96  # sides in pixels of what is measured at once; both even, as they are halved

# half of each line's pixels, as (rows, columns) from its centre; the other half lies opposite
Lines = tuple[tuple[tuple[int, int], ...], ...]
DENSE_LINES: Lines = (
    ((0, 1), (0, 2), (0, 3), (0, 4)),
    ((1, 0), (2, 0), (3, 0), (4, 0)),
    ((1, 1), (2, 2), (3, 3)),
    ((1, -1), (2, -2), (3, -3)),
    *2 * (((1, 0), (2, -1), (3, -1), (4, -1)), ((1, 0), (2, 1), (3, 1), (4, 1))),
    *2 * (((0, 1), (1, 2), (1, 3), (1, 4)), ((0, 1), (-1, 2), (-1, 3), (-1, 4))),
    ((1, 1), (2, 1), (3, 2)),
    ((1, -1), (2, -1), (3, -2)),
    ((1, 1), (1, 2), (2, 3)),
    ((1, -1), (1, -2), (2, -3)),
)
SPARSE_LINES: Lines = (
    ((0, 2), (0, 4)),
    ((2, 0), (4, 0)),
    ((2, 2), (3, 3)),
    ((2, -2), (3, -3)),
    ((2, -1), (4, -1)),
    ((2, 1), (4, 1)),
    ((1, 2), (1, 4)),
    ((-1, 2), (-1, 4)),
    ((2, 1), (3, 2)),
    ((2, -1), (3, -2)),
    ((1, 2), (2, 3)),
    ((1, -2), (2, -3)),
    ((1, -2), (2, -4)),
    ((1, 2), (2, 4)),
    ((2, 1), (4, 2)),
    ((2, -1), (4, -2)),
)


class Reference(NamedTuple):
    """Original at one size: its bands, and weights (B, H, W) of errors and of low-frequency errors.

    `halvings` is 0 at the picture's own size, 1 at half of it.
    """

    halvings: int
    bands: Bands
    mask: Tensor
    mask_low: Tensor

    def of_images(self, chosen: list[int]) -> "Reference":
        """Return the originals of some of the images."""
        own = Bands(*(band[chosen] for band in self.bands))
        return Reference(self.halvings, own, self.mask[chosen], self.mask_low[chosen])


def butteraugli(original: Pixels, decoded: Pixels) -> float | None:
    """Return the 3-norm of 8-bit pictures, 0 if identical; None if a side is below `SIDE_MIN` pixels."""
    if min(original.width, original.height) < SIDE_MIN:
        return None
    sums = torch.zeros(len(NORMS), dtype=torch.float64)
    for top, left in product(range(0, original.height, BLOCK), range(0, original.width, BLOCK)):
        own_rows, rows = spans(top, original.height, BLOCK, BLOCK_HALO)
        own_columns, columns = spans(left, original.width, BLOCK, BLOCK_HALO)
        x, x_hat = (to_tensor(Pixels(each.data[rows, columns], each.grey)) for each in (original, decoded))
        with torch.no_grad():
            distances = distance_map(x_hat, prepare(x))[:, own_rows, own_columns].double()
        sums += torch.stack([(distances**p).sum() for p in NORMS])
    means = sums / (original.height * original.width)
    return float(torch.stack([mean ** (1 / p) for mean, p in zip(means, NORMS, strict=True)]).mean())


def norm(x_hat: Tensor, reference: tuple[Reference, ...]) -> Tensor:
    """Return the 3-norm (B,) of x_hat, sRGB (B, 3, H, W) in [0, 1], against what `prepare` made of the original.

    Differentiable in x_hat, computed in single precision unless x_hat is double.
    """
    distances = distance_map(x_hat, reference)
    largest = distances.detach().amax((1, 2), keepdim=True)  # powers of what it divides neither vanish nor overflow
    relative = distances / largest.clamp(min=DISTANCE_MIN)
    norms = [((relative**p).mean((1, 2)) + MEAN_MIN) ** (1 / p) for p in NORMS]
    return largest[:, 0, 0] * torch.stack(norms).mean(0)


def distance_map(x_hat: Tensor, reference: tuple[Reference, ...]) -> Tensor:
    """Return the distance (B, H, W) at each pixel of the largest size that `reference` has."""
    with torch.autocast(x_hat.device.type, enabled=False):
        light = linear_light(at_least_single(x_hat))
        first, *smaller = (_distances(own, bands(halve(light) if own.halvings else light)) for own in reference)
        for half in smaller:
            height, width = first.shape[-2:]
            half = half.repeat_interleave(2, -2)[:, :height].repeat_interleave(2, -1)[..., :width]
            first = FULL_SIZE * first + HALF_SIZE * half
        return first


@torch.no_grad()
def prepare(x: Tensor, halvings: Iterable[int] = (0, 1)) -> tuple[Reference, ...]:
    """Compute once what `norm` needs of original pictures x, sRGB (B, 3, H, W) in [0, 1].

    Args:
        halvings: sizes to compare at: 0 the picture's, 1 half of it, where sides remain of `SIDE_MIN` pixels or more;
            a smaller picture is compared at its own.

    Raises:
        ConfigError: a side is below `SIDE_MIN` pixels.
    """
    if min(x.shape[-2:]) < SIDE_MIN:
        raise ConfigError(f"Butteraugli needs sides of {SIDE_MIN} pixels or more: optimise the mse (--tune mse)")
    sizes = [0] if min(x.shape[-2:]) <= 2 * SIDE_MIN - 2 else halvings
    with torch.autocast(x.device.type, enabled=False):
        light = linear_light(at_least_single(x))
        found = [(size, bands(halve(light) if size else light)) for size in sizes]
        return tuple(Reference(size, own, *_mask(own.activity)) for size, own in found)


@torch.no_grad()
def _mask(activity: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (B, H, W) of errors of the other frequencies, and of the low ones: smooth neighbours forbid hiding."""
    step = EROSION_STEP
    padded = F.pad(activity, (step,) * 4, value=torch.inf)
    height, width = activity.shape[-2:]
    shifts = [(r, c) for r in (0, step, 2 * step) for c in (0, step, 2 * step)]
    around = torch.stack([padded[:, r : r + height, c : c + width] for r, c in shifts] + 2 * [2 * activity])
    smallest = around.topk(3, 0, largest=False).values
    smooth = torch.einsum("kbhw,k->bhw", smallest, constant(EROSION, smallest.dtype, smallest.device))
    mask, mask_low = (
        ((1 + mul / (scale * smooth + offset)) / GOOD).square() for mul, scale, offset in (MASK_CURVE, MASK_CURVE_LOW)
    )
    return mask, mask_low


def _distances(original: Reference, other: Bands) -> Tensor:
    """Distances (B, H, W) at one size between the original and the bands of the other picture."""
    own = original.bands
    errors = MASK_ERROR * (own.activity - other.activity).square()
    errors = errors + _squares(own.middle - other.middle, MIDDLE_SQUARES)
    errors = errors + SQUARE_SCALE * _squares(own.high - other.high, HIGH_SQUARES)
    errors = errors + SQUARE_SCALE * _squares(_beyond(own.high, other.high, HIGH_LOW, 1.0), HIGH_SQUARES)
    for c in (0, 1):
        errors = errors + _line_energy(own.ultra[:, c], other.ultra[:, c], ULTRA_LINES[c], DENSE_LINES, DENSE_SCALE)
        errors = errors + _line_energy(own.high[:, c], other.high[:, c], HIGH_LINES[c], SPARSE_LINES, SPARSE_SCALE)
        errors = errors + _line_energy(
            own.middle[:, c], other.middle[:, c], MIDDLE_LINES[c], SPARSE_LINES, SPARSE_SCALE
        )
    errors_low = _squares(own.low - other.low, LOW_SQUARES)
    return (original.mask * errors + original.mask_low * errors_low + DISTANCE_MIN**2).sqrt() - DISTANCE_MIN


def _squares(difference: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Weighted sum (B, H, W) over channels of squared differences (B, C, H, W)."""
    factors = constant(weights, difference.dtype, difference.device)
    return torch.einsum("bchw,c->bhw", difference.square(), factors)


def _beyond(own: Tensor, other: Tensor, low: float, high: float) -> Tensor:
    """Distance of `other` from the interval low..high times `own`, on the side of own's sign; never below 0."""
    along, amplitude = other * torch.where(own < 0, -1.0, 1.0), own.abs()
    return F.relu(low * amplitude - along) + F.relu(along - high * amplitude)


def _line_energy(own: Tensor, other: Tensor, weight: tuple[float, float], lines: Lines, scale: float) -> Tensor:
    """Sum (B, H, W) over the lines through each pixel of the squared sum of differences along it."""
    strength, amplitude = weight
    fading = amplitude / (amplitude + (own.abs() + other.abs()) / 2)
    difference = own - other
    beyond = _beyond(own, other, LINE_LOW, LINE_HIGH) * torch.where(difference < 0, -1.0, 1.0)
    total = fading * (SQUARE_SHARE**0.5 * difference + BEYOND_SHARE**0.5 * beyond)
    energy: Tensor = LineEnergy.apply(total[:, None], _kernels(lines, total.dtype, total.device))
    return (scale / (2 * LINE_LENGTH + 1)) ** 2 * strength * energy[:, 0]


class LineEnergy(torch.autograd.Function):
    """Sum over lines of the squared sums along them: K^T K of planes, whose kernels are symmetric."""

    @staticmethod
    def forward(ctx: Any, planes: Tensor, kernels: Tensor) -> Tensor:
        """Sum planes (B, 1, H, W) along the lines of the kernels (16, 1, 9, 9), 0 beyond the edges."""
        sums = F.conv2d(planes.contiguous(memory_format=torch.channels_last), kernels, padding=4)
        ctx.save_for_backward(sums, kernels)
        return sums.square().sum(1, keepdim=True)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Spread the gradient along the same lines."""
        sums, kernels = ctx.saved_tensors
        spread = (2 * gradient * sums).contiguous(memory_format=torch.channels_last)
        return F.conv2d(spread, kernels, padding=4, groups=len(kernels)).sum(1, keepdim=True), None


@cache
def _kernels(lines: Lines, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Kernels (16, 1, 9, 9) that sum along lines, made once."""
    kernels = torch.zeros(len(lines), 1, 9, 9)
    for kernel, half in zip(kernels[:, 0], lines, strict=True):
        kernel[4, 4] = 1
        for row, column in half:
            kernel[4 + row, 4 + column] = kernel[4 - row, 4 - column] = 1
    return kernels.to(device, dtype)
