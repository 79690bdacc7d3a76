"""Gradient descent on relaxed latents: Adam on y and z through a relaxation of rounding that hardens over the budget.

    repeat:  y~, z~ <- relax(y, z, T(t))
             y, z   <- Adam step on  R(y~, z~) + lmbda * D(g_s(y~), x)
    keep the rounded y, z of the lowest true cost

This is how the literature refines latents. In few steps the discrete search (`rdo.rdoq`) gains much more; with some
hundreds, a descent whose last tenth is that search (`tail`) gains nearly as much.
"""

from collections.abc import Callable

import torch

from codec.interface import Latents
from rdo.config import Decay, RefineConfig
from rdo.objective import Best, Observe, Patience, Problem, keep_better, keep_if_better
from rdo.relaxations import EXACT, relaxation_of, ste
from rdo.resuming import Snapshots, State, Tensors, kept_nowhere, named
from rdo.schedules import Clock, cosine, geometric

DECAYS: dict[Decay, Callable[[float, float, float], float]] = {"cosine": cosine, "geometric": geometric}


@torch.enable_grad()
def descend(
    problem: Problem,
    start: Latents,
    best: Best,
    *,
    method: str,
    config: RefineConfig,
    clock: Clock,
    progress: Callable[[int], None],
    observe: Observe | None = None,
    snapshots: Snapshots | None = None,
) -> Best:
    """Descend until the clock reaches the tail or early stopping ends it, and return the best latents seen.

    Args:
        start: unrounded latents to start from.
        best: rounded latents to improve on.
        progress: called with the number of each step.
        observe: called with the number of each step and the cost (B,) of the relaxed latents.
        snapshots: saved states of this refinement, to go on from and to add to.
    """
    relaxed_by = relaxation_of(method)
    latents = Latents(*(t.clone().requires_grad_() for t in start))
    peaks = (config.lr_y, config.lr_z)
    optimiser = torch.optim.Adam(
        [{"params": [v], "lr": lr} for v, lr in zip(latents, peaks, strict=True)], betas=(config.beta1, config.beta2)
    )
    generator = torch.Generator(problem.x.device).manual_seed(config.seed)
    checks = check_times(config.checks)
    patience = Patience(config.patience, best)
    if snapshots and snapshots.state and snapshots.state.stage == "descent":
        _restore(snapshots.state, latents, optimiser, generator)
        best = keep_if_better(problem, best, snapshots.state.latents("best", problem.x.device))
        checks = [at for at in checks if at > clock.t / (1 - config.tail)]
    kept = snapshots.kept if snapshots else kept_nowhere
    with kept("descent", clock, lambda: _state(latents, best, optimiser, generator)) as keep:
        while (t := clock.t / (1 - config.tail)) < 1:
            if checks and checks[0] <= t:
                checks = [at for at in checks if at > t]
                best = keep_if_better(problem, best, latents)
                if patience.spent(best):
                    break
            keep()
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = DECAYS[config.lr_fall](peak, peak * config.lr_end, t)
            temperature = geometric(config.temperature_start, config.temperature_end, t)
            exact = method in EXACT or t >= 1 - config.ste_tail
            relax = ste if exact else relaxed_by
            pairs = zip(latents, problem.grid(latents), strict=True)
            relaxed = Latents(*(relax(v - g, temperature, generator) + g for v, g in pairs))
            cost = problem.cost(relaxed)
            optimiser.zero_grad(set_to_none=True)
            cost.total.sum().backward()
            if exact:  # relaxed latents are rounded ones, so this cost is true
                best = keep_better(best, Latents(*(v.detach() for v in relaxed)), cost)
            optimiser.step()
            clock.step += 1
            progress(clock.step)
            if observe is not None:
                observe(clock.step, cost.total.detach())
    return keep_if_better(problem, best, latents)


def _state(latents: Latents, best: Best, optimiser: torch.optim.Adam, generator: torch.Generator) -> Tensors:
    """Return copies of all that the next steps depend on."""
    tensors = {**named("latents", latents), **named("best", best.latents), "noise": generator.get_state()}
    for index, v in enumerate(latents):
        for name, average in optimiser.state.get(v, {}).items():
            tensors[f"adam.{index}.{name}"] = average
    return {name: t.detach().clone() for name, t in tensors.items()}


def _restore(state: State, latents: Latents, optimiser: torch.optim.Adam, generator: torch.Generator) -> None:
    """Set latents, the optimiser's averages and the noise to those of a state."""
    with torch.no_grad():
        for v, saved in zip(latents, state.latents("latents", latents.y.device), strict=True):
            v.copy_(saved)
    for index, v in enumerate(latents):
        prefix = f"adam.{index}."
        own = {name.removeprefix(prefix): t for name, t in state.tensors.items() if name.startswith(prefix)}
        if own:
            optimiser.state[v] = {name: t if name == "step" else t.to(v.device) for name, t in own.items()}
    generator.set_state(state.tensors["noise"])


def check_times(checks: int) -> list[float]:
    """Return the fractions of the budget at which rounded latents are priced: `checks` of them, in its second half."""
    return [0.5 + 0.5 * i / checks for i in range(checks)]
