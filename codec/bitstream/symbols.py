"""Coding schedule of our own codec: the order in which the entropy model and the range coder take turns.

    z symbols -> h_s features -> for each group of y: mixture -> grid -> rows -> symbols -> context of the next group

`transfer` is that loop for both directions: the writer replays what the reader will do, with the symbols known, and
only the coder differs. It runs at batch 1 in double precision.

The stream of a tile, width x height pixels. Each decision of the coder picks a column of a row: the row lists the
frequencies (unnormalised probabilities) of the columns. With h = ceil(height / 64), w = ceil(width / 64) the stream
codes, in this order:

1. z, (hyper_width, h, w) integers in (channel, row, column) order, each with its channel's row from the checkpoint
   (`prior.rows`), which covers -24..24: first a column for every z, then a number for every z that was escaped.
2. y, (latent, 4h, 4w) integers, group by group in the order of `codec.networks.groups`; in a group by (row, column,
   channel). The networks turn z and the groups before into a mixture of Gaussians for each symbol
   (`codec.networks.context`, in double precision, batch 1, quality as in the header). A group is cut into blocks of
   65,536 symbols. Coded for a block are
   - the index s of its shift, with the one row of 32 columns max(1, 4^(11 - s));
   - its symbols. Their parameters, in grid steps, are rounded to floor(parameter + s / 65536 + 1/2) and give each
     symbol a distribution function F by the integer arithmetic of `codec.bitstream.probability_tables`. First comes,
     for every symbol in order, a row of three columns: below its centre (the rounded mean), at it, above it.
   - the distances d >= 1 from the centre of the symbols that are not at it. An interval low < d <= high is narrowed by
     decisions: with T(x) the mass further out than x on the symbol's side, one decision has two columns, d <= m and
     d > m, of masses T(low) - T(m) and T(m) - T(high), and makes m the new high or the new low. At first low = 0,
     high = 2^31 and T(high) = 0. m is 1 for all of them, in order, then 2 for those with d > 1, then 4 and so on up to
     2^30, while any are left; then every symbol with high - low > 1, in order, has one decision with
     m = floor((low + high) / 2), and so on until none is left.

F(n) is the mass of all integers up to n, a mass being a probability in units of 2^-22. Frequencies are masses plus 1:
the three columns have F(centre - 1), F(centre) - F(centre - 1) and 2^22 - F(centre), each plus 1.

The last column of a row of z is the escape. An escaped symbol d is coded as a number, an Elias-gamma code: with
f = 2d + 1 for d >= 0, else -2d, which is 1 bit and then L bits long, L is coded as a column of 32 equal ones, then the
low L bits of f in parts of up to 16, the low part first, each of b bits as a column of 2^b equal ones.

The range coder works with 24 bits of precision. In a row of n, column i starts at start(i) = floor(c_i * q) + i, with
c_i the sum of the frequencies before it and q = (2^24 - n) / (sum of all), product and quotient rounded to float32; it
ends where the next one starts, the last at 2^24. Of m equal columns each is floor(2^24 / m) long, the last one longer.

    low, range, point = 0, 2^64 - 1, the first two words, high one first; words after the last are 0
    at each symbol     step = floor(range / 2^24); the column is the one that holds floor((point - low) / step)
                       low += step * start; range = step * (end - start)
                       if range < 2^32: low, range, point *= 2^32; point += the next word
    all modulo 2^64
"""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.architecture import Shape, latent_shapes
from codec.bitstream.probability_tables import GridPositions, Ints, on_grid, positions
from codec.bitstream.range_coder import (
    SYMBOL_MAX,
    RowCoder,
    SymbolReader,
    SymbolWriter,
    transfer_mixture,
    transfer_table,
)
from codec.bitstream.rounding import SHIFT_BLOCK, SHIFT_STEP, in_double, safe_shift, transfer_shift
from codec.errors import BitstreamError
from codec.interface import Latents
from codec.networks.likelihoods import Z_REACH, StepMixture, in_steps

if TYPE_CHECKING:
    from codec.model import Codec

DRIFT = (
    "the file is intact, but this machine computes other entropy parameters than the one that wrote it, by more than "
    "the format allows for: decode it with the torch version and kind of processor that wrote it"
)


