"""Coding schedule of our own codec: the order in which the entropy model and the range coder take turns.

    z symbols -> h_s features -> for each group of y: mixture -> grid -> rows -> symbols -> context of the next group

`transfer` is that loop for both directions: the writer replays what the reader will do, with the symbols known, and
only the coder differs. It runs at batch 1 in double precision.
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
