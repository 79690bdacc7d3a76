"""Before the first step: a codec that starts as a good transform coder, with latents of a useful size, or as another.

Measured on a small sibling of `base` (N = 32, M = 64) after 250 steps, cost at quality 4.5: the paper's networks as
drawn 20.3; scaled to latents of unit deviation 6.5; beside a linear path, which needs no learning to be there, 1.2.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from codec.architecture import STRIDE
from codec.errors import ConfigError
from codec.images.pixels import Samples
from codec.model import Codec, set_gains_from_deviation
from codec.networks.attention import Block
from codec.networks.groups import deal_channels
from codec.networks.lapped import klt_basis, set_klt
from codec.networks.transforms import PaperAnalysis, Residual

SCALED_ON = 16  # photos that the latents' deviations are measured on
SIDE = 256  # pixels of what is taken of each


@torch.no_grad()
def initialise(codec: Codec, photos: list[Samples]) -> None:
    """KLT of the training photos for a linear path, unit deviations for the paper's networks, gains that suit both."""
    order = deal_channels(codec.config.latent, codec.config.segments)
    kernel, deviation = (found[order] for found in klt_basis(photos, codec.config.latent))
    if isinstance(codec.g_a, PaperAnalysis):
        _scale_latents(codec.g_a, photos)
    else:
        set_klt(codec.g_a, codec.g_s, kernel, deviation)  # type: ignore[arg-type]  # both are lapped
    set_gains_from_deviation(codec, deviation)


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


def _scale_latents(analysis: PaperAnalysis, photos: list[Samples]) -> None:
    """Make each channel's mean 0 and deviation 1 on some photos, by its last layer."""
    latents = []
    for photo in photos[:: max(1, len(photos) // SCALED_ON)]:
        height, width = (min(SIDE, side // STRIDE * STRIDE) for side in photo.shape[:2])
        x = torch.from_numpy(np.ascontiguousarray(photo[:height, :width])).permute(2, 0, 1)[None] / 255
        latents.append(analysis(x, torch.full((1,), 4.5)).flatten(2))  # (1, M, h * w)
    deviation, mean = torch.std_mean(torch.cat(latents, 2), (0, 2))
    weight, bias = analysis.tail[-1].parameters()
    weight.div_(deviation[:, None, None, None])
    bias.sub_(mean).div_(deviation)
