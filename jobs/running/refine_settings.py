"""Refinement settings from a preset or a YAML file and flags: defaults < preset, recipe or YAML < flags."""

from dataclasses import dataclass, fields
from pathlib import Path

from codec.errors import ConfigError
from codec.loading import model_distortion
from codec.settings import build, load_yaml, override
from rdo.config import RefineConfig
from rdo.presets import DEFAULT_EFFORT, effort, recipe, usual_method
from rdo.tune import presets_of


@dataclass(frozen=True)
class RefineFlags:
    """Flags that choose and override refinement settings; None leaves a setting as it is.

    Attributes:
        config: YAML file as in configs/refine, instead of an effort.
        effort: preset, 1 to 9.
        iters: steps; without an effort, of the preset with the nearest number of steps.

    The others are fields of `RefineConfig`.
    """

    config: Path | None = None
    effort: int | None = None
    iters: int | None = None
    method: str | None = None
    time_budget: float | None = None
    patience: int | None = None
    seed: int | None = None
    memory_gib: float | None = None


def refine_config(flags: RefineFlags, model: str, tune: str | None = None) -> RefineConfig:
    """Return the refinement settings that flags ask for; tuning and model decide the method where they name none.

    Raises:
        ConfigError: a bad file or value, or both a file and an effort.
    """
    if flags.config and flags.effort is not None:
        raise ConfigError("--config and --effort: both set all there is to set: leave one out")
    presets = presets_of(tune, model_distortion(model))
    if flags.config:
        config = build(RefineConfig, load_yaml(flags.config), str(flags.config))
    elif flags.iters is not None and flags.effort is None:
        config = recipe(flags.iters, presets=presets)
    else:
        config = effort(DEFAULT_EFFORT if flags.effort is None else flags.effort, presets)
    names = [f.name for f in fields(RefineFlags) if f.name not in ("config", "effort")]
    given = {name: getattr(flags, name) for name in names if getattr(flags, name) is not None}
    if (method := usual_method(model)) and not flags.config and not presets:
        given.setdefault("method", method)
    if given.get("method", config.method) != config.method and not flags.config:
        config = recipe(config.iters, given["method"], presets)
    return override(config, given, "")
