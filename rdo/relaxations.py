"""Relaxations of rounding: differentiable stand-ins for integer latents while latents are optimised.

Each takes latents of any shape, a temperature and a generator on their device, and returns relaxed latents of the same
shape whose gradient flows to the input. One of your own is named `package.module:function` where the others have their
names: as the method of `RefineConfig`, in YAML, and as `rdo-encode --method`. To add one here, add a function, its
`Name`, and its entry in RELAXATIONS.

The annealed ones share a form: with d the distance to a candidate integer, a class has the logit f(d) / T, and the
relaxed latent is the mean of the candidates under a softmax of the logits, or under a Gumbel-softmax sample of it.
T -> 0 gives nearest rounding, T -> infinity a uniform mixture. They differ in f:

    atanh    -atanh(d)                                        SGA, arXiv:2006.04240, section 3.2
    linear   log(1 - d)                                       SGA+, arXiv:2401.17789
    cosine   log cos^2(pi d / 2)                              SGA+
    ssl      log sigmoid(-a logit(d)) = -log(1 + (d/(1-d))^a)   SGA+, the sigmoid-scaled logit
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.errors import ConfigError
from codec.own_functions import import_function, is_function_name

Relaxation = Callable[[Tensor, float, torch.Generator], Tensor]
Name = Literal[
    "ste", "noise", "sga", "annealing", "linear", "cosine", "ssl", "linear3", "cosine3", "ssl3", "soft_round"
]

SSL_SHAPE = 2.3  # a, as its authors set it
_EDGE = 1e-4  # logits stay finite this close to an integer


def ste(latent: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Round straight through: the value of round(v), the gradient of v. Temperature and noise play no part.

    Source: the paper's oRDO (arXiv:2306.14287). Its loss is the true loss, at every step.
    """
    return latent + (latent.round() - latent).detach()


