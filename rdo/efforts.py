"""Named efforts: how much time to spend, as presets in configs/refine, each near the front of gain against seconds.

effort 1..9 -> steps and schedules        `effort(level)`
steps       -> the schedules that suit    `recipe(iters)`, those of the effort with the nearest number of steps

Efforts 1 to 7 search, 8 and 9 descend and search from there.
"""

import math

from codec.checkpoint import config_folder
from codec.errors import ConfigError
from codec.settings import build, load_yaml, override
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
        method: of the presets only its own count; where it has none, the defaults of `RefineConfig` do.

    Raises:
        ConfigError: a negative number.
    """
    presets = [effort(level) for level in EFFORTS]
    presets = [preset for preset in presets if method in (None, preset.method)]
    if not presets:
        return override(RefineConfig(), {"iters": iters, "method": method}, "")
    nearest = min(presets, key=lambda preset: abs(math.log(preset.iters / max(1, iters))))
    return override(nearest, {"iters": iters}, "--iters")
