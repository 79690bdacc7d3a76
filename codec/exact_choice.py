"""Choice of exact blocks: those 64 px blocks that cost less stored losslessly than coded by the networks.

    learned  <- bits + lmbda * distortion of each block of a plain encoding
    hoped    <- optimistic bits of each block, losslessly, in one pass over the pixels; stop where too few
    lossless <- bits of each block by WebP, scaled to what a mosaic of the chosen ones takes
    chosen   <- lossless < t * learned, for the t of the file that really costs least, all blocks and none among them

Costs are in bits of the picture, bits + lmbda * distortion * pixels. Photographs stop at the second line. The
invariant: what is returned has cost less, as `evaluate` priced it, than the plain encoding.
"""

import zlib
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.bitstream.exact import encode_exact, pack_exact
from codec.errors import ConfigError
from codec.images.lossless import write_lossless
from codec.images.mosaic import BLOCK, Mask
from codec.images.pixels import Pixels

ExactMode = Literal["auto", "never", "all"]
Costs = NDArray[np.float64]  # (rows, columns) of blocks

GAIN_MIN, GAIN_MIN_BITS = 0.06, 300.0  # hoped for, to look closer: a fraction of the cost, and what a section takes
REPEAT_BITS = 0.02  # of a pixel that equals a neighbour
# of another, by its distance from the one before: 4, and 3 for each doubling
NOVEL_BITS_OF = (4 + 3 * np.log2(1 + np.arange(256))).astype(np.float32)
PAYING = 0.9  # least ratio of lossless to learned cost that counts as a gain: refinement lowers what is learned
LATENT_BITS = 150.0  # of the latents under an exact block: 50 to 280 measured
CLOSE = 1.7  # cost of a quickly made lossless file over the best, up to which the best effort may make it cheaper: 1.6
RATIO_STEP, RATIO_STEPS = 1.4, 8  # factor between the ratios of sets of blocks, and steps up and down from `PAYING`
EVALUATIONS_MAX = 6  # of sets of some blocks, each a file
SCALINGS = 2  # of the bits of blocks alone to those in a mosaic
Y_ROWS = 64  # of latents that are looked at at a time
BANDS_FEW = 4  # of 64 rows; of pictures with more, every other one is searched for repetition


class PlainCosts(NamedTuple):
    """Costs of the plain encoding of a picture.

    Attributes:
        total: of the file, in bits.
        blocks: of each block, in bits.
    """

    total: float
    blocks: Costs

    def scaled(self, factor: float) -> "PlainCosts":
        """Return the costs times a factor: what refinement is expected to leave of them."""
        return PlainCosts(factor * self.total, factor * self.blocks)


class ExactChoice(NamedTuple):
    """Blocks to store exactly.

    Attributes:
        mask: (rows, columns), true where exact; None where no block pays.
        cost: of the cheapest file in bits, as `evaluate` priced it, or that of the plain encoding.
        whole_close: whether a lossless file costs little more, so that one made with the best effort may cost less.
    """

    mask: Mask | None
    cost: float
    whole_close: bool


class _Tried(NamedTuple):
    """Set of blocks, None for none, and the cost of its file in bits."""

    mask: Mask | None
    cost: float


def check_mode(exact: str, has_goal: bool = False) -> None:
    """Check what is to be stored exactly.

    Args:
        has_goal: whether the file is to have a size or quality.

    Raises:
        ConfigError: no `ExactMode`, or a goal for a lossless file.
    """
    if exact not in get_args(ExactMode):
        raise ConfigError(f"exact {exact!r}: choose one of {', '.join(get_args(ExactMode))}")
    if exact == "all" and has_goal:
        raise ConfigError("exact all: a lossless file has one size and no other quality: leave targets out")


def plain_costs(y: Tensor, file_bytes: int, errors: Costs, distortion_bits: float) -> PlainCosts:
    """Share the cost of a plain encoding out among its blocks.

    Args:
        y: rounded latents (1, M, h, w), which share the bytes out, as each takes about log2(1 + |y|) bits.
        file_bytes: of the file.
        errors: squared errors of each block, weighed as the distortion does, which share the distortion out.
        distortion_bits: lmbda * distortion * pixels.
    """
    bits = _shares(_magnitudes(y, errors.shape)) * 8 * file_bytes
    return PlainCosts(8 * file_bytes + distortion_bits, bits + _shares(errors) * distortion_bits)


