"""Recipes asked of Optuna, gains told to it, and the storage from which the next run goes on.

No other file imports Optuna, and only a driver talks to it. The invariant: a trial has a value in the storage only if
every value behind it was measured with the settings, photos and model that the study was begun with.
"""

import random
import statistics
import warnings
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from codec.errors import ConfigError
from jobs.record import Record
from jobs.tuning.space import Objective, StudyConfig, Value
from jobs.tuning.storage import check_server, repair_journal, without_password
from rdo.config import RefineConfig

if TYPE_CHECKING:
    import optuna

DIRECTIONS: dict[Objective, Literal["maximize", "minimize"]] = {"gain_percent": "maximize", "seconds": "minimize"}
PRUNE_P = 0.1  # chance to be wrong at which a trial is given up


@dataclass(frozen=True)
class Trial:
    """One trial of a study; `values` are None where it failed, an estimate where it was `pruned`."""

    number: int
    state: str
    params: dict[str, Value]
    values: dict[Objective, float] | None
    seconds: float | None
    cases: int
    error: str | None


@dataclass
class Attempt:
    """A trial under way: `todo` are the cases not begun, in an order of its own, so that none decides all pruning."""

    trial: "optuna.Trial"
    recipe: RefineConfig
    todo: deque[int]
    records: dict[int, Record] = field(default_factory=dict)


