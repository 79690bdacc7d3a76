"""SSIMULACRA 2 in torch: batched, differentiable, never waiting for the device: it can be optimised, and recorded.

    x --linear light--> halved, up to six scales --XYB--> two kinds of error map for each scale and channel:

    ssim      1 - (1 - (mu1 - mu2)^2) (2 cov + C2) / (var1 + var2 + C2)    means, (co)variances in a Gaussian window
    edges     (1 + |x2 - mu2|) / (1 + |x1 - mu1|) - 1                      above 0 an artefact, below 0 lost detail

    raw       weighted sum of two norms (mean; fourth root of the mean fourth power) of ssim, artefacts, lost detail
    score     100 - 10 p(raw)^0.6276 with a cubic p: 100 identical, 90 visually lossless, 70 high, 50 medium quality

`raw` is 0 for identical pictures and grows with the error. It is what an optimiser should see: the slope of the score
has no bound at 100. The invariant: `score` is the reference's, to a few tenths of a point.

Source: Jon Sneyers, SSIMULACRA 2.1 (github.com/cloudinary/ssimulacra2), whose constants and weights these are.
"""

from collections.abc import Collection
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.errors import ConfigError
from codec.images.pixels import Pixels, to_tensor

SCALES_MAX, SIDE_MIN = 6, 8  # scales, and pixels of the shorter side at the smallest
SIGMA, RADIUS = 1.5, 5  # of the window, in pixels
BLOCK = 1024  # side in pixels of what is scored at once; a multiple of 32, as the last scale halves five times
BLOCK_HALO = RADIUS * 2 ** (SCALES_MAX - 1)  # pixels that the windows of all scales reach
C2 = 0.0009
NEGLIGIBLE = 0.01  # weights below it are left out; together they move no photograph's score by 0.05 points
FOURTH_MIN = 1e-28  # added below fourth roots, whose slope has no bound at 0

OPSIN = ((0.30, 0.622, 0.078), (0.23, 0.692, 0.078), (0.24342268924547819, 0.20476744424496821, 0.5518098665095536))
OPSIN_BIAS = 0.0037930732552754493
SUM_FACTOR = 0.9562382616834844
CUBIC = (2.326765642916932, -0.020884521182843837, 6.248496625763138e-05)  # of raw, raw^2 and raw^3
POWER = 0.6276336467831387

# channel (X, Y, B - Y) -> scale, the largest first -> weights of (ssim, artefacts, lost detail) by mean, by fourth norm
Triple = tuple[float, float, float]
WEIGHTS: tuple[tuple[tuple[Triple, Triple], ...], ...] = (
    (  # X
        ((0.0, 0.0007376606707406586, 0.0), (0.0, 0.0007793481682867309, 0.0)),
        ((0.0, 0.0004371155730107379, 0.0), (1.1041726426657346, 0.00066284834129271, 0.00015231632783718752)),
        ((0.0, 0.0016406437456599754, 0.0), (1.8422455520539298, 11.441172603757666, 0.0)),
        ((0.0007989109436015163, 0.000176816438078653, 0.0), (1.8787594979546387, 10.94906990605142, 0.0)),
        (
            (0.0007289346991508072, 0.9677937080626833, 0.0),
            (0.00014003424285435884, 0.9981766977854967, 0.00031949755934435053),
        ),
        ((0.0004550992113792063, 0.0, 0.0), (0.0013648766163243398, 0.0, 0.0)),
    ),
    (  # Y
        ((0.0, 0.0, 0.0), (7.466890328078848, 0.0, 17.445833984131262)),
        ((0.0006235601634041466, 0.0, 0.0), (6.683678146179332, 0.00037724407979611296, 1.027889937768264)),
        ((225.20515300849274, 0.0, 0.0), (19.213238186143016, 0.0011401524586618361, 0.001237755635509985)),
        ((176.39317598450694, 0.0, 0.0), (24.43300999870476, 0.28520802612117757, 0.0004485436923833408)),
        ((0.0, 0.0, 0.0), (34.77906344483772, 44.835625328877896, 0.0)),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    ),
    (  # B
        ((0.0, 0.0008680556573291698, 0.0), (0.0, 0.0, 0.0)),
        ((0.0, 0.0005313191874358747, 0.0), (0.00016533814161379112, 0.0, 0.0)),
        ((0.0, 0.0, 0.0), (0.0004179171803251336, 0.0017290828234722833, 0.0)),
        ((0.0020827005846636437, 0.0, 0.0), (8.826982764996862, 23.19243343998926, 0.0)),
        (
            (95.1080498811086, 0.9863978034400682, 0.9834382792465353),
            (0.0012286405048278493, 171.2667255897307, 0.9807858872435379),
        ),
        ((0.0, 0.0, 0.0), (0.0005130064588990679, 0.0, 0.00010854057858411537)),
    ),
)


class Planes(NamedTuple):
    """One scale of a picture: chosen XYB channels (B, C, H, W), their means and variances in the window."""

    values: Tensor
    means: Tensor
    variances: Tensor

    def of_images(self, chosen: list[int]) -> "Planes":
        """Return the planes of some of the images."""
        return Planes(*(planes[chosen] for planes in self))


