"""What earlier runs left in an output folder: which pictures need no work, and which files are not to be replaced.

Those are other people's, other pictures', and those that took more steps than are asked for now to the same end.

Done means that picture, settings and file match a record by hash. Hashing ten thousand photographs takes minutes, so a
picture whose size and times are those that its record states is taken to be the same; its file, small, is always read.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from codec.bitstream.container import unpack
from codec.coding import AnyCodec
from codec.errors import BitstreamError, ConfigError
from jobs.record import SCHEMA, Record, place, read_records
from jobs.running.encode_settings import EncodeConfig, aim_of, encode_hash, suits
from jobs.running.worklist import NOWHERE, STDIO, Item

STAMP_AGE_S = 2.0  # past the coarsest clock of a file system in use, FAT's
OVERRUN = 2.0  # times a time budget: what a run with that budget may have taken, with a target to meet
REFUSED = "pass --overwrite to replace it"


class History:
    """What earlier runs recorded in an output folder, held against the settings of this one.

    Args:
        exists: whether the results file was there before us.
    """

    def __init__(self, results: Path | None, exists: bool, codec: AnyCodec, config: EncodeConfig) -> None:
        self.exists, self.config = exists, config
        self.config_hash, self.aim_hash = encode_hash(codec, config), encode_hash(codec, aim_of(config))
        records = read_records(results) if results else []
        done = [r for r in records if r.status == "done" and r.outcome]
        self.finished = {(r.input_sha256, r.measured.output_sha256, r.config_hash): r for r in done if self._suits(r)}
        self.hashes = {(r.input_path, r.input_stamp): r.input_sha256 for r in done if r.input_stamp}
        self.written = {r.output_path: r for r in done}
        self.made = {r.measured.output_sha256: r for r in done}  # which tells files apart in a folder that was moved
        refused = {r.output_path for r in records if (r.error or "").endswith(REFUSED)}
        self.refused = refused - self.written.keys()

    def settled(self, item: Item) -> Record | None:
        """A record for what needs no work: what is done, also with more steps (`is_kept`), or not ours to replace."""
        output = Path(item.output)
        if item.output in (STDIO, NOWHERE):
            return None
        try:
            if not output.exists():
                return None
        except OSError as error:  # too long a name, or a folder that may not be entered
            return _refusal(item, f"{item.output}: {error.strerror}: rename it, or name another folder with -o")
        digest, made = self._input_hash(Path(item.input)), _sha256(output)
        before = self.written.get(place(output)) or self.made.get(made or "")
        found = self.finished.get((digest, made or "", self.config_hash))
        if (
            before
            and (before.input_sha256, before.measured.output_sha256) == (digest, made)
            and self._took_more(before)
        ):
            found = found or before
        if found is not None:
            return replace(found, status="skipped", input=item.input, output=item.output)
        if before and before.input_sha256 != digest and before.input_path != place(Path(item.input)):
            whose = os.path.relpath(before.input_path)
            text = f"{item.output} is another picture's, {whose}: name another folder with -o, or"
        elif (before and _pixels(output)) or self._left_behind(item):
            return None
        elif before:
            text = f"{item.output} is damaged, or was altered since:"
        else:
            text = f"{item.output} exists{', and no record here shows it to be ours' if self.exists else ''}:"
        return _refusal(item, f"{text} {REFUSED}")

    def is_kept(self, settled: Record) -> bool:
        """Whether a skipped record is of other settings, which took more steps."""
        return settled.status == "skipped" and settled.config_hash != self.config_hash

    def replaces(self, item: Item) -> bool:
        """Whether a file stands where this one, not `settled`, goes: one that other settings made."""
        return item.output not in (STDIO, NOWHERE) and _sha256(Path(item.output)) is not None

    def _input_hash(self, path: Path) -> str | None:
        found = stamp(path)
        return (found and self.hashes.get((place(path), found))) or _sha256(path)

    def _took_more(self, before: Record) -> bool:
        """Whether a file with the same aim took more work than is asked for now."""
        done, seconds = before.measured.iters, before.measured.refine_seconds or 0.0
        asked = self.config.refine
        longer = min(done, before.iters_asked or done) > asked.iters
        longer |= asked.time_budget is not None and seconds > OVERRUN * asked.time_budget
        return longer and before.aim_hash == self.aim_hash and self._suits(before)

    def _suits(self, before: Record) -> bool:
        return suits(before.policy, self.config.policy)

    def _left_behind(self, item: Item) -> bool:
        """Whether a file that no record names may be a killed run's: of the picture's size, and not refused before."""
        output = Path(item.output)
        return self.exists and place(output) not in self.refused and _pixels(output) == item.pixels


def stamp(path: Path) -> str | None:
    """Size and times of a file: while they stay, so does what is in it. None where they cannot tell.

    Clocks of file systems are too coarse to tell two changes in a row apart: a file just changed has no stamp.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    if time.time() - max(found.st_mtime, found.st_ctime) < STAMP_AGE_S:
        return None
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}"


@contextmanager
def sole_writer(results: Path) -> Iterator[None]:
    """Keep other runs out of a results file's folder for as long as this process lives.

    Where the file system knows no locks nobody is kept out. Two runs then do the same work twice and lose none:
    files are replaced whole and records are added a line at a time.

    Raises:
        ConfigError: another run writes there.
    """
    with open(results, "ab") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = "another run writes here: wait for its end, or name another folder with -o"
            raise ConfigError(f"{results.parent}: {text}") from None
        except (ImportError, OSError):
            pass
        yield


def _refusal(item: Item, error: str) -> Record:
    return Record(schema=SCHEMA, status="failed", input=item.input, output=item.output, error=error)


def _pixels(path: Path) -> int | None:
    """How many a file holds; None where it is damaged, or no .rdo file."""
    try:
        header, _ = unpack(path.read_bytes())
    except (BitstreamError, OSError):
        return None
    return header.width * header.height


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
