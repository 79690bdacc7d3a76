"""Before the first step: a codec that starts as a good transform coder, or at least with latents of a useful size.

Measured on a small sibling of `base` (N = 32, M = 64) after 250 steps, cost at quality 4.5: the paper's networks as
drawn 20.3; scaled to latents of unit deviation 6.5; beside a linear path, which needs no learning to be there, 1.2.
"""

import numpy as np
import torch

from codec.klt import initialise_klt, klt_basis
from codec.model import STRIDE, Codec, set_gains_from_deviation
from codec.pixels import Samples
from codec.transforms import PaperAnalysis

SCALED_ON = 16  # photos that the latents' deviations are measured on
SIDE = 256  # pixels of what is taken of each


@torch.no_grad()
def initialise(codec: Codec, photos: list[Samples]) -> None:
    """KLT of the training photos for a linear path, unit deviations for the paper's networks, gains that suit both."""
    if isinstance(codec.g_a, PaperAnalysis):
        _scale_latents(codec.g_a, photos)
        set_gains_from_deviation(codec, klt_basis(photos, codec.config.latent)[1])
    else:
        initialise_klt(codec.g_a, codec.g_s, photos)  # type: ignore[arg-type]  # a linear path is all they share
        set_gains_from_deviation(codec, codec.g_a.deviation)  # type: ignore[arg-type]


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
