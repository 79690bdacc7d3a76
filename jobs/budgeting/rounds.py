"""Rounds of a budget, of bytes or of time: plans, files by them, plans that follow from these files.

The invariant: plans are written before a picture is encoded by them, and depend on records alone. So a run that was
killed goes on where it was, with any number of workers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from codec.places import joined
from jobs.budgeting import decision as stored
from jobs.budgeting.decision import DECISION, Decision, Plan
from jobs.cli import say
from jobs.pools.base import Pool, Task
from jobs.record import Record
from jobs.running.encode_settings import EncodeConfig
from jobs.running.history import History
from jobs.running.progress import Part
from jobs.running.record_log import RecordLog
from jobs.running.run import run_tasks
from jobs.running.worklist import Item

ROUNDS_MAX = 7  # of one run


class Rounds:
    """Rounds of one run.

    Args:
        decision: without plans; that of an earlier run takes its place, if it is about the same.
        items: pictures and the files to write.
        config_of: returns the settings of a plan.
        next_decision: returns the plans of the next round, given those so far and the records of the files that are
            there, by input; None where nothing is left to be done. A picture with a plan and no file has failed.
        part_of: returns the place of tasks of a decision's round in the progress of the run.
        overwrite: whether to encode what is done again, and to replace files that no record names.

    Attributes:
        place: path or URL of the decision, in the output folder.
        decision: plans so far, as they stand there.
        files: record of each file that is there, by input.
        failures: record of each picture that has a plan and no file, by input.
        made: plans that this run has carried out, by input.
    """

    def __init__(
        self,
        decision: Decision,
        items: list[Item],
        *,
        config_of: Callable[[Plan], EncodeConfig],
        next_decision: Callable[[Decision, Mapping[str, Record]], Decision | None],
        part_of: Callable[[Decision, Sequence[Task]], Part],
        history: History,
        log: RecordLog,
        overwrite: bool,
        pool: Pool,
    ) -> None:
        self.config_of, self.next_decision, self.part_of = config_of, next_decision, part_of
        self.history, self.log, self.overwrite, self.pool = history, log, overwrite, pool
        self.item_of = {item.input: item for item in items}
        self.files: dict[str, Record] = {}
        self.failures: dict[str, Record] = {}
        self.made: dict[str, Plan] = {}
        self.place = joined(log.folder, DECISION)
        self.decision = decision if overwrite else stored.resumed(self.place, decision)

    def run(self) -> None:
        """Carry out the plans that are there, then plan and carry out round after round."""
        last = self.decision.round + ROUNDS_MAX
        self._carry_out()
        while self.decision.round < last:
            found = self.next_decision(self.decision, self.files)
            if found is None:
                break
            self._decide(found)
            self._carry_out()

    def _decide(self, decision: Decision) -> None:
        self.decision = decision
        stored.save(self.place, decision)

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
            self._decide(replace(self.decision, plans=plans))
        self.made |= {name: plans[name] for name in todo}

    def _encode(self, names: list[str], history: History | None) -> Iterator[Record]:
        tasks = [Task(self.item_of[name], self.config_of(self.decision.plans[name])) for name in names]
        if tasks:
            yield from run_tasks(tasks, history, self.log, self.pool, part=self.part_of(self.decision, tasks))

    def _find_file(self, name: str) -> bool:
        """Tell whether a picture has a file, of this run or an earlier one, and take in its record."""
        item = self.item_of[name]
        if name not in self.files and not self.overwrite and (before := self.history.find_made(item)):
            self.files[name] = replace(before, status="skipped", input=item.input, output=item.output)
        return name in self.files
