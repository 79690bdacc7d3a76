"""Optimiser of training: AdamW with three groups of parameters, each with a peak learning rate of its own.

Entropy networks learn fastest, then the nonlinear transforms; linear paths and gains, which start as a good transform
coder, move slowly.
"""

from typing import Any

import torch
from torch import Tensor

from codec.model import Codec
from codec.training.schedule import TrainConfig

BETAS = (0.9, 0.98)


def make_optimiser(codec: Codec, config: TrainConfig) -> torch.optim.AdamW:
    """Build AdamW over all parameters of a codec, at its peak rates."""
    return torch.optim.AdamW(_groups(codec, config), betas=BETAS, weight_decay=config.weight_decay, fused=True)


def configure(optimiser: torch.optim.AdamW, config: TrainConfig) -> None:
    """Set peak rates and weight decay to those of `config`, in place of those of a state that was loaded."""
    for group, peak in zip(optimiser.param_groups, _peaks(config), strict=True):
        group.update(peak=peak, weight_decay=config.weight_decay, fused=True)


def scale_rates(optimiser: torch.optim.AdamW, factor: float) -> None:
    """Set every learning rate to its peak times `factor`."""
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor


def _groups(codec: Codec, config: TrainConfig) -> list[dict[str, Any]]:
    """Return the groups entropy networks, nonlinear transforms, and linear paths with gains, in this order."""
    entropy, nonlinear, linear = list[Tensor](), list[Tensor](), list[Tensor]()
    has_linear_path = codec.config.transform != "paper"
    for name, parameter in codec.named_parameters():
        in_linear_path = has_linear_path and name.startswith(("g_a.l", "g_s.unlap", "g_s.linear"))
        if name.startswith("log_gain") or in_linear_path:
            linear.append(parameter)
        elif name.startswith(("g_a", "g_s")):
            nonlinear.append(parameter)
        else:
            entropy.append(parameter)
    groups = zip((entropy, nonlinear, linear), _peaks(config), strict=True)
    return [{"params": params, "lr": peak, "peak": peak} for params, peak in groups]


def _peaks(config: TrainConfig) -> tuple[float, float, float]:
    """Return the peak learning rates of the three groups."""
    return config.lr, config.lr_transform, config.lr_linear