def block_errors(original: Pixels, decoded: Pixels, weight: NDArray[np.float32] | None = None) -> Costs:
    """Return the sum over pixels of weight * mean squared error of the channels on 0..255, of each block.

    Args:
        weight: (H, W); None is 1 everywhere.
    """
    rows = []
    for top in range(0, original.height, BLOCK):
        band = slice(top, top + BLOCK)
        difference = original.data[band].astype(np.float32) - decoded.data[band]
        squared = np.square(difference).mean(-1)
        rows.append(_column_sums(squared if weight is None else squared * weight[band]))
    return np.stack(rows)


def block_sums(values: NDArray[Any]) -> Costs:
    """Return the sums of values (H, W) over each block."""
    return np.stack([_column_sums(values[top : top + BLOCK]) for top in range(0, len(values), BLOCK)])


def hoped_costs(pixels: Pixels) -> Costs:
    """Return optimistic bits of each block, stored losslessly, also for what repeats itself all over the picture."""
    hoped = hoped_bits(pixels)
    return hoped * min(1.0, repetition_bits(pixels) / float(hoped.sum()))


def may_pay(hoped: Costs, plain: PlainCosts) -> bool:
    """Tell whether a gain is to be hoped for that is worth a closer look; hardly ever so on photographs."""
    gain = float(np.maximum(plain.blocks - hoped, 0).sum())
    return gain > max(GAIN_MIN * plain.total, GAIN_MIN_BITS)


def choose_blocks(pixels: Pixels, plain: PlainCosts, hoped: Costs, evaluate: Callable[[Mask], float]) -> ExactChoice:
    """Choose the blocks to store exactly.

    Args:
        hoped: of the picture.
        evaluate: cost in bits of the file whose exact blocks are those of a mask.
    """
    every = np.ones(hoped.shape, dtype=bool)
    best = _Tried(None, plain.total)
    for tried in (whole := _Tried(every, evaluate(every)), *_sets(pixels, plain, hoped < plain.blocks, evaluate)):
        best = tried if tried.cost < best.cost else best
    return ExactChoice(best.mask, best.cost, whole.cost < CLOSE * best.cost)


def hoped_bits(pixels: Pixels) -> Costs:
    """Return optimistic bits of each block, stored losslessly: photographs take about what is returned, text less.

    Pixels that equal one to the left or above are nearly free, at distances of one and two, for patterns. Others count
    by their difference; the fewer of these a block has, the better they are predicted from one another.
    """
    rows = []
    for top in range(0, pixels.height, BLOCK):
        begin = max(0, top - 2)
        red, green, blue = (pixels.data[begin : top + BLOCK, :, channel] for channel in range(3))
        band = red if pixels.grey else red.astype(np.uint32) << 16 | green.astype(np.uint16) << 8 | blue
        seen = np.zeros(band.shape, dtype=bool)
        for down, right in ((0, 1), (1, 0), (0, 2), (2, 0), (1, 1)):
            seen[down:, right:] |= band[down:, right:] == band[: len(band) - down, : band.shape[1] - right]
        novel, own = ~seen[top - begin :], green[top - begin :]
        before = np.concatenate([own[:, :1], own[:, :-1]], 1)
        distance = np.maximum(own, before) - np.minimum(own, before)
        bits = np.where(novel, NOVEL_BITS_OF[distance], np.float32(REPEAT_BITS))
        rows.append(_column_sums(bits) * _column_sums(novel) / _column_sums(np.ones_like(novel)))
    return np.stack(rows) + 1.0


