"""Hyper-latents that the entropy model understands: where it strays from what it was trained on, others are tried.

z tells the entropy model how wide each y spreads. In training it saw the z of photographs alone; a z unlike those, as
some dark and smooth surfaces have, makes it expect spreads of thousands of deviations, and an area of next to no
content costs more than noise. Zeros in place of one or two channels of z mostly cost a hundredth. Here they are found
by the gradient of the price under the hyperprior alone. Where nothing strays, as on nearly all photographs, nothing is
changed, and all that it takes is one price.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.architecture import Y_PER_Z
from codec.interface import Latents, rate

if TYPE_CHECKING:
    from codec.model import Codec

SPREAD_MAX = 256.0  # deviations of a channel, mean of a mixture: photographs that cost what they should have up to 215
ROUNDS = 12  # of trials, each with one channel of z at every position that strays


def settled(codec: "Codec", latents: Latents, quality: Tensor) -> Latents:
    """Return latents with zeros for some of z where y costs less so, in bits; y, and all else of z, as they are.

    Args:
        latents: as `analyse` returns them, not rounded, of B images.
        quality: (B,).
    """
    y, z = (v.detach().round() for v in latents)
    strays = _strays(codec, y, z, quality)
    if not bool(strays.any()):
        return latents
    found = _search(codec, y, z, strays, quality)
    with torch.no_grad():
        before, after = (torch.stack(rate(codec, Latents(y, each), quality)).sum(0) for each in (z, found))
    replaced = (found != z) & (after < before)[:, None, None, None]
    return latents._replace(z=torch.where(replaced, 0, latents.z))


def _search(codec: "Codec", y: Tensor, z: Tensor, strays: Tensor, quality: Tensor) -> Tensor:
    """Return rounded z with zeros at positions that stray, as long as each zero lowers the price around it."""
    untried = torch.ones_like(z, dtype=torch.bool)
    bits, gradient = _priced(codec, y, z, quality)
    for _ in range(ROUNDS):
        may_change = (z != 0) & untried & strays
        if not bool(may_change.any()):
            break
        blame = torch.where(may_change, gradient * z, -torch.inf)  # bits that a zero is expected to save
        chosen = may_change & (blame == blame.amax(1, keepdim=True))
        untried &= ~chosen
        trial = torch.where(chosen, 0, z)
        trial = torch.where(_around(_priced(codec, y, trial, quality)[0]) < _around(bits), trial, z)
        trial_bits, trial_gradient = _priced(codec, y, trial, quality)
        if bool(trial_bits.sum() < bits.sum()):
            z, bits, gradient = trial, trial_bits, trial_gradient
            strays = _strays(codec, y, z, quality)
    return z


@torch.enable_grad()
def _priced(codec: "Codec", y: Tensor, z: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bits under the hyperprior alone at each position of z (B, 1, h, w), and the gradient of their sum."""
    free = z.clone().requires_grad_()
    y_bits = codec.y_bits(y, codec.mixture(y, free, quality, context=False)).sum(1, keepdim=True)
    bits = Y_PER_Z**2 * F.avg_pool2d(y_bits, Y_PER_Z) + codec.z_bits(free, quality).sum(1, keepdim=True)
    (gradient,) = torch.autograd.grad(bits.sum(), free)
    return bits.detach(), gradient


def _around(bits: Tensor) -> Tensor:
    """Return the sums over a position and its neighbours, as far as `h_s` spreads what z tells."""
    return F.avg_pool2d(bits, 3, stride=1, padding=1)


def _strays(codec: "Codec", y: Tensor, z: Tensor, quality: Tensor) -> Tensor:
    """Mark the positions of z (B, 1, h, w) around which a spread is out of all proportion."""
    with torch.no_grad():
        mixture = codec.mixture(y, z, quality, context=False)
        size = y.shape[2:]
        gains = codec.group_gains(quality, codec.context.step_segments(*size)).squeeze(4)
        spreads = codec.context.latents((mixture.weights * mixture.scales).sum(-2) / gains, *size)
    widest = F.max_pool2d(spreads.amax(1, keepdim=True), Y_PER_Z)
    return F.max_pool2d((widest > SPREAD_MAX).float(), 3, stride=1, padding=1) > 0
