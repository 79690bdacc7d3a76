"""Search space of a study: fixed settings of a refinement, and a range or choices for each of the others.

A study's YAML names fields of `RefineConfig`. The invariant: every point of the space is a valid refinement, which is
checked at both ends of each range and at each choice before anything is encoded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, get_type_hints

from codec.config_files import config_file
from codec.errors import ConfigError
from codec.settings import build, current_key, load_yaml, override
from rdo.config import RefineConfig
from rdo.presets import EFFORTS, effort
from rdo.tune import presets_of

Objective = Literal["gain_percent", "seconds"]
Sampler = Literal["tpe", "nsga2"]
Value = str | int | float | bool | None
_HINTS = get_type_hints(RefineConfig)
_ROUNDING = 1e-9  # in steps; more than the rounding error of a range divided by its step


@dataclass(frozen=True)
class Dimension:
    """Values that one setting may take: the closed range from `low` to `high`, or one of `choices`.

    Attributes:
        low: least value of the range.
        high: greatest value of the range.
        log: whether the range is sampled log-uniformly.
        step: distance of neighbouring values; None makes floats continuous and whole numbers 1 apart.
        choices: values as text, which the setting's type turns into values.
        also: other settings that take the same value.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.choices:
            if self.low is not None or self.high is not None or self.log or self.step:
                raise ValueError("choices have no low, high, log or step: give a list or a range")
            return
        if self.low is None or self.high is None or not self.low < self.high:
            raise ValueError(f"low {self.low}, high {self.high}: give low below high, or a list of choices")
        if self.log and (self.low <= 0 or self.step):
            raise ValueError("log needs a positive low, and no step")
        if self.step is not None and (self.step <= 0 or not _is_whole((self.high - self.low) / self.step)):
            raise ValueError(f"step {self.step}: must lead from {self.low} to {self.high} in whole steps")


@dataclass(frozen=True)
class StudyConfig:
    """Settings of a study, in its YAML file.

    Attributes:
        search: setting -> its search dimension.
        fixed: refinement from which all other settings are taken.
        objectives: mean gain, to be maximised; or that and mean seconds of refinement, for a Pareto front.
        qualities: quality levels at which every photo is encoded.
        crop: side in pixels of the central crop that is encoded in place of each photo; None takes whole photos.
        holdout: share of the photos kept out of the search for the final comparison, in [0, 1).
        trials: number of trials with a result.
        tune: what the files are to be good at (`rdo.tune`); None is what the model was trained for.
        sampler: `tpe`, for few trials, or `nsga2`, which needs hundreds and keeps a front spread.
    """

    ADDED: ClassVar[tuple[str, ...]] = ("tune", "sampler")

    search: dict[str, Dimension]
    fixed: RefineConfig = RefineConfig()
    objectives: tuple[Objective, ...] = ("gain_percent",)
    qualities: tuple[float, ...] = (4.0,)
    crop: int | None = None
    holdout: float = 0.25
    trials: int = 50
    tune: str | None = None
    sampler: Sampler = "tpe"

    def __post_init__(self) -> None:
        if not self.search:
            raise ValueError("search: nothing to search: name settings of a refinement and their values")
        if self.objectives not in (("gain_percent",), ("gain_percent", "seconds")):
            raise ValueError("objectives: gain_percent, or gain_percent and seconds")
        if not self.qualities or len(set(self.qualities)) < len(self.qualities):
            raise ValueError("qualities: name at least one, each once")
        if not 0 <= self.holdout < 1:
            raise ValueError(f"holdout {self.holdout}: must lie in [0, 1)")
        if self.trials < 1:
            raise ValueError(f"trials {self.trials}: must be at least 1")
        if self.crop is not None and self.crop < 1:
            raise ValueError(f"crop {self.crop}: must be at least 1 px")

    def recipe(self, params: Mapping[str, Value]) -> RefineConfig:
        """Return the refinement at a point of the space.

        Floats are rounded to four significant digits, so that a recipe read back from its YAML file is the one tried.

        Raises:
            ConfigError: an unknown setting, or a value out of its range.
        """
        rounded = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in params.items()}
        changes = {name: value for key, value in rounded.items() for name in (key, *self.search[key].also)}
        return override(self.fixed, changes, "search")

    def is_whole(self, name: str) -> bool:
        """Return whether a setting is a whole number."""
        return _HINTS[name] is int

    def choices(self, name: str) -> list[Value]:
        """Return the choices of a setting, converted to its type."""
        return [getattr(self.recipe({name: text}), name) for text in self.search[name].choices]

    def point_of(self, config: RefineConfig) -> dict[str, Value] | None:
        """Return the point of the space at which a refinement lies, or None if it lies outside."""
        params = {name: getattr(config, name) for name in self.search}
        inside = all(self._contains(name, value) for name, value in params.items())
        return params if inside and self.recipe(params) == config else None

    def presets(self) -> list[dict[str, Value]]:
        """Return the points of the shipped efforts that lie in the space, the baselines of a study."""
        points = (self.point_of(effort(level, presets_of(self.tune))) for level in EFFORTS)
        return [point for point in points if point is not None]

    def _contains(self, name: str, value: Value) -> bool:
        dimension = self.search[name]
        if dimension.choices:
            return value in self.choices(name)
        if not isinstance(value, int | float) or dimension.low is None or dimension.high is None:
            return False
        on_grid = dimension.step is None or _is_whole((value - dimension.low) / dimension.step)
        return on_grid and dimension.low <= value <= dimension.high


