"""Trials of a study as they ended, means over their records, and the Pareto front."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from jobs.record import Record
from jobs.tuning.space import Objective, Value

State = Literal["done", "pruned", "failed"]
DIRECTIONS: dict[Objective, Literal["maximize", "minimize"]] = {"gain_percent": "maximize", "seconds": "minimize"}


class Means(NamedTuple):
    """Mean gain of cost, and mean seconds of refinement."""

    gain_percent: float
    seconds: float


@dataclass(frozen=True)
class Trial:
    """Trial that ended: its point of the space, its means, and the number of cases it has measured.

    `gain_percent` is an estimate where the trial was pruned, and None where it failed; `error` says why.
    """

    number: int
    state: State
    params: dict[str, Value]
    gain_percent: float | None
    seconds: float | None
    cases: int
    error: str | None


def means(records: Iterable[Record]) -> Means:
    """Average the gain and the refinement seconds of records with an outcome."""
    pairs = [(r.measured.gain_percent, r.measured.refine_seconds or 0.0) for r in records]
    gains, seconds = zip(*pairs, strict=True)
    return Means(statistics.fmean(gains), statistics.fmean(seconds))


def count_states(trials: list[Trial]) -> dict[State, int]:
    """Count the trials that are done, pruned and failed."""
    states: tuple[State, ...] = ("done", "pruned", "failed")
    return {state: sum(trial.state == state for trial in trials) for state in states}


def pareto_front(trials: list[Trial], objectives: tuple[Objective, ...]) -> list[Trial]:
    """Return the done trials that no other one dominates, most gain first; of equal ones the first."""
    done = [trial for trial in trials if trial.state == "done"]
    front = [t for t in done if not any(_dominates(other, t, objectives) for other in done)]
    distinct = {tuple(_value(t, name) for name in objectives): t for t in reversed(front)}
    return sorted(distinct.values(), key=lambda trial: -_value(trial, "gain_percent"))


def _dominates(a: Trial, b: Trial, objectives: tuple[Objective, ...]) -> bool:
    """Return whether `a` is at least as good as `b` in all objectives, and better in one."""
    signs = {"maximize": 1, "minimize": -1}
    ahead = [signs[DIRECTIONS[name]] * (_value(a, name) - _value(b, name)) for name in objectives]
    return min(ahead) >= 0 and max(ahead) > 0


def _value(trial: Trial, objective: Objective) -> float:
    value = trial.gain_percent if objective == "gain_percent" else trial.seconds
    assert value is not None
    return value
