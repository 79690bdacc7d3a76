"""Relaxations of rounding: what the networks see in place of an integer while latents are optimised.

Each takes latents of any shape, a temperature and a generator on their device, and returns relaxed latents of the same
shape whose gradient flows to the input. Adding one is adding a function and its name.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Relaxation = Callable[[Tensor, float, torch.Generator], Tensor]
Name = Literal["ste", "sga"]

_EDGE = 1e-4  # atanh stays finite this close to an integer


def ste(latent: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Straight-through rounding: the value of round(v), the gradient of v. Temperature and noise play no part.

    Source: the paper's oRDO (arXiv:2306.14287). Its loss is the true loss, at every step.
    """
    return latent + (latent.round() - latent).detach()


def sga(latent: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Stochastic Gumbel annealing: a relaxed sample of floor or ceiling, likelier the nearer, sharper the colder.

    With d the distance to a neighbour, its logit is -atanh(d) / T; the Gumbel-softmax of two classes is a logistic
    sigmoid of their difference plus logistic noise. T -> 0 gives nearest rounding, T -> infinity a uniform mixture.

    Source: Yang, Bamler and Mandt, "Improving inference for neural image compression", arXiv:2006.04240, section 3.2.
    """
    floor = latent.detach().floor()
    up = (latent - floor).clamp(_EDGE, 1 - _EDGE)  # distance to the floor
    difference = (torch.atanh(up) - torch.atanh(1 - up)) / temperature  # logit of the ceiling less that of the floor
    uniform = torch.rand(latent.shape, generator=generator, device=latent.device).clamp(1e-6, 1 - 1e-6)
    return floor + torch.sigmoid((difference + uniform.logit()) / temperature)


RELAXATIONS: dict[Name, Relaxation] = {"ste": ste, "sga": sga}
EXACT: frozenset[Name] = frozenset({"ste"})  # relaxed values are integers, so the step's cost is the true cost
