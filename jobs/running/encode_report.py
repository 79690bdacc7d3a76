"""Reports of `rdo-encode` besides its progress: notes on pictures, the table, the plan of a dry run."""

import math
from collections.abc import Iterable
from pathlib import Path

from codec.architecture import QUALITY_LAST
from codec.errors import StorageError
from codec.files import copy_times
from codec.images.read import ImagePolicy, refusal
from codec.places import read
from codec.urls import is_url
from jobs import cli
from jobs.record import Record
from jobs.running.encode_settings import EncodeConfig
from jobs.running.encoding import NO_POSITION
from jobs.running.run import Planned
from jobs.running.table import Table
from jobs.running.worklist import STDIO, Item


class RunReport:
    """Report of a run, told as the records of its pictures come: failures, notes, and at its end a table.

    Attributes:
        table: of all pictures.
    """

    def __init__(self, config: EncodeConfig, preserve_times: bool) -> None:
        self.config, self.preserve_times = config, preserve_times
        self.table = Table()
        self._positions_told = False

    def add(self, record: Record, failures: bool = True) -> None:
        """Add a picture to the table, print its failure or what was found in it, and give its file its times if asked.

        Args:
            failures: whether to print failures, too.
        """
        self.table.add(record)
        notes = (record.notes or []) if record.status == "done" else []
        for text in [record.error] if record.error and failures else notes:
            if text != NO_POSITION or not self._positions_told:
                cli.say(f"{record.input}: {text}")
            self._positions_told |= text == NO_POSITION
        if self.preserve_times and record.outcome and STDIO not in (record.input, record.output):
            copy_times(record.input_path, record.output_path)

    def print_summary(self, folder: str | None) -> None:
        """Print the table, and what it leaves out."""
        table = self.table
        print(table.text(folder))
        if table.metadata_bytes:
            print(f"metadata takes {table.metadata_bytes} bytes more; --metadata copyright or drop keeps less")
        if table.exact and self.config.exact == "auto":
            what = "1 picture is" if table.exact == 1 else f"{table.exact} pictures are"
            print(f"{what} stored exactly: the model was not used, as it costs more; --exact never refines with it")
        if self.config.roi and table.scored:
            print(f"cost counts errors as {cli.printable(str(self.config.roi))} weighs them")


def show_plan(planned: Iterable[Planned], policy: ImagePolicy) -> int:
    """Print what a run would write; return 1 if it would refuse any picture, as far as headers tell."""

    def found_wrong(item: Item) -> str | None:
        try:
            return refusal(read(item.source) if is_url(item.source) else Path(item.input), policy)
        except StorageError as error:
            return error.text

    refused = done = replaced = 0
    for item, record, replaces in planned:
        error = record.error if record else item.input != STDIO and found_wrong(item)
        if error:
            cli.say(f"{item.input}: {error}")
            refused += 1
        elif record:
            done += 1
        else:
            print(f"{cli.printable(item.input)} -> {cli.printable(item.output)}")
            replaced += replaces
    if done:
        cli.say(f"{done} done before, and unchanged")
    if replaced:
        cli.say(f"{replaced} would be replaced: -o names another folder")
    return cli.SOME_FAILED if refused else cli.DONE


def unused_bytes(record: Record, config: EncodeConfig) -> float:
    """Return the bytes by which a file falls short of its target at the highest quality; 0 if it meets the target."""
    found = record.outcome
    if record.status != "done" or not found or record.quality != QUALITY_LAST:
        return 0.0
    goal = config.goal(found.width * found.height)
    size = found.refined.bytes + found.metadata_bytes
    if not goal or goal.kind != "bytes" or goal.met(math.log(size)):
        return 0.0
    return goal.value - size
