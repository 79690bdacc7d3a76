"""Choice of a gain profile for each picture: the one whose plain encoding has the lowest cost."""

import torch
from torch import Tensor

from codec.arithmetic import coding_arithmetic
from codec.coding import plain_latents
from codec.interface import Refinable
from rdo.distortion import Distortion
from rdo.objective import Problem


@torch.no_grad()
def choose_gain_profiles(
    codec: Refinable, x: Tensor, quality: float, *, lmbda: float, distortion: Distortion, profiles: tuple[int, ...]
) -> list[int]:
    """Return the profile of each image, by bpp + lmbda * distortion of its plain encodings.

    Args:
        codec: frozen codec.
        x: images (B, 3, H, W) in [0, 1], on the codec's device and unpadded.
        quality: level in 1..8.
        lmbda: weight of the distortion against bpp.
        distortion: fitted to the images.
        profiles: at least one.
    """
    if len(profiles) == 1:
        return [profiles[0]] * len(x)
    costs = []
    with coding_arithmetic():
        for profile in profiles:
            profiled = codec.with_gain_profile(profile)
            level = profiled.level(quality).expand(len(x))
            problem = Problem(profiled, x, level, torch.full_like(level, lmbda), distortion)
            costs.append(problem.cost(plain_latents(profiled, x, level)).total)
    return [profiles[index] for index in torch.stack(costs).argmin(0).tolist()]
