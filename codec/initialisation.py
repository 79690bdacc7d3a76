"""Before the first step: a codec that starts as a good transform coder, with latents of a useful size, or as another.

Measured on a small sibling of `base` (N = 32, M = 64) after 250 steps, cost at quality 4.5: the paper's networks as
drawn 20.3; scaled to latents of unit deviation 6.5; beside a linear path, which needs no learning to be there, 1.2.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from codec.attention import Block
from codec.errors import ConfigError
from codec.klt import initialise_klt, klt_basis
from codec.model import STRIDE, Codec, set_gains_from_deviation
from codec.pixels import Samples
from codec.transforms import PaperAnalysis, Residual

SCALED_ON = 16  # photos that the latents' deviations are measured on
Z_DEVIATION = 2.0  # of z, which as drawn rounds to zero nearly everywhere, and then says nothing that `h_s` could learn
SIDE = 256  # pixels of what is taken of each


@torch.no_grad()
def initialise(codec: Codec, photos: list[Samples]) -> None:
    """KLT of the training photos for a linear path, useful deviations of y and z, gains that suit both."""
    some = [_corner(photo) for photo in photos[:: max(1, len(photos) // SCALED_ON)]]
    quality = torch.full((1,), 4.5)
    if isinstance(codec.g_a, PaperAnalysis):
        _scale(codec.g_a.tail[-1], [codec.g_a(x, quality) for x in some], 1.0)
        set_gains_from_deviation(codec, klt_basis(photos, codec.config.latent)[1])
    else:
        initialise_klt(codec.g_a, codec.g_s, photos)  # type: ignore[arg-type]  # a linear path is all they share
        set_gains_from_deviation(codec, codec.g_a.deviation)  # type: ignore[arg-type]
    _scale(codec.h_a.rest[-1], [codec.analyse(x, quality).z for x in some], Z_DEVIATION)


@torch.no_grad()
def grow(codec: Codec, smaller: Codec) -> None:
    """Make `codec` compute what a shallower one does: its weights, and identities in the blocks that are new.

    Raises:
        ConfigError: the two differ in more than greater depth.
    """
    depths = ("analysis_blocks", "synthesis_blocks", "context_depth")
    kept = {name: getattr(codec.config, name) for name in ("name", "distortion", *depths)}
    shrunk = any(getattr(smaller.config, depth) > kept[depth] for depth in depths)
    if shrunk or replace(smaller.config, **kept) != codec.config:
        raise ConfigError(f"{codec.config.name}: may differ from the model to start from in greater depths alone")
    new = {name: block for name, block in _blocks(codec).items() if name not in _blocks(smaller)}
    for block in new.values():
        for parameter in _last_layers(block):
            parameter.zero_()
    codec.load_state_dict({**codec.state_dict(), **smaller.state_dict()})


def _blocks(codec: Codec) -> dict[str, Residual | Block]:
    return {name: module for name, module in codec.named_modules() if isinstance(module, Residual | Block)}


def _last_layers(block: Residual | Block) -> list[Tensor]:
    """Parameters of what is added to the block's input."""
    layers = [block.second] if isinstance(block, Residual) else [block.project, block.mlp[-1]]
    return [parameter for layer in layers for parameter in layer.parameters()]


def _corner(photo: Samples) -> Tensor:
    """The top left of a photo, (1, 3, h, w) in [0, 1]."""
    height, width = (min(SIDE, side // STRIDE * STRIDE) for side in photo.shape[:2])
    return torch.from_numpy(np.ascontiguousarray(photo[:height, :width])).permute(2, 0, 1)[None] / 255


def _scale(layer: nn.Module, latents: list[Tensor], deviation: float) -> None:
    """Change the layer that made these latents, each (1, C, h, w): mean 0 and the same deviation for each channel."""
    spread, mean = torch.std_mean(torch.cat([v.flatten(2) for v in latents], 2), (0, 2))
    weight, bias = layer.parameters()
    weight.mul_(deviation / spread[:, None, None, None])
    bias.sub_(mean).mul_(deviation / spread)
