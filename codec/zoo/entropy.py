"""Entropy parameters of CompressAI's models: scales and means of y, in one pass or in a decoder's order.

    y_hat = round(y - means) + means        means from z_hat and, where there is a context model, from the y_hat before

Given y_hat, one pass over all of it gives the parameters of each latent exactly. Given only y, the latents are rounded
one after another as in a decoder, since each mean depends on the latents before it. `entropy` does either.
"""

from typing import Any, NamedTuple

import torch
from compressai.latent_codecs import ChannelGroupsLatentCodec, CheckerboardLatentCodec
from compressai.models import (
    CompressionModel,
    JointAutoregressiveHierarchicalPriors,
    MeanScaleHyperprior,
    SimpleVAECompressionModel,
)
from torch import Tensor
from torch.nn import functional as F


class Gaussian(NamedTuple):
    """Entropy parameters of y, to be broadcast to (B, M, h, w)."""

    scales: Tensor
    means: Tensor


def has_means(model: CompressionModel) -> bool:
    """Tell whether predicted means shift the grid of y; the scale hyperprior rounds to integers."""
    return isinstance(model, MeanScaleHyperprior | SimpleVAECompressionModel)


def hyper_module(model: CompressionModel) -> Any:
    """Return the module that owns h_a and h_s."""
    return model.latent_codec["hyper"] if isinstance(model, SimpleVAECompressionModel) else model


def entropy(model: CompressionModel, y: Tensor, z_hat: Tensor, follow: bool) -> Gaussian:
    """Return the scales and means of y_hat.

    Args:
        y: y_hat itself; or, to `follow` a decoder, unrounded y, each rounded before the next is predicted from it.
    """
    raw = hyper_module(model).h_s(z_hat)
    if isinstance(model, SimpleVAECompressionModel):
        coder = model.latent_codec["y"]
        grouped = isinstance(coder, ChannelGroupsLatentCodec)
        return _grouped(coder, y, raw, follow) if grouped else _checkerboard(coder, y, raw, follow)
    if isinstance(model, JointAutoregressiveHierarchicalPriors):
        return _raster(model, y, raw) if follow else _aggregate(model, model.context_prediction(y), raw)
    return Gaussian(*raw.chunk(2, 1)) if has_means(model) else Gaussian(raw, raw.new_zeros(()))


def _aggregate(model: CompressionModel, context: Tensor, side: Tensor) -> Gaussian:
    return Gaussian(*model.entropy_parameters(torch.cat((side, context), 1)).chunk(2, 1))


def _raster(model: CompressionModel, y: Tensor, side: Tensor) -> Gaussian:
    """Predict and round y in raster order: the context of (i, j) is two rows above, 2 to each side, and 2 before it.

    All positions of one j + 3 i depend on earlier ones only, and are done at once.
    """
    height, width = y.shape[-2:]
    weight = model.context_prediction.weight
    y_hat = F.pad(torch.zeros_like(y), (2, 2, 2, 2))
    found = Gaussian(torch.zeros_like(y), torch.zeros_like(y))
    window = torch.arange(5, device=y.device)
    for front in range(width + 3 * (height - 1)):
        rows = torch.arange(max(0, -(-(front - width + 1) // 3)), min(height - 1, front // 3) + 1, device=y.device)
        cols = front - 3 * rows
        seen = y_hat[:, :, (rows[:, None] + window)[:, :, None], (cols[:, None] + window)[:, None]]  # (B, M, n, 5, 5)
        context = torch.einsum("bmnij,omij->bon", seen, weight) + model.context_prediction.bias[:, None]
        now = _aggregate(model, context[..., None], side[:, :, rows, cols, None])  # (B, M, n, 1)
        for whole, part in zip(found, now, strict=True):
            whole[:, :, rows, cols] = part[..., 0]
        means = now.means[..., 0]
        y_hat[:, :, rows + 2, cols + 2] = (y[:, :, rows, cols] - means).round() + means
    return found


def _checkerboard(coder: CheckerboardLatentCodec, y: Tensor, side: Tensor, follow: bool) -> Gaussian:
    """Predict the anchors without context, then the non-anchors from them."""

    def once(y_hat: Tensor) -> Gaussian:
        context = coder.context_prediction(coder._keep_only(y_hat, "anchor"))
        raw = coder.entropy_parameters(coder.merge(coder._keep_only(context, "non_anchor"), side))
        return Gaussian(*coder.latent_codec["y"]._chunk(raw))

    return once(_round_to_grid(y, once(y)) if follow else y)


def _grouped(coder: ChannelGroupsLatentCodec, y: Tensor, side: Tensor, follow: bool) -> Gaussian:
    """Predict the channel groups in order, each from the groups before it."""
    done: list[Tensor] = []
    found = []
    for k, part in enumerate(y.split(coder.groups, 1)):
        seen = coder._get_ctx_params(k, side, done)
        found.append(_checkerboard(coder.latent_codec[f"y{k}"], part, seen, follow))
        done.append(_round_to_grid(part, found[-1]) if follow else part)
    return Gaussian(*(torch.cat(parts, 1) for parts in zip(*found, strict=True)))


def _round_to_grid(y: Tensor, at: Gaussian) -> Tensor:
    return (y - at.means).round() + at.means
