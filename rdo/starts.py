"""Starts of a refinement: plain encoding, and other latents of pictures that are hard for the networks.

A codec that was trained on photographs may do harm to other pictures: what its networks add to a linear path can be
noise, and so can its hyper-latents. A picture's start is the cheapest, by bpp + lmbda * distortion, of

    y of              z of            decoded by
    the analysis      the analysis    the networks              plain encoding
    the linear path   the analysis    the networks
    the linear path   0               the networks
    the linear path   the analysis    the linear path           the linear gain profile, `Refinable.linear_profile`
    the linear path   0               the linear path

The invariant: others than plain encoding are tried only where the linear path decodes plain latents about as well as
the networks do, which a photograph's never does, so that they cost photographs one pass of the linear path.
"""

from collections.abc import Callable
from itertools import product
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from codec.arithmetic import coding_arithmetic
from codec.images.pixels import pad
from codec.interface import Latents, Priced, Refinable, unrounded_latents
from rdo.objective import Best, Cost, Problem, keep_better, priced, select

OwnCodec = TypeVar("OwnCodec", bound=Refinable)

# greatest distortion by the linear path, over that by the networks, of a picture that is hard for these. The least of
# photographs at qualities 1, 4.5 and 8 was 1.10 with `small` (of 72), 1.05 with `small-ms-ssim` (32), 1.19 with
# `base-skip` (18)
HARD_RATIO = 1.05


class Start(NamedTuple):
    """Analysis of B images, unrounded, and the rounded latents to begin with, with their cost."""

    analysed: Latents
    plain: Best

    def of_images(self, images: list[int]) -> "Start":
        """Return the start of some of the images, by their indices."""
        latents, cost = self.plain
        best = Best(Latents(*(v[images] for v in latents)), Cost(*(v[images] for v in cost)))
        return Start(Latents(*(v[images] for v in self.analysed)), best)


class ChosenStart(NamedTuple):
    """Start of B images, and the gain profile that each is coded with."""

    start: Start
    profiles: list[int]


@torch.no_grad()
def choose_start(
    codec: Refinable, problem: Problem, start: Start, decoder_of: Callable[[Refinable], Priced]
) -> ChosenStart:
    """Return the cheapest start of each image: plain encoding, unless the picture is hard and another costs less.

    Args:
        codec: frozen codec.
        problem: of the images and this codec, its metric fitted to them.
        start: plain encoding by this codec.
        decoder_of: makes the `codec` of a problem from a codec with another gain profile.
    """
    profiles = [codec.gain_profile] * len(problem.x)
    if codec.linear_profile is None or codec.gain_profile == codec.linear_profile:
        return ChosenStart(start, profiles)
    hard = are_hard(codec, problem, start.plain.latents, start.plain.cost.distortion)
    if not bool(hard.any()):
        return ChosenStart(start, profiles)
    with coding_arithmetic():
        for tried, candidate in linear_starts(
            codec, lambda linear: unrounded_latents(linear, pad(problem.x, linear.stride), problem.quality)
        ):
            other = problem._replace(codec=decoder_of(tried))
            latents, cost = priced(other, other.rounded(candidate))
            cost = cost._replace(total=torch.where(hard, cost.total, torch.inf))
            cheaper = cost.total < start.plain.cost.total
            profiles = [tried.gain_profile if new else old for new, old in zip(cheaper, profiles, strict=True)]
            start = Start(select(cheaper, candidate, start.analysed), keep_better(start.plain, latents, cost))
    return ChosenStart(start, profiles)


def linear_starts(codec: OwnCodec, analyse: Callable[[OwnCodec], Latents]) -> list[tuple[OwnCodec, Latents]]:
    """Return the starts along the linear path, all but the first of those above: a codec, and latents for it.

    Args:
        codec: frozen codec that has a linear gain profile.
        analyse: gives the latents of a codec's analysis.
    """
    assert codec.linear_profile is not None
    linear = codec.with_gain_profile(codec.linear_profile)
    analysed = analyse(linear)
    without_z = analysed._replace(z=torch.zeros_like(analysed.z))
    decoders = (codec, linear) if codec.gain_profile == 0 else (linear,)
    return list(product(decoders, (analysed, without_z)))


@torch.no_grad()
def are_hard(codec: Refinable, problem: Problem, latents: Latents, distortion: Tensor) -> Tensor:
    """Tell for each image whether the linear path decodes it about as well as the networks do, (B,).

    Args:
        codec: frozen codec that has a linear gain profile.
        problem: of the images.
        latents: rounded, of the codec's analysis.
        distortion: of what the networks decode from them, (B,).
    """
    assert codec.linear_profile is not None
    with coding_arithmetic():
        linear = codec.with_gain_profile(codec.linear_profile)
        return problem._replace(codec=linear).distortion(latents) <= HARD_RATIO * distortion