class Study:
    """A stored study of so many cases, a case being a photo at a quality; `run` is who works on it here."""

    def __init__(self, config: StudyConfig, study: "optuna.Study", cases: int, run: str) -> None:
        self.config, self.study, self.cases, self.run = config, study, cases, run
        self.setup: dict[str, object] = study.user_attrs["setup"]
        self.distributions = {name: _distribution(config, name) for name in config.search}

    @property
    def finished(self) -> int:
        """Trials with a value."""
        return sum(trial.state.name == "COMPLETE" for trial in self.study.get_trials(deepcopy=False))

    def ask(self) -> Attempt:
        """The next recipe to try."""
        trial = self.study.ask(self.distributions)
        trial.set_user_attr("run", self.run)
        order = list(range(self.cases))
        random.Random(trial.number).shuffle(order)
        return Attempt(trial, self.config.recipe(trial.params), deque(order))

    def note(self, attempt: Attempt, case: int, record: Record) -> bool:
        """Take the outcome of one case; True if that settles the trial, which is then told.

        A trial is settled by its last case, by one that fails, or as soon as it is surely worse than the best: by a
        Wilcoxon test over the cases that both have. Its value is then the best's and the mean difference from it.
        """
        attempt.records[case] = record
        if record.error or record.outcome is None:
            self._tell(attempt, None, error=f"{record.input}: {record.error}")
            return True
        if self._is_single:
            attempt.trial.report(record.outcome.gain_percent, case)
        if len(attempt.records) == self.cases:
            self._tell(attempt, [means(attempt.records.values())[name] for name in self.config.objectives])
            return True
        estimate = self._estimate(attempt) if self._is_single else None
        if estimate is None or not attempt.trial.should_prune():
            return False
        self._tell(attempt, [estimate])
        return True

    def trials(self) -> list[Trial]:
        """All trials that ended, in order."""
        found = self.study.get_trials(deepcopy=False)
        return [_as_trial(self.config, self.cases, trial) for trial in found if trial.state.is_finished()]

    def line(self, number: int) -> str:
        """A trial that ended, for people."""
        trial = next(t for t in self.trials() if t.number == number)
        params = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in trial.params.items())
        if trial.values is None:
            return f"trial {number}: failed: {trial.error}"
        return (
            f"trial {number}: {trial.state}, gain {trial.values['gain_percent']:.2f} %, {trial.seconds:.2f} s: {params}"
        )

    def best(self) -> list[Trial]:
        """The trial of most gain, or the front, most gain first; of those that saw every case."""
        whole = [trial for trial in self.trials() if trial.state == "done"]
        front = [t for t in whole if not any(_dominates(other, t) for other in whole)]
        distinct = {tuple((t.values or {}).values()): t for t in reversed(front)}  # of equals the first
        return sorted(distinct.values(), key=lambda t: -(t.values or {}).get("gain_percent", 0.0))

    @property
    def _is_single(self) -> bool:
        return len(self.config.objectives) == 1  # Optuna prunes no others

    def _estimate(self, attempt: Attempt) -> float | None:
        """What a trial would come to, from its differences to the best; None if there is none, or that is no worse."""
        finished = [t for t in self.study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
        if not finished:
            return None
        best = max(finished, key=lambda t: t.value or 0.0)
        assert best.value is not None
        pairs = [(r.measured.gain_percent, best.intermediate_values.get(case)) for case, r in attempt.records.items()]
        behind = statistics.fmean(gain - other for gain, other in pairs if other is not None)
        return best.value + behind if behind < 0 else None

    def _tell(self, attempt: Attempt, values: list[float] | None, error: str | None = None) -> None:
        trial, seen = attempt.trial, attempt.records.values()
        trial.set_user_attr("cases", f"{len(seen)} of {self.cases}")
        for name, value in {"error": error}.items() if error else means(seen).items():
            trial.set_user_attr(name, value)
        from optuna.trial import TrialState

        self.study.tell(trial, values, TrialState.FAIL if values is None else None)


def means(records: Iterable[Record]) -> dict[Objective, float]:
    """Mean gain and mean seconds of refinement."""
    pairs = [(r.measured.gain_percent, r.measured.refine_seconds or 0.0) for r in records]
    gains, seconds = zip(*pairs, strict=True)
    return {"gain_percent": statistics.fmean(gains), "seconds": statistics.fmean(seconds)}


def require_optuna() -> None:
    """Raise ConfigError where Optuna is not installed."""
    try:
        import optuna  # noqa: F401  (others import it by name)
    except ImportError as error:
        raise ConfigError('studies need Optuna, which is not installed: pip install ".[tune]"') from error


def open_study(
    config: StudyConfig, setup: Mapping[str, object], storage: str, name: str, cases: int, seed: int, run: str
) -> Study:
    """A study of this name, new or gone on with: what a killed run left running is tried again.

    Args:
        run: who works on it here: what others have under way, elsewhere, is theirs.
        setup: all that its values depend on; a stored study of another is refused.
        storage: a URL that Optuna knows, redis:// or the path of a journal.

    Raises:
        ConfigError: the storage cannot be used, or holds a study of this name that was begun otherwise.
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
    _retire(study, config, run)
    for point in config.presets():
        study.enqueue_trial(point, skip_if_exists=True)
    return Study(config, study, cases, run)


def _load(storage: str, name: str, directions: list[Literal["maximize", "minimize"]]) -> "optuna.Study":
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
    """Refuse a study that was begun with another setup; a new one takes this."""
    there = study.user_attrs.get("setup")
    if there is None and not study.get_trials(deepcopy=False):
        study.set_user_attr("setup", setup)
        return
    if there is None:
        raise ConfigError(f"{where}: was not begun by rdo-tune: take another --name")
    if change := _first_change(there, setup):
        key, old, new = change
        raise ConfigError(f"{where}: was begun with {key} {old}, not {new}: undo that, or take another -o or --name")


def _first_change(there: object, here: object, key: str = "") -> tuple[str, object, object] | None:
    """Dotted key, old and new value of the first difference."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in [*there, *(name for name in here if name not in there)]:
            if change := _first_change(there.get(name), here.get(name), f"{key}.{name}" if key else name):
                return change
        return None
    if isinstance(there, list) and isinstance(here, list):
        differing = ((a, b) for a, b in zip_longest(there, here) if a != b)
        pair = next(differing, None)
        return pair and (key, *pair)
    return None if there == here else (key, there, here)


def _retire(study: "optuna.Study", config: StudyConfig, run: str) -> None:
    """What a killed run left under way fails, and is tried again; what it had measured is in the records."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.user_attrs.get("run", run) != run:
            continue
        study.tell(trial.number, state=TrialState.FAIL)
        if set(trial.params) == set(config.search):
            study.enqueue_trial(trial.params, user_attrs={"repeats": trial.number})


def _distribution(config: StudyConfig, name: str) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    dimension = config.search[name]
    if dimension.choices:
        return CategoricalDistribution(config.choices(name))
    assert dimension.low is not None and dimension.high is not None
    if config.is_whole(name):
        return IntDistribution(int(dimension.low), int(dimension.high), dimension.log, int(dimension.step or 1))
    return FloatDistribution(dimension.low, dimension.high, dimension.log, dimension.step)


def _as_trial(config: StudyConfig, cases: int, trial: "optuna.trial.FrozenTrial") -> Trial:
    attributes = trial.user_attrs
    seen = int(str(attributes.get("cases", "0")).split()[0])
    done = "done" if seen == cases else "pruned"
    return Trial(
        number=trial.number,
        state=done if trial.values else "failed",
        params=trial.params,
        values=dict(zip(config.objectives, trial.values, strict=True)) if trial.values else None,
        seconds=attributes.get("seconds"),
        cases=seen,
        error=attributes.get("error"),
    )


def _dominates(a: Trial, b: Trial) -> bool:
    """Whether `a` is at least as good as `b` in all objectives, and better in one."""
    assert a.values and b.values
    signs = {"maximize": 1, "minimize": -1}
    ahead = [signs[DIRECTIONS[name]] * (value - b.values[name]) for name, value in a.values.items()]
    return min(ahead) >= 0 and max(ahead) > 0