def load_study(name: str) -> StudyConfig:
    """Load a study by its name in configs/tune, or from a YAML file.

    Raises:
        ConfigError: there is no such study, or its space has a point that is no valid refinement.
    """
    path = config_file(name, "tune", "study")
    mapping = load_yaml(path)
    search = mapping.get("search")
    if isinstance(search, dict):
        source = f"{path}: search."
        mapping["search"] = {current_key(RefineConfig, name, source): _as_dimension(v) for name, v in search.items()}
    config = build(StudyConfig, mapping, str(path))
    fixed = mapping.get("fixed")
    names = {current_key(RefineConfig, name, f"{path}: fixed.") for name in (fixed if isinstance(fixed, dict) else ())}
    _check_names(config, names, path)
    _check_corners(config, path)
    return config


def _as_dimension(values: object) -> object:
    """Turn a list into a mapping of choices, and all choices into text, as their type is that of the setting."""
    found = {"choices": values} if isinstance(values, list) else values
    if isinstance(found, dict) and isinstance(found.get("choices"), list):
        return {**found, "choices": [str(value) for value in found["choices"]]}
    return found


def _check_names(config: StudyConfig, fixed: set[str], path: Path) -> None:
    """Raise ConfigError where a setting is searched twice, or both fixed and searched."""
    searched = [name for key, dimension in config.search.items() for name in (key, *dimension.also)]
    twice = {name for name in searched if searched.count(name) > 1} | (fixed & set(searched))
    if twice:
        raise ConfigError(f"{path}: {', '.join(sorted(twice))}: given twice: search or fix each setting once")


def _check_corners(config: StudyConfig, path: Path) -> None:
    """Raise ConfigError where an end or a choice of a dimension is no valid value of its setting."""
    for name, dimension in config.search.items():
        for value in dimension.choices or (dimension.low, dimension.high):
            try:
                config.recipe({name: value})
            except ConfigError as error:
                raise ConfigError(f"{path}: {error}") from error
        if config.is_whole(name) and dimension.step is not None and not _is_whole(dimension.step):
            raise ConfigError(f"{path}: search.{name}: step {dimension.step:g}: must be a whole number, as {name} is")


def _is_whole(steps: float) -> bool:
    return abs(steps - round(steps)) < _ROUNDING