def noise(latent: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Add uniform noise one quantisation step wide, as in training, at any temperature.

    Source: Campos et al., "Content adaptive optimization for neural image compression", arXiv:1906.01223.
    """
    return latent + uniform(latent, generator) - 0.5


def soft_round(latent: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Round softly, add uniform noise `temperature` wide, round softly again; all sharpen as T -> 0.

    s_T(v) = floor(v) + 1/2 + tanh((v - floor(v) - 1/2) / T) / (2 tanh(1 / (2 T))): identity for T -> infinity, rounding
    for T -> 0.

    Source: Agustsson and Theis, "Universally quantized neural compression", arXiv:2006.09952, as used by C3.
    """
    noisy = _soften(latent, temperature) + temperature * (uniform(latent, generator) - 0.5)
    return _soften(noisy, temperature)


def annealed(
    latent: Tensor, temperature: float, generator: torch.Generator, logit: Callable[[Tensor], Tensor], sampled: bool
) -> Tensor:
    """Average floor and ceiling under the softmax of logit(d) / T, or under a Gumbel-softmax sample (`sampled`).

    With two classes a softmax is a sigmoid of the difference, and the difference of two Gumbels is logistic.
    """
    floor = latent.detach().floor()
    up = (latent - floor).clamp(_EDGE, 1 - _EDGE)  # distance to the floor
    difference = (logit(1 - up) - logit(up)) / temperature  # logit of the ceiling less that of the floor
    if sampled:
        difference = (difference + uniform(latent, generator).clamp(1e-6, 1 - 1e-6).logit()) / temperature
    return floor + torch.sigmoid(difference)


def annealed3(
    latent: Tensor, temperature: float, generator: torch.Generator, logit: Callable[[Tensor], Tensor]
) -> Tensor:
    """Average the nearest integer r and r - 1, r + 1 under a Gumbel-softmax sample.

    Distances reach 3/2 there, so they are scaled by 2/3 into the range of `logit`, which is scaled by 3/2 to keep its
    slope at 0: our reading of the three-class extension of SGA+ (arXiv:2401.17789).
    """
    offsets = torch.tensor([-1.0, 0.0, 1.0], device=latent.device)
    candidates = latent.detach().round()[..., None] + offsets
    distance = ((latent[..., None] - candidates).abs() / 1.5).clamp(_EDGE, 1 - _EDGE)
    gumbel = -(-uniform(candidates, generator).clamp(1e-6, 1 - 1e-6).log()).log()
    chances = torch.softmax((1.5 * logit(distance) / temperature + gumbel) / temperature, -1)
    return (chances * candidates).sum(-1)


def atanh_logit(d: Tensor) -> Tensor:
    """Return -atanh(d), d in (0, 1)."""
    return -torch.atanh(d)


def linear_logit(d: Tensor) -> Tensor:
    """Return log(1 - d), d in [0, 1)."""
    return torch.log1p(-d)


def cosine_logit(d: Tensor) -> Tensor:
    """Return log cos^2(pi d / 2), d in [0, 1)."""
    return 2 * torch.log(torch.cos(torch.pi / 2 * d))


def ssl_logit(d: Tensor) -> Tensor:
    """Return log sigmoid(-a logit(d)), d in (0, 1)."""
    return F.logsigmoid(-SSL_SHAPE * torch.logit(d))


def _soften(v: Tensor, temperature: float) -> Tensor:
    floor = v.detach().floor()
    scale = torch.tanh(torch.tensor(0.5 / temperature, device=v.device))
    return floor + 0.5 + 0.5 * torch.tanh((v - floor - 0.5) / temperature) / scale


def uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    """Sample noise in 0..1 for latents (B, ...), equal for all images: a result does not depend on its batch."""
    return torch.rand(like.shape[1:], generator=generator, device=like.device).expand_as(like)


sga = partial(annealed, logit=atanh_logit, sampled=True)
RELAXATIONS: dict[Name, Relaxation] = {
    "ste": ste,
    "noise": noise,
    "soft_round": soft_round,
    "sga": sga,
    "annealing": partial(annealed, logit=atanh_logit, sampled=False),
    "linear": partial(annealed, logit=linear_logit, sampled=True),
    "cosine": partial(annealed, logit=cosine_logit, sampled=True),
    "ssl": partial(annealed, logit=ssl_logit, sampled=True),
    "linear3": partial(annealed3, logit=linear_logit),
    "cosine3": partial(annealed3, logit=cosine_logit),
    "ssl3": partial(annealed3, logit=ssl_logit),
}
EXACT: frozenset[Name] = frozenset({"ste"})  # relaxed values are integers, so the step's cost is the true cost


def relaxation_of(name: str) -> Relaxation:
    """Return the relaxation of a name, or the function that `package.module:function` names, its results checked.

    Raises:
        ConfigError: no such name, module or function.
    """
    if name in RELAXATIONS:
        return RELAXATIONS[name]
    if not is_function_name(name):
        raise ConfigError(f"{name!r}: must be one of {', '.join(RELAXATIONS)}, or package.module:function")
    return partial(_checked, import_function(name, "relaxes latents (latent, temperature, generator)"), name)


def _checked(function: Relaxation, name: str, latent: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Call a relaxation of one's own.

    Raises:
        ConfigError: it returns no latents of the same shape, or such that no gradient can flow to the input.
    """
    relaxed = function(latent, temperature, generator)
    if not isinstance(relaxed, Tensor) or relaxed.shape != latent.shape:
        found = f"latents {tuple(relaxed.shape)}" if isinstance(relaxed, Tensor) else f"a {type(relaxed).__name__}"
        raise ConfigError(f"{name}: returns {found}: must return relaxed latents {tuple(latent.shape)}")
    if latent.requires_grad and not relaxed.requires_grad:
        raise ConfigError(f"{name}: returns latents without a gradient: compute them from `latent`, undetached")
    return relaxed
