"""Study in Optuna, by its ask-and-tell interface: recipes to try, and their gains.

No other file but `open_study` imports Optuna, and only a driver calls the two. The invariant: a trial has a value in
the storage only if every value behind it was measured with the setup that the study was begun with.
"""

import random
import statistics
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobs.record import Record
from jobs.tuning.setup import current_names
from jobs.tuning.space import StudyConfig
from jobs.tuning.trial import State, Trial, means, pareto_front
from rdo.config import RefineConfig

if TYPE_CHECKING:
    import optuna


@dataclass
class OpenTrial:
    """Trial under way, with the records of its cases so far.

    Attributes:
        trial: Optuna's handle.
        recipe: refinement that is tried.
        todo: indices of the cases not begun, shuffled for each trial so that no case decides all pruning.
        records: index of a case -> its record.
    """

    trial: "optuna.Trial"
    recipe: RefineConfig
    todo: deque[int]
    records: dict[int, Record] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """Number of the trial in its study."""
        return self.trial.number


class Study:
    """Stored study over a number of cases, which are photos at qualities.

    Attributes:
        config: search space and objectives.
        study: Optuna's handle.
        cases: number of cases of a whole trial.
        driver: name of this run, stored with the trials that it has under way.
        setup: everything that values of trials depend on.
    """

    def __init__(self, config: StudyConfig, study: "optuna.Study", cases: int, driver: str) -> None:
        self.config, self.study, self.cases, self.driver = config, study, cases, driver
        self.setup: dict[str, object] = study.user_attrs["setup"]
        self.distributions = {self.stored_name(name): _distribution(config, name) for name in config.search}

    def stored_name(self, name: str) -> str:
        """Return the name of a setting in the storage, which keeps the one that the study was begun with."""
        search = self.setup.get("search")
        stored = search if isinstance(search, dict) else {}
        return next((old for old in stored if RefineConfig.RENAMED.get(old, old) == name), name)

    @property
    def name(self) -> str:
        """Name of the study in its storage."""
        return self.study.study_name

    @property
    def finished(self) -> int:
        """Number of trials with a value."""
        return sum(trial.state.name == "COMPLETE" for trial in self.study.get_trials(deepcopy=False))

    def ask(self) -> OpenTrial:
        """Sample the next recipe to try."""
        trial = self.study.ask(self.distributions)
        trial.set_user_attr("run", self.driver)
        order = list(range(self.cases))
        random.Random(trial.number).shuffle(order)
        return OpenTrial(trial, self.config.recipe(current_names(trial.params)), deque(order))

    def add_record(self, trial: OpenTrial, case: int, record: Record) -> bool:
        """Add the record of one case; return True if that ends the trial, whose values are then stored.

        A trial ends with its last case, with a case that fails, or when it is pruned: as soon as it is significantly
        worse than the best, by a Wilcoxon test over the cases that both have. The value of a pruned trial is an
        estimate: the best's plus the mean difference from it.
        """
        trial.records[case] = record
        if record.error or record.outcome is None:
            self._tell(trial, None, error=f"{record.input}: {record.error}")
            return True
        if self._is_single:
            trial.trial.report(record.outcome.gain_percent, case)
        if len(trial.records) == self.cases:
            found = means(trial.records.values())
            self._tell(trial, [getattr(found, name) for name in self.config.objectives])
            return True
        estimate = self._estimate(trial) if self._is_single else None
        if estimate is None or not trial.trial.should_prune():
            return False
        self._tell(trial, [estimate])
        return True

    def trials(self) -> list[Trial]:
        """Return all trials that ended, in order."""
        found = self.study.get_trials(deepcopy=False)
        return [_as_trial(trial, self.cases) for trial in found if trial.state.is_finished()]

    def describe(self, number: int) -> str:
        """Describe a trial that ended in a line."""
        trial = next(t for t in self.trials() if t.number == number)
        params = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in trial.params.items())
        if trial.gain_percent is None:
            return f"trial {number}: failed: {trial.error}"
        return f"trial {number}: {trial.state}, gain {trial.gain_percent:.2f} %, {trial.seconds:.2f} s: {params}"

    def best(self) -> list[Trial]:
        """Return the trial of most gain, or the Pareto front, most gain first, of trials that measured every case."""
        return pareto_front(self.trials(), self.config.objectives)

    @property
    def _is_single(self) -> bool:
        return len(self.config.objectives) == 1  # Optuna prunes no others

    def _estimate(self, trial: OpenTrial) -> float | None:
        """Estimate a trial's gain from its differences to the best; None if there is no best, or it is no worse."""
        finished = [t for t in self.study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
        if not finished:
            return None
        best = max(finished, key=lambda t: t.value or 0.0)
        assert best.value is not None
        pairs = [(r.measured.gain_percent, best.intermediate_values.get(case)) for case, r in trial.records.items()]
        behind = statistics.fmean(gain - other for gain, other in pairs if other is not None)
        return best.value + behind if behind < 0 else None

    def _tell(self, trial: OpenTrial, values: list[float] | None, error: str | None = None) -> None:
        """Store a trial's values, or its failure where they are None."""
        from optuna.trial import TrialState

        records = trial.records.values()
        trial.trial.set_user_attr("cases", f"{len(records)} of {self.cases}")
        for name, value in {"error": error}.items() if error else means(records)._asdict().items():
            trial.trial.set_user_attr(name, value)
        self.study.tell(trial.trial, values, TrialState.FAIL if values is None else None)


def _distribution(config: StudyConfig, name: str) -> "optuna.distributions.BaseDistribution":
    """Return Optuna's form of a search dimension."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    dimension = config.search[name]
    if dimension.choices:
        return CategoricalDistribution(config.choices(name))
    assert dimension.low is not None and dimension.high is not None
    if config.is_whole(name):
        return IntDistribution(int(dimension.low), int(dimension.high), dimension.log, int(dimension.step or 1))
    return FloatDistribution(dimension.low, dimension.high, dimension.log, dimension.step)


def _as_trial(trial: "optuna.trial.FrozenTrial", cases: int) -> Trial:
    """Return a stored trial; the first of its values is the gain."""
    attributes = trial.user_attrs
    measured = int(str(attributes.get("cases", "0")).split()[0])
    state: State = "failed" if not trial.values else "done" if measured == cases else "pruned"
    return Trial(
        number=trial.number,
        state=state,
        params=current_names(trial.params),
        gain_percent=trial.values[0] if trial.values else None,
        seconds=attributes.get("seconds"),
        cases=measured,
        error=attributes.get("error"),
    )
