"""Descent on relaxed latents: Adam on y and z through a relaxation of rounding that hardens as the budget is spent.

    repeat:  y~, z~ <- relax(y, z, T(t))
             y, z   <- Adam step on  R(y~, z~) + lmbda * D(g_s(y~), x)
    keep the rounded y, z of least true cost

The way of the literature. In few steps `rdo.rdoq` gains much more; with some hundreds, a descent whose last tenth is a
search (`tail`) gains nearly as much.
"""

from collections.abc import Callable

import torch

from codec.interface import Latents
from rdo.config import Decay, RefineConfig
from rdo.objective import Best, Patience, Problem, keep_better, look
from rdo.relaxations import EXACT, RELAXATIONS, Name, ste
from rdo.schedules import Clock, cosine, geometric

DECAYS: dict[Decay, Callable[[float, float, float], float]] = {"cosine": cosine, "geometric": geometric}


@torch.enable_grad()
def descend(
    problem: Problem,
    start: Latents,
    best: Best,
    method: Name,
    config: RefineConfig,
    clock: Clock,
    progress: Callable[[int], None],
) -> Best:
    """Descend from unrounded latents `start` until the clock comes to the tail or patience ends; the best seen."""
    latents = Latents(*(t.clone().requires_grad_() for t in start))
    peaks = (config.lr_y, config.lr_z)
    optimiser = torch.optim.Adam(
        [{"params": [v], "lr": lr} for v, lr in zip(latents, peaks, strict=True)], betas=(config.beta1, config.beta2)
    )
    generator = torch.Generator(problem.x.device).manual_seed(config.seed)
    looks = look_times(config.checks)
    patience = Patience(config.patience, best)
    while (t := clock.t / (1 - config.tail)) < 1:
        if looks and looks[0] <= t:
            looks = [at for at in looks if at > t]
            best = look(problem, best, latents)
            if patience.spent(best):
                break
        for group, peak in zip(optimiser.param_groups, peaks, strict=True):
            group["lr"] = DECAYS[config.lr_fall](peak, peak * config.lr_end, t)
        temperature = geometric(config.temperature_start, config.temperature_end, t)
        exact = method in EXACT or t >= 1 - config.ste_tail
        relax = ste if exact else RELAXATIONS[method]
        pairs = zip(latents, problem.grid(latents), strict=True)
        relaxed = Latents(*(relax(v - g, temperature, generator) + g for v, g in pairs))
        now = problem.cost(relaxed)
        optimiser.zero_grad(set_to_none=True)
        now.total.sum().backward()
        if exact:
            best = keep_better(best, Latents(*(v.detach() for v in relaxed)), now)
        optimiser.step()
        clock.step += 1
        progress(clock.step)
    return look(problem, best, latents)


def look_times(checks: int) -> list[float]:
    """Fractions of the budget after which the true cost is looked at: `checks` of them, in its second half."""
    return [0.5 + 0.5 * i / checks for i in range(checks)]
