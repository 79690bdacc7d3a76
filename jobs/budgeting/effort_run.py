"""Encoding of a folder within a budget of time: looks, then rounds of plans and files until all have theirs."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from codec.interface import AnyCodec
from jobs.budgeting.decision import Decision, Plan
from jobs.budgeting.effort import LAST_ROUND, Looks, next_decision, spent_by_now
from jobs.budgeting.looks import look_at
from jobs.budgeting.rounds import Rounds
from jobs.budgeting.time_budget import TimeBudget
from jobs.pools.base import Pool, Task
from jobs.record import Record
from jobs.running.encode_settings import EncodeConfig
from jobs.running.history import History
from jobs.running.progress import Part
from jobs.running.record_log import RecordLog
from jobs.running.worklist import Item, with_pixels


@dataclass(frozen=True)
class Outcome:
    """Result of a run within a budget of time.

    Attributes:
        records: the last of each picture; failed ones have an error.
        decision: plans of all pictures, and the budget.
        spent_s: seconds that workers took.
    """

    records: list[Record]
    decision: Decision
    spent_s: float

    @property
    def plain(self) -> int:
        """Number of pictures for which no time was left, so that they are encoded plainly."""
        return sum(plan.iters == 0 for plan in self.decision.plans.values())

    def text(self) -> str:
        """Return the line that tells what the time was spent on."""
        steps = [r.measured.iters for r in self.records if r.outcome] or [0]
        spread = f"{min(steps)} to {max(steps)} steps a picture, median {statistics.median(steps):g}"
        workers = self.decision.workers
        shared = f" by each of {workers} workers, on average" if workers > 1 else ""
        budget = self.decision.seconds or 0.0
        return f"time budget {budget:g} s: {self.spent_s / workers:.0f} s spent on pictures{shared}; {spread}"


def encode_within_time(
    items: list[Item],
    codec: AnyCodec,
    config: EncodeConfig,
    budget: TimeBudget,
    *,
    log: RecordLog,
    overwrite: bool,
    pool: Pool,
    workers: int,
) -> Outcome:
    """Encode all pictures within a budget of time, each with the steps that it is worth.

    Args:
        items: pictures and files below one folder.
        config: settings that all share, but for the steps.
        log: log that records are appended to, in the output folder.
        overwrite: whether to encode what is done again, and to replace files that no record names.
        pool: encoder with the same model as `codec`.
        workers: of the pool, which share the time.

    Raises:
        ConfigError: another run writes there, or no worker can start.
    """
    existed, items = log.exists(), with_pixels(items)
    with log.writing():
        looks = look_at(items, codec, config, budget, folder=log.folder, pool=pool, workers=workers)
        history = History(log, existed, codec, config.policy)
        pictures = {item.input: item.stamp or history.input_hash(item) or "" for item in items}
        settings = history.hashes_of(config)[0]
        decision = Decision(settings, 0, None, pictures, seconds=budget.seconds, workers=workers)
        rounds = Rounds(
            decision, items, config_of=partial(_config, config, budget), next_decision=partial(next_decision, looks),
            part_of=partial(_part, looks), history=history, log=log, overwrite=overwrite, pool=pool,
        )  # fmt: skip
        rounds.run()
    named: Mapping[str, Record] = rounds.failures | rounds.files
    spent_s = looks.seconds + spent_by_now(rounds.decision, rounds.files)
    return Outcome([named[item.input] for item in items], rounds.decision, spent_s)


def _part(looks: Looks, decision: Decision, tasks: Sequence[Task]) -> Part:
    """Return the place of a group of files, with the seconds that its round and all after it are to take."""
    left_s = (decision.seconds or 0.0) - (looks.seconds + decision.spent_s) / decision.workers
    others = len(decision.plans) - len(tasks)
    after = f" after {others} of {len(looks.pixels)} pictures" if others else ""
    return Part(f"group {decision.round} of at most {LAST_ROUND}{after}", left_s=left_s)


def _config(base: EncodeConfig, budget: TimeBudget, plan: Plan) -> EncodeConfig:
    return replace(base, refine=budget.refine(plan.iters or 0))