def write_symbols(codec: "Codec", latents: Latents, quality: Tensor) -> NDArray[np.uint32]:
    """Encode latents of batch 1, rounded to integers and clamped to what the format holds, at quality (1,)."""
    y, z = (v.round().clamp(-SYMBOL_MAX, SYMBOL_MAX) for v in latents)
    writer = SymbolWriter()
    transfer(in_double(codec), writer, (y.shape, z.shape), quality, Latents(y, z))
    return writer.finish()


def read_symbols(codec: "Codec", words: NDArray[np.uint32], width: int, height: int, quality: Tensor) -> Latents:
    """Decode the integer latents, batch 1, of a picture of width x height pixels at quality (1,).

    Raises:
        BitstreamError: the words do not decode, or not all of them are used: entropy parameters differ here.
    """
    reader = SymbolReader(words)
    try:
        latents = transfer(in_double(codec), reader, latent_shapes(codec.config, width, height), quality, None)
    except BitstreamError as error:
        raise BitstreamError(f"{DRIFT} ({error})") from error
    if not reader.exhausted():
        raise BitstreamError(DRIFT)
    return latents


def transfer(
    codec: "Codec",
    coder: RowCoder,
    shapes: tuple[Shape | torch.Size, Shape | torch.Size],
    quality: Tensor,
    latents: Latents | None,
) -> Latents:
    """Encode or decode every symbol of a picture in coding order; `latents` is None when decoding.

    Args:
        codec: in double precision, from `codec.bitstream.rounding.in_double`.
        coder: a writer with latents, or a reader.
        shapes: of y and z, batch 1.
        quality: (1,).
        latents: integers, fp32.

    Returns:
        The latents, integers in fp32.

    Raises:
        BitstreamError: entropy parameters that are not finite, or words that no writer could have written.
    """
    y_shape, z_shape = shapes
    z = code_z(codec, coder, z_shape, None if latents is None else latents.z)
    quality = quality.double()
    model = codec.context
    gains = codec.group_gains(quality, model.step_segments(*y_shape[2:]))
    rate_bias = codec.context_rate(quality)
    known = None if latents is None else model.tokens(latents.y)
    state = model.start(codec.features(z.to(quality), quality), rate_bias)
    coded = []
    for group, gain in enumerate(gains.split(1, 1)):
        mixture = in_steps(model.mixture(state), gain)
        token = code_group(coder, mixture, None if known is None else known[:, group])
        coded.append(token)
        state = model.step(state, token.to(quality) / gain.squeeze(4), rate_bias)
    y = model.latents(torch.cat(coded, 1), *y_shape[2:])
    return Latents(y.to(quality.device), z.to(quality.device))


def code_z(codec: "Codec", coder: RowCoder, shape: Shape | torch.Size, z: Tensor | None) -> Tensor:
    """Encode or decode z (1, C, h, w), each channel with a fixed row of frequencies; None when decoding."""
    table = codec.prior.rows.cpu().numpy().astype(np.float32).repeat(shape[2] * shape[3], axis=0)
    symbols = transfer_table(coder, table, Z_REACH, None if z is None else _symbols(z))
    return torch.from_numpy(symbols).float().reshape(shape)


def code_group(coder: RowCoder, mixture: StepMixture, token: Tensor | None) -> Tensor:
    """Encode or decode one group of y, a token (1, 1, h, w, p), in blocks that share a shift; None when decoding.

    Raises:
        BitstreamError: entropy parameters that are not finite.
    """
    if not all(math.isfinite(t.sum()) for t in mixture):
        raise BitstreamError("entropy parameters are not finite numbers: the weights do not suit this picture")
    at = positions(mixture)
    symbols = None if token is None else _symbols(token)
    values = np.zeros(len(at.means), dtype=np.int64)
    for start in range(0, len(values), SHIFT_BLOCK):
        block = slice(start, start + SHIFT_BLOCK)
        part = GridPositions(*(p[block] for p in at))
        values[block] = _code_block(coder, part, None if symbols is None else symbols[block])
    return torch.from_numpy(values).float().reshape(mixture.means[..., 0, :].shape)


def _code_block(coder: RowCoder, at: GridPositions, symbols: Ints | None) -> Ints:
    """Encode or decode the shift of a block's grid, then its symbols (N,); None when decoding."""
    shift = transfer_shift(coder, None if symbols is None else safe_shift(at))
    return transfer_mixture(coder, on_grid(at, shift * SHIFT_STEP), symbols)


def _symbols(x: Tensor) -> Ints:
    return x.flatten().long().cpu().numpy()
