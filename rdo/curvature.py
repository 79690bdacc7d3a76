"""Curvature of the objective by Hutchinson's estimator: the second-order term h of the discrete search (`rdo.rdoq`).

    diag(H) = E[v * (H v)],  v of random signs;    H v ~ (grad f(at + s v) - grad f(at - s v)) / (2 s)

One v is a probe; it costs two gradients.

Source: Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1989; Bekas, Kokiopoulou and Saad,
"An estimator for the diagonal of a matrix", 2007. H v is a central difference of gradients with a step s of the size
of the moves that it has to predict, not an infinitesimal one.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from codec.arithmetic import products
from codec.interface import Latents
from rdo.objective import Problem
from rdo.relaxations import uniform
from rdo.schedules import Clock

PROBE_STEP_COARSE, PROBE_STEP_FINE, PROBE_STEP_Z = 1 / 4, 1 / 64, 1 / 2  # s, in quantisation steps
PROBES_MAX = 8  # probes for each s
POSITIONS_MIN = 96  # least number of positions times probes to average over: large images need one probe
PROBE_TIME_FRACTION = 0.25  # of the seconds left, for probes: more time gains more in steps of the search
TINY = 1e-12  # of a mean that is divided by
RATIO_MIN, RATIO_MAX = 0.1, 10.0  # curvature of a position, as a multiple of the mean of the image


@torch.enable_grad()
def curvature_of(problem: Problem, latents: Latents, *, generator: torch.Generator, clock: Clock) -> Latents:
    """Estimate the diagonal of the Hessian: for y that of the distortion, for z that of the bits of y.

    Where the picture depends on z too, as it does where z shifts the grid of y, that for z includes the distortion.

    Args:
        problem: objective.
        latents: rounded latents to evaluate at.
        generator: source of the probes' signs.
        clock: budget of the search; probes take PROBE_TIME_FRACTION of its seconds at most.

    Returns:
        Second derivatives in bits of the image per squared quantisation step, at least 0, of the shapes of `latents`.
        Where the time runs out, y has a single probe, and the curvature of z is infinite, so that z never moves.
    """
    y, z = latents
    seconds = None if clock.left is None else PROBE_TIME_FRACTION * clock.left
    clock = Clock(1, seconds, clock.device)  # t reaches 1 when the seconds are spent

    def distortion_bits(y: Tensor, z: Tensor) -> Tensor:
        return problem.lmbda * problem.distortion(Latents(y, z)) * problem.pixels

    def bits_of_y(at: Tensor) -> Tensor:
        return distortion_bits(at, z)

    def bits_of_z(at: Tensor) -> Tensor:
        mixture = problem.codec.mixture(y, at, problem.quality)
        on_grid = problem.with_grid_gradient(y, mixture)
        bits = problem.codec.y_bits(on_grid, mixture).sum((1, 2, 3))
        return bits + distortion_bits(on_grid, at) if problem.codec.depends_on_z else bits

    # coarse steps show what many latents do that move together, fine ones what each does alone; the larger counts
    y_diagonal = partial(
        hessian_diagonal, bits_of_y, y, generator=generator, clock=clock, position_weights=problem.position_weights(y)
    )
    y_curvature, z_curvature = y_diagonal(PROBE_STEP_COARSE), torch.full_like(z, torch.inf)
    if clock.t < 1:
        y_curvature = torch.maximum(y_curvature, y_diagonal(PROBE_STEP_FINE))
    if clock.t < 1:
        z_curvature = hessian_diagonal(bits_of_z, z, PROBE_STEP_Z, generator=generator, clock=clock)
    return Latents(y_curvature, z_curvature)


def hessian_diagonal(
    function: Callable[[Tensor], Tensor],
    at: Tensor,
    step: float,
    *,
    generator: torch.Generator,
    clock: Clock,
    position_weights: Tensor | float = 1.0,
) -> Tensor:
    """Estimate the diagonal (B, C, h, w) of the Hessian of `function`, clamped to at least 0.

    The noise of few probes is averaged out by a model of rank one for each image: diagonal = (mean of the channel) *
    (mean of the position) / mean, with the ratio of a position to the mean clamped to RATIO_MIN..RATIO_MAX.

    Args:
        function: differentiable, (B, C, h, w) -> (B,).
        at: point (B, C, h, w) of evaluation.
        step: finite-difference step s, in quantisation steps.
        generator: source of the probes' signs.
        clock: time limit; once spent, no further probe is begun, but the first is always made.
        position_weights: (1, 1, h, w) of mean 1 or less, a known factor of the ratio, which is not clamped.
    """
    if not at.numel():  # z of a codec without a hyperprior
        return at
    probes = min(PROBES_MAX, -(-POSITIONS_MIN // (at.shape[2] * at.shape[3])))
    total, done = torch.zeros_like(at), 0
    while done < probes and (not done or clock.t < 1):
        v = (uniform(at, generator) < 0.5) * 2.0 - 1.0
        total += v * (_gradient(function, at + step * v) - _gradient(function, at - step * v))
        done += 1
    diagonal = total / (2 * step * done)
    channel, position = diagonal.mean((2, 3), keepdim=True), diagonal.mean(1, keepdim=True)
    mean = diagonal.mean((1, 2, 3), keepdim=True).clamp(min=TINY)
    expected = torch.as_tensor(position_weights * mean).clamp(min=TINY)  # 0 where pixels are exact
    ratio = (position / expected).clamp(RATIO_MIN, RATIO_MAX)
    return channel.clamp(min=0) * position_weights * ratio


def _gradient(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    at = at.detach().requires_grad_()
    with products("ieee"), torch.autocast(at.device.type, enabled=False):  # differences of nearly equal gradients
        return torch.autograd.grad(function(at).sum(), at)[0]