def repetition_bits(pixels: Pixels) -> float:
    """Return optimistic bits of a whole picture, which sees texture that repeats itself as no block can."""
    different = len({blake2b(row.tobytes(), digest_size=16).digest() for row in pixels.data}) / pixels.height
    bands = [pixels.data[top : top + BLOCK, :, 1] for top in range(0, pixels.height, BLOCK)]
    read = bands if len(bands) <= BANDS_FEW else bands[::2]
    deflated = sum(len(zlib.compress(band.tobytes(), 1)) for band in read)
    return 8 * different * deflated * len(bands) / len(read)


def _sets(pixels: Pixels, plain: PlainCosts, candidates: Mask, evaluate: Callable[[Mask], float]) -> list[_Tried]:
    """Price the blocks below a ratio of lossless to learned cost, which grows or shrinks while that pays."""
    ratios = _cost_ratios(pixels, plain, candidates)
    sets = _nested_sets(ratios)
    if len(sets) <= EVALUATIONS_MAX:  # of a small picture
        return [_Tried(mask, evaluate(mask)) for mask in sets]
    tried: dict[int, float] = {}

    def cost_of(index: int) -> float:
        if not 0 <= index < len(sets) or (index not in tried and len(tried) >= EVALUATIONS_MAX):
            return np.inf
        if index not in tried:
            tried[index] = evaluate(sets[index])
        return tried[index]

    best = int(np.argmin([abs(int(mask.sum()) - int((ratios < PAYING).sum())) for mask in sets]))
    for step in sorted((1, -1), key=lambda step: cost_of(best + step)):
        while cost_of(best + step) < cost_of(best):
            best += step
    return [_Tried(sets[index], cost) for index, cost in tried.items()]


def _nested_sets(ratios: Costs) -> list[Mask]:
    """Return the different sets of blocks below each of a series of ratios, from the smallest; not none and not all."""
    sets: list[Mask] = []
    for ratio in PAYING * RATIO_STEP ** np.arange(-RATIO_STEPS, RATIO_STEPS + 1):
        mask = ratios < ratio
        if mask.any() and not mask.all() and (not sets or (mask != sets[-1]).any()):
            sets.append(mask)
    return sets


def _cost_ratios(pixels: Pixels, plain: PlainCosts, candidates: Mask) -> Costs:
    """Return what candidates cost in a mosaic, with what is left of their latents, over what they cost learned."""
    alone = _isolated_bits(pixels, candidates)
    ratios, scale = alone / plain.blocks, 1.0
    for _ in range(SCALINGS):
        chosen = scale * ratios < 1
        if not chosen.any():
            break
        scale = 8 * len(pack_exact(encode_exact(pixels, chosen, "quick"))) / float(alone[chosen].sum())
    found: Costs = (scale * alone + LATENT_BITS) / plain.blocks
    return found


def _isolated_bits(pixels: Pixels, candidates: Mask) -> Costs:
    """Return the bits of a lossless stream of each candidate alone, infinite for other blocks."""
    found = np.full(candidates.shape, np.inf)
    for row, column in np.argwhere(candidates):
        rows, columns = (slice(BLOCK * at, BLOCK * (at + 1)) for at in (row, column))
        found[row, column] = 8 * len(write_lossless(pixels.data[rows, columns], pixels.grey, "quick"))
    return found


def _magnitudes(y: Tensor, shape: tuple[int, ...]) -> Costs:
    """Return the sum of log2(1 + |y|) over the latents of each block."""
    by_position = torch.cat([rows.abs().log1p().sum(0) for rows in y[0].split(Y_ROWS, 1)]).double().cpu().numpy()
    rows, columns = (np.minimum(np.arange(n) * m // n, m - 1) for n, m in zip(by_position.shape, shape, strict=True))
    sums = np.zeros(shape)
    np.add.at(sums, (rows[:, None], columns[None]), by_position)
    return sums


def _shares(values: Costs) -> Costs:
    """Return values divided by their sum; equal shares where all are 0."""
    return (values + 1e-12) / (values + 1e-12).sum()


def _column_sums(band: NDArray[Any]) -> Costs:
    """Return the sums of a band of up to 64 rows over 64 columns each."""
    return np.add.reduceat(band.sum(0, dtype=np.float64), np.arange(0, band.shape[1], BLOCK))
