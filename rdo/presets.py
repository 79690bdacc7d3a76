"""Presets: efforts 1 to 9, each near the Pareto front of gain against seconds, and schedules for any number of steps.

    effort(level)    steps and schedules of configs/refine/effort-LEVEL.yaml
    recipe(iters)    schedules of the effort with the nearest number of steps

All efforts use the discrete search (`rdo.rdoq`); the schedules of gradient descent are the defaults of `RefineConfig`.
"""

import math

from codec.config_files import config_folder
from codec.errors import ConfigError
from codec.settings import build, load_yaml, override
from codec.zoo import COMPRESSAI
from rdo.config import Method, RefineConfig

EFFORTS = tuple(range(1, 10))
DEFAULT_EFFORT = 5


def effort(level: int) -> RefineConfig:
    """Load the preset of an effort from 1 (a second or two a megapixel) to 9.

    Raises:
        ConfigError: no such effort.
    """
    if level not in EFFORTS:
        raise ConfigError(f"effort {level}: must be a whole number from {EFFORTS[0]} to {EFFORTS[-1]}")
    path = config_folder() / "refine" / f"effort-{level}.yaml"
    return build(RefineConfig, load_yaml(path), str(path))


def recipe(iters: int, method: Method | None = None) -> RefineConfig:
    """Return the best schedules known for a number of steps: those of the preset nearest in log(steps).

    Args:
        iters: number of steps, at least 0.
        method: of refinement; None takes that of the presets.

    Raises:
        ConfigError: a negative number.
    """
    presets = (effort(level) for level in EFFORTS)
    nearest = min(presets, key=lambda preset: abs(math.log(preset.iters / max(1, iters))))
    if method not in (None, nearest.method):
        return override(RefineConfig(), {"iters": iters, "method": method}, "")
    return override(nearest, {"iters": iters}, "--iters")


def usual_method(model: str) -> Method | None:
    """Return the default method for a model: `sga` for CompressAI's, where it gains most; None for the presets'."""
    return "sga" if model.startswith(COMPRESSAI) else None
