"""Study in Optuna's storage: recipes are asked of it, gains told to it, and a later run resumes it.

No other file imports Optuna, and only a driver calls this one. The invariant: a trial has a value in the storage only
if every value behind it was measured with the setup that the study was begun with.
"""

import random
import statistics
import warnings
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from codec.errors import ConfigError
from jobs.record import Record
from jobs.tuning.setup import first_difference
from jobs.tuning.space import StudyConfig
from jobs.tuning.storage import check_server, repair_journal, without_password
from jobs.tuning.trial import DIRECTIONS, State, Trial, means, pareto_front
from rdo.config import RefineConfig

if TYPE_CHECKING:
    import optuna

PRUNE_P = 0.1  # significance level of the Wilcoxon test that prunes a trial


@dataclass
class OpenTrial:
    """Trial under way.

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
        driver: name of this run, which the trials it has under way carry in the storage.
        setup: everything that values of trials depend on.
    """

    def __init__(self, config: StudyConfig, study: "optuna.Study", cases: int, driver: str) -> None:
        self.config, self.study, self.cases, self.driver = config, study, cases, driver
        self.setup: dict[str, object] = study.user_attrs["setup"]
        self.distributions = {name: _distribution(config, name) for name in config.search}

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
        return OpenTrial(trial, self.config.recipe(trial.params), deque(order))

    def add_record(self, trial: OpenTrial, case: int, record: Record) -> bool:
        """Add the record of one case; return True if that ends the trial, which is then told to Optuna.

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


def require_optuna() -> None:
    """Raise ConfigError if Optuna is not installed."""
    try:
        import optuna  # noqa: F401  (others import it by name)
    except ImportError as error:
        raise ConfigError('studies need Optuna, which is not installed: pip install ".[tune]"') from error


def open_study(
    config: StudyConfig,
    *,
    setup: Mapping[str, object],
    storage: str,
    name: str,
    cases: int,
    seed: int,
    driver: str,
) -> Study:
    """Create a study or resume the stored one; trials that a killed run left under way are tried again.

    Args:
        config: search space and objectives.
        setup: everything that values of trials depend on; a stored study with another setup is refused.
        storage: database URL that Optuna knows, redis://..., or the path of a journal file.
        name: name of the study in its storage.
        cases: number of cases of a whole trial.
        seed: seed of the sampler.
        driver: name of this run; trials that other drivers have under way are left to them.

    Raises:
        ConfigError: the storage cannot be used, or holds a study of this name with another setup.
    """
    require_optuna()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = _load(storage, name, [DIRECTIONS[objective] for objective in config.objectives])
        _check_setup(study, setup, f"{without_password(storage)}: study {name}")
        study.set_metric_names(list(config.objectives))
        study.pruner = optuna.pruners.WilcoxonPruner(p_threshold=PRUNE_P)
        # a sampler that began again with its seed would draw again what it has drawn
        seed += len(study.get_trials(deepcopy=False))
        study.sampler = optuna.samplers.TPESampler(multivariate=True, constant_liar=True, seed=seed)
    _fail_abandoned(study, config, driver)
    for point in config.presets():
        study.enqueue_trial(point, skip_if_exists=True)
    return Study(config, study, cases, driver)


def _load(storage: str, name: str, directions: list[Literal["maximize", "minimize"]]) -> "optuna.Study":
    """Load the study of a name from its storage, or create it there."""
    import optuna
    from optuna.storages import BaseStorage, JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend, JournalRedisBackend

    check_server(storage)
    try:
        backend: BaseStorage
        if "://" not in storage:
            repair_journal(Path(storage))
            backend = JournalStorage(JournalFileBackend(storage))
        elif storage.startswith("redis"):
            backend = JournalStorage(JournalRedisBackend(storage))
        else:
            backend = RDBStorage(storage)
        if name in optuna.get_all_study_names(backend):  # creating writes, even where there is one
            return optuna.load_study(study_name=name, storage=backend)
        return optuna.create_study(storage=backend, study_name=name, directions=directions)
    except ImportError as error:
        raise ConfigError(
            f"--storage {without_password(storage)}: needs a driver that is not installed: {error}"
        ) from error
    except Exception as error:  # each database raises types of its own
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(f"--storage {without_password(storage)}: cannot be used: {reason}: check the URL") from error


def _check_setup(study: "optuna.Study", setup: Mapping[str, object], where: str) -> None:
    """Store the setup of a new study; raise ConfigError if the stored one differs."""
    stored = study.user_attrs.get("setup")
    if stored is None and not study.get_trials(deepcopy=False):
        study.set_user_attr("setup", setup)
        return
    if stored is None:
        raise ConfigError(f"{where}: was not begun by rdo-tune: take another --name")
    if change := first_difference(stored, setup):
        key, old, new = change
        raise ConfigError(f"{where}: was begun with {key} {old}, not {new}: undo that, or take another -o or --name")


def _fail_abandoned(study: "optuna.Study", config: StudyConfig, driver: str) -> None:
    """Fail the trials that a killed run of this driver left under way, and enqueue them again; records are kept."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.user_attrs.get("run", driver) != driver:
            continue
        study.tell(trial.number, state=TrialState.FAIL)
        if set(trial.params) == set(config.search):
            study.enqueue_trial(trial.params, user_attrs={"repeats": trial.number})


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
        params=trial.params,
        gain_percent=trial.values[0] if trial.values else None,
        seconds=attributes.get("seconds"),
        cases=measured,
        error=attributes.get("error"),
    )
