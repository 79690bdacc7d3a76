"""Budget of time of a folder, as flags give it: the wall time of a run, which settles the steps of each picture."""

import argparse
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from codec.errors import ConfigError

if TYPE_CHECKING:
    from jobs.running.refine_settings import RefineFlags
    from rdo.config import RefineConfig

UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0}
SETTLED = ("iters", "effort", "time_budget")  # of RefineFlags, by a budget of time


@dataclass(frozen=True)
class TimeBudget:
    """Wall time for all pictures together, and all that decides their refinement besides its steps.

    Attributes:
        seconds: of a run, whatever the number of its workers.
        flags: that choose the refinement.
        model: name of the model.
        tune: what refinement is to be good at (`rdo.tune`); None is what the model was trained for.

    Raises:
        ConfigError: flags that a budget settles.
    """

    seconds: float
    flags: "RefineFlags"
    model: str
    tune: str | None = None

    def __post_init__(self) -> None:
        given = [f"--{name.replace('_', '-')}" for name in SETTLED if getattr(self.flags, name) is not None]
        if given:
            text = "the budget settles the steps of each picture: leave one out"
            raise ConfigError(f"{given[0]} and --time-budget-total: {text}")

    def refine(self, iters: int) -> "RefineConfig":
        """Return the settings of a refinement of so many steps."""
        from jobs.running.refine_settings import refine_config

        return refine_config(replace(self.flags, iters=iters), self.model, self.tune)

    @property
    def half_steps(self) -> float:
        """Steps after which a picture has gained half of what it can."""
        from rdo.step_allocation import HALF_DESCENT, HALF_SEARCH

        return HALF_SEARCH if self.refine(1).method == "rdoq" else HALF_DESCENT


def check_time_budget(*, in_folder: bool, with_size: bool) -> None:
    """Refuse a budget of time for one file, or beside one of bytes.

    Raises:
        ConfigError: the two do not go together.
    """
    if with_size:
        raise ConfigError(
            "--target-total and --time-budget-total: give one of them; --effort sets the time of the other"
        )
    if not in_folder:
        raise ConfigError("--time-budget-total: of a folder of files: name a folder with -o, or take --time-budget")


def seconds_of(text: str) -> float:
    """Return the seconds of a time such as 2h, 1h30m, 45m, 90s or 90.

    Raises:
        ConfigError: no time, or none above 0.
    """
    number = r"([0-9]+\.?[0-9]*|\.[0-9]+)"
    found = re.fullmatch(rf"\s*(?:{number}h)?\s*(?:{number}m)?\s*(?:{number}s?)?\s*", text.lower())
    parts = zip(found.groups(), UNITS_S.values(), strict=True) if found else ()
    seconds = sum(float(part) * unit for part, unit in parts if part)
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"--time-budget-total {text}: write a time such as 2h, 1h30m, 45m or 90s")
    return seconds


def add_time_budget_flag(flags: "argparse._ArgumentGroup") -> None:
    """Add the flag of a budget of time."""
    flags.add_argument(
        "--time-budget-total", metavar="TIME",
        help="about so long for all pictures together, such as 2h, 1h30m or 90s, in place of an effort: after a short "
        "look at each, steps go where they gain most",
    )  # fmt: skip
