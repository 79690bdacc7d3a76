"""Encoding of a folder to a budget: plain passes, then rounds of plans and files until the total fits.

The invariant: plans are on the disk before a picture is encoded by them, and depend on records alone. So a run that was
killed goes on where it was, to the same files, with any number of workers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from codec.architecture import QUALITY_FIRST, QUALITY_LAST
from codec.interface import AnyCodec
from jobs.budgeting import decision as stored
from jobs.budgeting.budget import Budget
from jobs.budgeting.decision import DECISION, Decision, Plan
from jobs.budgeting.measuring import Picture, measure, measured, minimises_score
from jobs.budgeting.planning import Share, next_plans, total_bytes
from jobs.cli import say
from jobs.pools.base import Pool, Task
from jobs.record import Record
from jobs.running.encode_settings import EncodeConfig
from jobs.running.history import History
from jobs.running.record_log import FileLog
from jobs.running.run import run_tasks
from jobs.running.worklist import Item
from rdo.allocation import Measured

ROUNDS_MAX = 7  # of which the first two encode all pictures, and the others correct
LMBDA_BEYOND = 1.5  # factor beyond the codec's own range that lmbda may take: a hull's ends have any slope


@dataclass(frozen=True)
class Outcome:
    """Result of a run to a budget.

    Attributes:
        records: the last of each picture; failed ones have an error.
        share: budget and pictures; None where no picture could be measured.
        written: points of the files that are there, by input.
        plans: settings of each file, by input.
    """

    records: list[Record]
    share: Share | None
    written: dict[str, Measured]
    plans: Mapping[str, Plan]

    @property
    def excess_bytes(self) -> int:
        """Bytes above the budget; negative where some are left."""
        return total_bytes(self.written) - self.share.limit_bytes if self.share else 0


def encode_to_budget(
    items: list[Item],
    codec: AnyCodec,
    config: EncodeConfig,
    budget: Budget,
    *,
    results: Path,
    overwrite: bool,
    pool: Pool,
) -> Outcome:
    """Encode all pictures so that their files together meet a budget.

    Args:
        items: pictures and files below one folder.
        config: settings that all share; without quality, lmbda or target.
        results: file that records are appended to.
        overwrite: whether to encode what is done again, and to replace files that no record names.
        pool: encoder with the same model as `codec`.

    Raises:
        ConfigError: the budget is too small, another run writes there, or no worker can start.
    """
    folder, log, existed = results.parent, FileLog(results), results.exists()
    with log.writing():
        pictures, failed = measure(items, codec, config, folder=folder, pool=pool)
        for record in failed:
            say(f"{record.input}: {record.error}")
            log.append(record)
        if not pictures:
            return Outcome(failed, None, {}, {})
        share = _share(pictures, codec, config, budget)
        history = History(log, existed, codec, config.policy)
        rounds = _Rounds(share, config, history=history, results=results, overwrite=overwrite, pool=pool)
        rounds.run()
    named = {record.input: record for record in failed} | rounds.failures | rounds.files
    return Outcome([named[item.input] for item in items], share, rounds.written, rounds.decision.plans)


def _share(pictures: list[Picture], codec: AnyCodec, config: EncodeConfig, budget: Budget) -> Share:
    by_score = minimises_score(config, codec)
    ends = codec.lmbda_of(QUALITY_FIRST) / LMBDA_BEYOND, codec.lmbda_of(QUALITY_LAST) * LMBDA_BEYOND

    def lmbda_of_slope(slope: float) -> float | None:
        if by_score:  # each picture's distortion has a scale of its own
            return None
        return float(f"{min(max(8 / slope, ends[0]), ends[1]):.6g}")  # 8 bits a byte

    limit = budget.limit(sum(picture.pixels for picture in pictures))
    return Share(pictures, limit, budget.floor, by_score, lmbda_of_slope)


class _Rounds:
    """Rounds of one run.

    Attributes:
        decision: plans so far, as they stand in the output folder.
        files: record of each file that is there, by input.
        failures: record of each picture that has a plan and no file, by input.
        made: plans that this run has carried out, by input.
    """

    def __init__(
        self,
        share: Share,
        config: EncodeConfig,
        *,
        history: History,
        results: Path,
        overwrite: bool,
        pool: Pool,
    ) -> None:
        self.share, self.config, self.history, self.results = share, config, history, results
        self.overwrite, self.pool = overwrite, pool
        self.item_of = {picture.item.input: picture.item for picture in share.pictures}
        self.files: dict[str, Record] = {}
        self.failures: dict[str, Record] = {}
        self.made: dict[str, Plan] = {}
        pictures = {picture.item.input: picture.sha256 for picture in share.pictures}
        new = Decision(history.hashes_of(config)[0], share.limit_bytes, share.floor, pictures)
        before = None if overwrite else stored.load(results.parent / DECISION)
        self.decision = before if before and before.same_task(new) else new

    @property
    def written(self) -> dict[str, Measured]:
        """Points of the files that are there, by input."""
        return {name: measured(r, r.measured.refined, self.share.by_score) for name, r in self.files.items()}

    def run(self) -> None:
        """Carry out the plans that are there, then plan and carry out round after round."""
        last = self.decision.round + ROUNDS_MAX
        self._carry_out()
        while self.decision.round < last:
            plans = next_plans(self.share, self.decision.plans, self.written)
            if plans is None:
                break
            self._decide(plans, self.decision.round + 1)
            self._carry_out()

    def _decide(self, plans: dict[str, Plan], number: int) -> None:
        self.decision = replace(self.decision, plans=plans, round=number)
        stored.save(self.results.parent / DECISION, self.decision)

    def _carry_out(self) -> None:
        """Encode what the plans ask for and this run has not; settle those of which no better file could be made."""
        todo = [name for name, plan in self.decision.plans.items() if self.made.get(name) != plan]
        todo = [name for name in todo if not (self.decision.plans[name].settled and self._find_file(name))]
        unmet = list[str]()
        for again in (False, True):  # files that this run has made itself may be replaced without a word
            names = [name for name in todo if (name in self.made) == again]
            for record in self._encode(names, None if again or self.overwrite else self.history):
                if record.status != "failed":
                    self.files[record.input] = record
                elif self._find_file(record.input):
                    unmet.append(record.input)
                else:
                    self.failures[record.input] = record
                    say(f"{record.input}: {record.error}")
        plans = dict(self.decision.plans)
        if unmet:
            plans |= {name: replace(plans[name], settled=True) for name in unmet}
            self._decide(plans, self.decision.round)
        self.made |= {name: plans[name] for name in todo}

    def _encode(self, names: list[str], history: History | None) -> Iterator[Record]:
        tasks = [Task(self.item_of[name], self.decision.plans[name].config(self.config)) for name in names]
        yield from run_tasks(tasks, history, FileLog(self.results), self.pool) if tasks else ()

    def _find_file(self, name: str) -> bool:
        """Tell whether a picture has a file, of this run or an earlier one, and take in its record."""
        item = self.item_of[name]
        if name not in self.files and not self.overwrite and (before := self.history.find_made(item)):
            self.files[name] = replace(before, status="skipped", input=item.input, output=item.output)
        return name in self.files
