"""Hyper-latents that the entropy model understands: where it strays from what it was trained on, others are tried.

z tells the entropy model how wide each y spreads. A z unlike those it saw in training, as some dark and smooth surfaces
have, makes it expect spreads of thousands of deviations, and an area of next to no content costs more than noise. Zeros
in place of one or two channels of z mostly cost a hundredth. Here they are found by the gradient of the price under the
hyperprior alone. Where nothing strays, as on most photographs, nothing is changed, and all that it takes is a look at
the spreads.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.architecture import Y_PER_Z
from codec.interface import Latents
from codec.networks.likelihoods import StepMixture

if TYPE_CHECKING:
    from codec.model import Codec

SPREAD_MAX = 256.0  # deviations of a channel, mean of a mixture: photographs that cost what they should have up to 215
ROUNDS = 12  # of trials, each with one channel of z at every position that strays
SAVING = 0.5  # least fraction of an image's bits where it strays that zeros must save: they save nearly all, or little


class _Price(NamedTuple):
    """Bits under the hyperprior alone at each position of z and marks of those that stray, (B, 1, h, w) each.

    `gradient` (B, N_h, h, w) is that of the sum of all bits.
    """

    bits: Tensor
    strays: Tensor
    gradient: Tensor


def settled(codec: "Codec", latents: Latents, quality: Tensor) -> Latents:
    """Return latents with zeros for some of z where y costs far less so; y, and all else of z, as they are.

    Args:
        latents: as `analyse` returns them, not rounded, of B images.
        quality: (B,).
    """
    y, z = (v.detach().round() for v in latents)
    with torch.no_grad():
        strays = _strays(codec, codec.mixture(y, z, quality, context=False), quality, y.shape)
    if not bool(strays.any()):
        return latents
    return latents._replace(z=torch.where(_search(codec, y, z, quality) != z, 0, latents.z))


def _search(codec: "Codec", y: Tensor, z: Tensor, quality: Tensor) -> Tensor:
    """Return rounded z with zeros at positions that stray, as long as each zero lowers the price around it."""
    found, untried = z, torch.ones_like(z, dtype=torch.bool)
    start = price = _priced(codec, y, z, quality)
    for _ in range(ROUNDS):
        may_change = (found != 0) & untried & price.strays
        if not bool(may_change.any()):
            break
        blame = torch.where(may_change, price.gradient * found, -torch.inf)  # bits that a zero is expected to save
        chosen = may_change & (blame == blame.amax(1, keepdim=True))
        untried &= ~chosen
        trial = torch.where(chosen, 0, found)
        tried = _priced(codec, y, trial, quality)
        dearer = _around(tried.bits) >= _around(price.bits)
        if bool((chosen & dearer).any()):
            trial = torch.where(dearer, found, trial)
            tried = _priced(codec, y, trial, quality)
        cheaper = _total(tried.bits) < _total(price.bits)
        found = torch.where(cheaper, trial, found)
        price = _Price(*(torch.where(cheaper, new, old) for new, old in zip(tried, price, strict=True)))
    before, after = (_total(each.bits * start.strays) for each in (start, price))
    return torch.where(after < (1 - SAVING) * before, found, z)


@torch.enable_grad()
def _priced(codec: "Codec", y: Tensor, z: Tensor, quality: Tensor) -> _Price:
    """Price rounded latents."""
    free = z.clone().requires_grad_()
    mixture = codec.mixture(y, free, quality, context=False)
    y_bits = codec.y_bits(y, mixture).sum(1, keepdim=True)
    bits = Y_PER_Z**2 * F.avg_pool2d(y_bits, Y_PER_Z) + codec.z_bits(free, quality).sum(1, keepdim=True)
    (gradient,) = torch.autograd.grad(bits.sum(), free)
    with torch.no_grad():
        return _Price(bits.detach(), _strays(codec, mixture, quality, y.shape), gradient)


def _strays(codec: "Codec", mixture: StepMixture, quality: Tensor, shape: torch.Size) -> Tensor:
    """Mark the positions of z (B, 1, h, w) around which a spread of y, of this shape, is out of all proportion."""
    gains = codec.group_gains(quality, codec.context.step_segments(*shape[2:])).squeeze(4)
    spreads = codec.context.latents((mixture.weights * mixture.scales).sum(-2) / gains, *shape[2:])
    widest = F.max_pool2d(spreads.amax(1, keepdim=True), Y_PER_Z)
    return F.max_pool2d((widest > SPREAD_MAX).float(), 3, stride=1, padding=1) > 0


def _around(bits: Tensor) -> Tensor:
    """Return the means over a position and its neighbours, as far as `h_s` spreads what z tells."""
    return F.avg_pool2d(bits, 3, stride=1, padding=1)


def _total(bits: Tensor) -> Tensor:
    """Return the sum of each image, (B, 1, 1, 1)."""
    return bits.sum((1, 2, 3), keepdim=True)
