"""Encoding of a folder to a budget of bytes: plain passes, then rounds of plans and files until the total fits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from codec.architecture import QUALITY_FIRST, QUALITY_LAST
from codec.interface import AnyCodec
from jobs.budgeting.budget import Budget
from jobs.budgeting.decision import Decision, Plan
from jobs.budgeting.measuring import Picture, measure, measured, minimises_score, plain_settings
from jobs.budgeting.planning import ALL_PILOT, Share, next_plans, total_bytes
from jobs.budgeting.rounds import Rounds
from jobs.cli import say
from jobs.pools.base import Pool, Task
from jobs.record import Record
from jobs.running.encode_settings import EncodeConfig
from jobs.running.history import History
from jobs.running.progress import Part, work_of
from jobs.running.record_log import RecordLog
from jobs.running.worklist import Item
from rdo.allocation import Measured

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
    log: RecordLog,
    overwrite: bool,
    pool: Pool,
) -> Outcome:
    """Encode all pictures so that their files together meet a budget.

    Args:
        items: pictures and files below one folder.
        config: settings that all share; without quality, lmbda or target.
        log: log that records are appended to, in the output folder.
        overwrite: whether to encode what is done again, and to replace files that no record names.
        pool: encoder with the same model as `codec`.

    Raises:
        ConfigError: the budget is too small, another run writes there, or no worker can start.
    """
    existed = log.exists()
    with log.writing():
        part = _Passes(items, config).measuring
        pictures, failed = measure(items, codec, config, folder=log.folder, pool=pool, part=part)
        for record in failed:
            say(f"{record.input}: {record.error}")
            log.append(record)
        if not pictures:
            return Outcome(failed, None, {}, {})
        share = _share(pictures, codec, config, budget)
        history = History(log, existed, codec, config.policy)
        hashes = {picture.item.input: picture.sha256 for picture in pictures}
        decision = Decision(history.hashes_of(config)[0], share.limit_bytes, share.floor, hashes)

        def next_decision(before: Decision, files: Mapping[str, Record]) -> Decision | None:
            plans = next_plans(share, before.plans, _points(files, share))
            return None if plans is None else replace(before, plans=plans, round=before.round + 1)

        passes = _Passes([picture.item for picture in pictures], config)
        rounds = Rounds(
            decision, items, config_of=lambda plan: plan.config(config), next_decision=next_decision,
            part_of=passes.of_round, history=history, log=log, overwrite=overwrite, pool=pool,
        )  # fmt: skip
        rounds.run()
    named = {record.input: record for record in failed} | rounds.failures | rounds.files
    written = _points(rounds.files, share)
    return Outcome([named[item.input] for item in items], share, written, rounds.decision.plans)


@dataclass(frozen=True)
class _Passes:
    """Passes over the pictures of a budget, as the progress shows them."""

    items: list[Item]
    config: EncodeConfig

    @property
    def count(self) -> int:
        """Passes that there are in any case: plain measurements, a pilot where there are many pictures, the files."""
        return 2 + (len(self.items) > ALL_PILOT)

    @property
    def measuring(self) -> Part:
        """First pass, of plain encodings that are not kept."""
        return Part(f"pass 1 of {self.count}, measuring", after=work_of(Task(item, self.config) for item in self.items))

    def of_round(self, decision: Decision, tasks: Sequence[Task]) -> Part:
        """Return the place of a round's tasks; how many corrections come after all files, nobody knows."""
        measured = work_of(Task(item, each) for item in self.items for each in plain_settings(self.config))
        planned = work_of(Task(item, self.config) for item in self.items if item.input in decision.plans)
        after = work_of(Task(item, self.config) for item in self.items if item.input not in decision.plans)
        if decision.round >= self.count:
            return Part(f"correction {decision.round + 1 - self.count}", before=measured + planned)
        name = f"pass {decision.round + 1} of {self.count}, {'some files first' if after else 'files'}"
        return Part(name, measured + planned - work_of(tasks), after)


def _points(files: Mapping[str, Record], share: Share) -> dict[str, Measured]:
    """Return the points of files, by input."""
    return {name: measured(r, r.measured.refined, share.by_score) for name, r in files.items()}


def _share(pictures: list[Picture], codec: AnyCodec, config: EncodeConfig, budget: Budget) -> Share:
    by_score = minimises_score(config, codec)
    ends = codec.lmbda_of(QUALITY_FIRST) / LMBDA_BEYOND, codec.lmbda_of(QUALITY_LAST) * LMBDA_BEYOND

    def lmbda_of_slope(slope: float) -> float | None:
        if by_score:  # each picture's distortion has a scale of its own
            return None
        return float(f"{min(max(8 / slope, ends[0]), ends[1]):.6g}")  # 8 bits a byte

    limit = budget.limit(sum(picture.pixels for picture in pictures))
    return Share(pictures, limit, budget.floor, by_score, lmbda_of_slope)
