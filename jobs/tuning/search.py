"""Search of a study: trials through a pool of workers, several under way at once."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from codec.errors import ConfigError
from jobs.record import Record
from jobs.tuning.evaluator import Case, Evaluator
from jobs.tuning.study import OpenTrial, Study

FAILURES_MAX = 3  # trials in a row; then the cause is not a recipe


class Job(NamedTuple):
    """Case, by its index, of a trial under way."""

    trial: OpenTrial
    case: int


@dataclass
class Search:
    """Search until a study has its number of trials, or until `deadline`, in seconds of `time.monotonic`.

    The pool is kept full with open cases of the oldest trial first, then with those of a new trial.

    Attributes:
        study: samples the recipes and stores their gains.
        evaluator: encodes the cases.
        cases: photos and qualities to tune on.
        deadline: time after which no trial is begun.
        on_end: called with the number of each trial that ends.
        open_trials: trials under way, by number.
        in_flight: jobs in the pool, by key.
        failures: trials that failed since the last one that did not.
    """

    study: Study
    evaluator: Evaluator
    cases: list[Case]
    deadline: float
    on_end: Callable[[int], None]
    open_trials: dict[int, OpenTrial] = field(default_factory=dict)
    in_flight: dict[str, Job] = field(default_factory=dict)
    failures: int = 0

    def run(self) -> None:
        """Run the search to its end.

        Raises:
            ConfigError: FAILURES_MAX trials in a row have failed.
        """
        while True:
            while len(self.in_flight) < self.evaluator.pool.slots and (job := self._next()):
                self._begin(job)
            if not self.in_flight:
                return
            for key, record in self.evaluator.wait():
                self._add(self.in_flight.pop(key), record)

    def _next(self) -> Job | None:
        for trial in self.open_trials.values():
            if trial.todo:
                return Job(trial, trial.todo.popleft())
        if self.study.finished + len(self.open_trials) >= self.study.config.trials or time.monotonic() > self.deadline:
            return None
        trial = self.study.ask()
        self.open_trials[trial.number] = trial
        return Job(trial, trial.todo.popleft())

    def _begin(self, job: Job) -> None:
        key = f"trial {job.trial.number}, case {job.case}"
        record = self.evaluator.start(key, self.cases[job.case], job.trial.recipe)
        if record is None:
            self.in_flight[key] = job
        else:
            self._add(job, record)

    def _add(self, job: Job, record: Record) -> None:
        number = job.trial.number
        if number not in self.open_trials or not self.study.add_record(job.trial, job.case, record):
            return  # pruned while this case was under way, or not finished yet
        del self.open_trials[number]
        self.on_end(number)
        self.failures = self.failures + 1 if record.error else 0
        if self.failures >= FAILURES_MAX:
            raise ConfigError(f"{self.failures} trials in a row failed, the last on {record.input}: {record.error}")
