"""What a study searches: settings of a refinement that are fixed, and ranges or choices for the others.

A study's YAML names the fields of `RefineConfig`; whatever lies in its space is a valid refinement, which is checked at
its corners before anything is encoded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_type_hints

from codec.config_files import config_file
from codec.errors import ConfigError
from codec.settings import build, current_key, load_yaml, override
from rdo.config import RefineConfig
from rdo.presets import EFFORTS, effort

Objective = Literal["gain_percent", "seconds"]
Value = str | int | float | bool | None
_HINTS = get_type_hints(RefineConfig)
_ROUNDING = 1e-9  # of a range in steps


@dataclass(frozen=True)
class Dimension:
    """The values one setting may take: from `low` to `high`, or one of `choices`, as text.

    Attributes:
        log: equal chances for equal ratios.
        step: between values; None is continuous, or 1 for whole numbers.
        also: settings that take the same value.
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
    """A study, as its YAML says.

    Attributes:
        search: setting -> values to try.
        fixed: all other settings of the refinement.
        objectives: what is optimised: the mean gain, and the mean seconds of refinement, on which gain has a front.
        qualities: levels that every photo is encoded at.
        crop: side in pixels of the middle of each photo that is encoded in its place; None takes all of it.
        holdout: share of the photos that is kept from the search, for the final comparison.
        trials: recipes tried.
    """

    search: dict[str, Dimension]
    fixed: RefineConfig = RefineConfig()
    objectives: tuple[Objective, ...] = ("gain_percent",)
    qualities: tuple[float, ...] = (4.0,)
    crop: int | None = None
    holdout: float = 0.25
    trials: int = 50

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
        """The refinement at a point of the space, numbers to four digits, so that it is what will be written down.

        Raises:
            ConfigError: an unknown setting, or a value it cannot take.
        """
        short = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in params.items()}
        changes = {name: value for key, value in short.items() for name in (key, *self.search[key].also)}
        return override(self.fixed, changes, "search")

    def is_whole(self, name: str) -> bool:
        """Whether a setting is a whole number."""
        return _HINTS[name] is int

    def choices(self, name: str) -> list[Value]:
        """The choices of a setting, as values."""
        return [getattr(self.recipe({name: text}), name) for text in self.search[name].choices]

    def point_of(self, config: RefineConfig) -> dict[str, Value] | None:
        """Where in the space a refinement lies; None if it does not."""
        params = {name: getattr(config, name) for name in self.search}
        inside = all(self._holds(name, value) for name, value in params.items())
        return params if inside and self.recipe(params) == config else None

    def presets(self) -> list[dict[str, Value]]:
        """The points of the shipped efforts that lie in the space: what a study has to beat."""
        points = (self.point_of(effort(level)) for level in EFFORTS)
        return [point for point in points if point is not None]

    def _holds(self, name: str, value: Value) -> bool:
        dimension = self.search[name]
        if dimension.choices:
            return value in self.choices(name)
        if not isinstance(value, int | float) or dimension.low is None or dimension.high is None:
            return False
        on_grid = dimension.step is None or _is_whole((value - dimension.low) / dimension.step)
        return on_grid and dimension.low <= value <= dimension.high


def load_study(name: str) -> StudyConfig:
    """The study of a name in configs/tune, or of a YAML file.

    Raises:
        ConfigError: no such study, or one that makes no sense.
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
    """A list stands for choices; they are text until the setting they belong to is known."""
    found = {"choices": values} if isinstance(values, list) else values
    if isinstance(found, dict) and isinstance(found.get("choices"), list):
        return {**found, "choices": [str(value) for value in found["choices"]]}
    return found


def _check_names(config: StudyConfig, fixed: set[str], path: Path) -> None:
    """Every setting is fixed or searched, and once."""
    searched = [name for key, dimension in config.search.items() for name in (key, *dimension.also)]
    twice = {name for name in searched if searched.count(name) > 1} | (fixed & set(searched))
    if twice:
        raise ConfigError(f"{path}: {', '.join(sorted(twice))}: given twice: search or fix each setting once")


def _check_corners(config: StudyConfig, path: Path) -> None:
    """Each end and choice of each dimension is a valid refinement."""
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
