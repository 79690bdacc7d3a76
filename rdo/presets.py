"""Named efforts: how much time to spend, as presets in configs/refine, each near the front of gain against seconds.

effort 1..9 -> steps and schedules        `effort(level)`
steps       -> the schedules that suit    `recipe(iters)`, those of the effort with the nearest number of steps

All of them search (`rdo.rdoq`); descents have the defaults of `RefineConfig`.
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
    """The preset of an effort 1 (a second or two a megapixel) to 9.

    Raises:
        ConfigError: no such effort.
    """
    if level not in EFFORTS:
        raise ConfigError(f"effort {level}: must be a whole number from {EFFORTS[0]} to {EFFORTS[-1]}")
    path = config_folder() / "refine" / f"effort-{level}.yaml"
    return build(RefineConfig, load_yaml(path), str(path))


def recipe(iters: int, method: Method | None = None) -> RefineConfig:
    """The best schedules known for a number of steps: those of the preset whose steps differ by the least factor.

    Args:
        method: None takes that of the presets.

    Raises:
        ConfigError: a negative number.
    """
    presets = (effort(level) for level in EFFORTS)
    nearest = min(presets, key=lambda preset: abs(math.log(preset.iters / max(1, iters))))
    if method not in (None, nearest.method):
        return override(RefineConfig(), {"iters": iters, "method": method}, "")
    return override(nearest, {"iters": iters}, "--iters")


def usual_method(model: str) -> Method | None:
    """What refines a model unless asked otherwise, for `recipe`: CompressAI's `sga`, which gained more there."""
    return "sga" if model.startswith(COMPRESSAI) else None
