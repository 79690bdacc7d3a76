"""Presets: efforts 1 to 9, each near the Pareto front of gain against seconds, and schedules for any number of steps.

    effort(level)    steps and schedules of configs/refine/effort-LEVEL.yaml
    recipe(iters)    schedules of the effort with the nearest number of steps

These use the discrete search (`rdo.rdoq`). Those for the eye and for MS-SSIM, visual-effort-LEVEL.yaml and
ms-ssim-effort-LEVEL.yaml, descend (`rdo.descent`). The schedules of other descents are the defaults of `RefineConfig`.
"""

import math

from codec.config_files import config_folder
from codec.errors import ConfigError
from codec.settings import build, load_yaml, override
from codec.zoo import COMPRESSAI
from rdo.config import RefineConfig

EFFORTS = tuple(range(1, 10))
DEFAULT_EFFORT = 5


def effort(level: int, presets: str = "") -> RefineConfig:
    """Load the preset of an effort from 1 (a second or two a megapixel) to 9.

    Args:
        level: 1 to 9.
        presets: prefix of a tuning's presets (`rdo.tune.presets_of`).

    Raises:
        ConfigError: no such effort.
    """
    if level not in EFFORTS:
        raise ConfigError(f"effort {level}: must be a whole number from {EFFORTS[0]} to {EFFORTS[-1]}")
    path = config_folder() / "refine" / f"{presets}effort-{level}.yaml"
    return build(RefineConfig, load_yaml(path), str(path))


def recipe(iters: int, method: str | None = None, presets: str = "") -> RefineConfig:
    """Return the best schedules known for a number of steps: those of the preset nearest in log(steps).

    Args:
        iters: number of steps, at least 0.
        method: of refinement; None takes that of the presets.
        presets: prefix of a tuning's presets.

    Raises:
        ConfigError: a negative number.
    """
    efforts = (effort(level, presets) for level in EFFORTS)
    nearest = min(efforts, key=lambda preset: abs(math.log(preset.iters / max(1, iters))))
    if method not in (None, nearest.method):
        return override(RefineConfig(), {"iters": iters, "method": method}, "")
    return override(nearest, {"iters": iters}, "--iters")


def usual_method(model: str) -> str | None:
    """Return the default method for a model: `sga` for CompressAI's, where it gains most; None for the presets'."""
    return "sga" if model.startswith(COMPRESSAI) else None