def ssimulacra2(original: Pixels, decoded: Pixels) -> float | None:
    """Return the SSIMULACRA 2 score of 8-bit pictures, at most 100; None if a side is below `SIDE_MIN` pixels."""
    if min(original.width, original.height) < SIDE_MIN:
        return None
    with torch.no_grad():
        return float(score_of(_raw_in_blocks(original, decoded)))


def score_of(raw: Tensor) -> Tensor:
    """Turn weighted sums of error norms, as `raw` gives them, into scores."""
    total = SUM_FACTOR * raw
    cubic = total * (CUBIC[0] + total * (CUBIC[1] + total * CUBIC[2]))
    return 100 - 10 * cubic.clamp(min=0) ** POWER


def _raw_in_blocks(original: Pixels, decoded: Pixels) -> Tensor:
    """Return `raw` (1,) of 8-bit pictures, computed block by block, as memory is a multiple of a block's pixels."""
    height, width = original.height, original.width
    scales = scale_count(height, width)
    sums: dict[int, Tensor] = {}  # scale -> (2, 3 maps, C), of errors and of their fourth powers
    counts = [0] * scales
    for top, left in product(range(0, height, BLOCK), range(0, width, BLOCK)):
        (own_rows, rows), (own_columns, columns) = (
            spans(begin, length, BLOCK, BLOCK_HALO) for begin, length in ((top, height), (left, width))
        )
        lights = [linear_light(to_tensor(Pixels(each.data[rows, columns], each.grey))) for each in (original, decoded)]
        for scale in range(scales):
            lights = [halve(light) for light in lights] if scale else lights
            down, across = (slice(own.start >> scale, -(-own.stop // 2**scale)) for own in (own_rows, own_columns))
            counts[scale] += lights[0][0, 0, down, across].numel()
            if weights := weights_at(scale, scales):
                reference, values = (xyb(light, weights) for light in lights)
                maps = torch.stack(_error_maps(values, _planes(reference)))  # (3, 1, C, H, W)
                maps = maps[:, 0, :, down, across].double()
                found = torch.stack([maps.sum((2, 3)), maps.square().square().sum((2, 3))])
                sums[scale] = sums[scale] + found if scale in sums else found
    total = torch.zeros(1, dtype=torch.float64)
    for scale, (errors, fourths) in sums.items():
        for channel, pair in enumerate(weights_at(scale, scales).values()):
            of_mean, of_fourth = (
                torch.tensor([w * (w >= NEGLIGIBLE) for w in triple], dtype=torch.float64) for triple in pair
            )
            total = total + of_mean @ errors[:, channel] / counts[scale]
            total = total + of_fourth @ _fourth_root(fourths[:, channel] / counts[scale])
    return total


def spans(begin: int, length: int, block: int, halo: int) -> tuple[slice, slice]:
    """Return rows or columns: those of a block within what its windows reach, and that within the picture."""
    low, end = max(0, begin - halo), min(length, begin + block)
    return slice(begin - low, end - low), slice(low, min(length, end + halo))


def raw(x_hat: Tensor, reference: tuple[Planes, ...]) -> Tensor:
    """Return the weighted sum of error norms (B,) that a score is made of: 0 for identical pictures, without a bound.

    Differentiable in x_hat, sRGB (B, 3, H, W) in [0, 1], computed in single precision unless x_hat is double;
    `reference` is what `prepare` made of the original, in the same precision.
    """
    with torch.autocast(x_hat.device.type, enabled=False):  # variances are differences of near equals
        light = linear_light(at_least_single(x_hat))
        total = light.new_zeros(len(x_hat))
        for scale, own in enumerate(reference):
            light = halve(light) if scale else light
            if weights := weights_at(scale, len(reference)):
                total = total + _error(xyb(light, weights), own, list(weights.values()))
    return total


@torch.no_grad()
def prepare(x: Tensor) -> tuple[Planes, ...]:
    """Compute once what `raw` needs of original pictures x, sRGB (B, 3, H, W) in [0, 1], for each scale.

    Raises:
        ConfigError: a side is below `SIDE_MIN` pixels.
    """
    scales = scale_count(*x.shape[-2:])
    found = []
    with torch.autocast(x.device.type, enabled=False):
        light = linear_light(at_least_single(x))
        for scale in range(scales):
            light = halve(light) if scale else light
            chosen = weights_at(scale, scales)
            values = xyb(light, chosen) if chosen else light[:, :0]
            found.append(_planes(values))
    return tuple(found)


def _planes(values: Tensor) -> Planes:
    """Return XYB channels with their means and variances."""
    means, squares = window_mean(torch.cat([values, values.square()], 1)).chunk(2, 1)
    return Planes(values, means, squares - means.square())


def at_least_single(x: Tensor) -> Tensor:
    """Return x in single precision, or in double where it is."""
    return x if x.dtype == torch.float64 else x.float()


def _error(values: Tensor, reference: Planes, weights: list[tuple[Triple, Triple]]) -> Tensor:
    """Weighted norms (B,) of the error maps of one scale, whose channels have one pair of weights each."""
    total = values.new_zeros(len(values))
    maps = _error_maps(values, reference)
    for channel, (of_mean, of_fourth) in enumerate(weights):
        for error, first, fourth in zip(maps, of_mean, of_fourth, strict=True):
            if first >= NEGLIGIBLE:
                total = total + first * error[:, channel].mean((1, 2))
            if fourth >= NEGLIGIBLE:
                total = total + fourth * _fourth_root(error[:, channel].square().square().mean((1, 2)))
    return total


def _error_maps(values: Tensor, reference: Planes) -> tuple[Tensor, Tensor, Tensor]:
    """Return the error maps of one scale (B, C, H, W): ssim, artefacts, lost detail."""
    averages = window_mean(torch.cat([values, values.square(), values * reference.values], 1))
    means, squares, products = averages.chunk(3, 1)
    luminance = 1 - (means - reference.means).square()
    covariance = products - means * reference.means
    spread = squares - means.square() + reference.variances
    ssim = F.relu(1 - luminance * (2 * covariance + C2) / (spread + C2))  # without a gradient where nothing differs
    edges = (1 + (values - means).abs()) / (1 + (reference.values - reference.means).abs()) - 1
    return ssim, F.relu(edges), F.relu(-edges)


def _fourth_root(mean: Tensor) -> Tensor:
    return (mean + FOURTH_MIN) ** 0.25 - FOURTH_MIN**0.25


def weights_at(scale: int, scales: int) -> dict[int, tuple[Triple, Triple]]:
    """Return the weights of those channels that count at a scale.

    Weights are dealt out channel by channel over the scales that a picture has, so that a small one has other weights
    (of the reference, and kept).
    """
    flat = [pair for channel in WEIGHTS for pair in channel]
    chosen = {channel: flat[channel * scales + scale] for channel in range(len(WEIGHTS))}
    return {c: pair for c, pair in chosen.items() if max(max(triple) for triple in pair) >= NEGLIGIBLE}


def scale_count(height: int, width: int) -> int:
    """Return how many scales a picture has: it is halved until a side would fall below `SIDE_MIN` pixels.

    Raises:
        ConfigError: it is smaller than that.
    """
    count = 0
    while count < SCALES_MAX and min(height, width) >= SIDE_MIN:
        count, height, width = count + 1, -(-height // 2), -(-width // 2)
    if not count:
        raise ConfigError(f"SSIMULACRA 2 needs sides of {SIDE_MIN} pixels or more: optimise the mse (--tune mse)")
    return count


def linear_light(x: Tensor) -> Tensor:
    """Undo the transfer curve of sRGB, [0, 1] to [0, 1] (IEC 61966-2-1)."""
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def xyb(linear: Tensor, channels: Collection[int]) -> Tensor:
    """Turn linear sRGB (B, 3, H, W) into some of SSIMULACRA 2's positive X, Y and B - Y (0, 1, 2): (B, C, H, W)."""
    red, green, blue = linear.unbind(1)
    long, middle, short = (
        (r * red + g * green + b * blue + OPSIN_BIAS).clamp(min=1e-6) ** (1 / 3) - OPSIN_BIAS ** (1 / 3)
        for r, g, b in OPSIN
    )
    luma = (long + middle) / 2
    planes = (7 * (long - middle) + 0.42, luma + 0.01, short - luma + 0.55)
    return torch.stack([planes[channel] for channel in channels], 1)


def halve(linear: Tensor) -> Tensor:
    """Average 2x2 pixels (B, C, H, W) -> (B, C, ceil(H / 2), ceil(W / 2)); at an odd edge those that there are."""
    return F.avg_pool2d(linear, 2, ceil_mode=True, count_include_pad=False)


class WindowMean(torch.autograd.Function):
    """Average of planes (B, C, H, W) under a Gaussian window.

    Beyond the edges pictures go on mirrored above and below and as 0 at their sides, as the reference in Python has it.
    That makes the average a symmetric matrix, so a gradient goes back by the same average.
    """

    @staticmethod
    def forward(ctx: Any, planes: Tensor) -> Tensor:  # noqa: ARG004  (nothing is kept)
        """Average along rows, then along columns, by convolutions of single channels."""
        channels = planes.shape[1]
        at = torch.arange(-RADIUS, RADIUS + 1, device=planes.device, dtype=planes.dtype)
        window = torch.softmax(-at.square() / (2 * SIGMA**2), 0).expand(channels, 1, 1, -1)
        planes = planes.contiguous(memory_format=torch.channels_last)  # ten times as fast on a CPU
        planes = F.conv2d(planes, window, padding=(0, RADIUS), groups=channels)
        planes = torch.cat([planes[:, :, :RADIUS].flip(2), planes, planes[:, :, -RADIUS:].flip(2)], 2)
        return F.conv2d(planes, window.mT, groups=channels)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        """Average the gradient."""
        return WindowMean.apply(gradient)


def window_mean(planes: Tensor) -> Tensor:
    """Average planes (B, C, H, W) under the window, differentiable; C may be 0."""
    return WindowMean.apply(planes) if planes.shape[1] else planes
