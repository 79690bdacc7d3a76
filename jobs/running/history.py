"""History of an output folder: which images need no encoding, and which files must not be replaced.

An image is done if image, settings and file match a record by hash. Not replaced are files that no record of this
folder names, files of other images, and files with the same aim that took more steps than this run would.

Hashing ten thousand photographs takes minutes, so an image whose size and times are those of its record is taken to
be the same; its .rdo file, small, is always read.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from codec.bitstream.container import unpack
from codec.errors import BitstreamError, ConfigError
from codec.interface import AnyCodec
from jobs.record import SCHEMA, Record, canonical_path, read_records
from jobs.running.encode_settings import EncodeConfig, encode_hash, policy_matches, without_effort
from jobs.running.worklist import NOT_WRITTEN, STDIO, Item

STAMP_AGE_S = 2.0  # resolution of the coarsest file system clock in use, FAT's
BUDGET_OVERRUN = 2.0  # times the time budget: longest refinement within it, as a target needs several searches
OVERWRITE_HINT = "pass --overwrite to replace it"


class History:
    """Records of earlier runs in an output folder, to compare with the settings of this run.

    Args:
        results: file of the records, if any are kept.
        exists: whether that file was there before this run.
    """

    def __init__(self, results: Path | None, exists: bool, codec: AnyCodec, config: EncodeConfig) -> None:
        self.exists, self.config = exists, config
        self.config_hash, self.aim_hash = encode_hash(codec, config), encode_hash(codec, without_effort(config))
        records = read_records(results) if results else []
        done = [r for r in records if r.status == "done" and r.outcome]
        self.finished = {
            (r.input_sha256, r.measured.output_sha256, r.config_hash): r for r in done if self._policy_matches(r)
        }
        self.hashes = {(r.input_path, r.input_stamp): r.input_sha256 for r in done if r.input_stamp}
        self.by_output = {r.output_path: r for r in done}
        self.by_output_hash = {r.measured.output_sha256: r for r in done}  # finds files of a folder that was moved
        refused = {r.output_path for r in records if (r.error or "").endswith(OVERWRITE_HINT)}
        self.refused = refused - self.by_output.keys()

    def find_done(self, item: Item) -> Record | None:
        """Return the record of an item that needs no encoding, None for one that does.

        It is skipped where the item is done, with these settings or with more steps (`is_kept`), and failed where its
        output is a file that must not be replaced.
        """
        output = Path(item.output)
        if item.output in (STDIO, NOT_WRITTEN):
            return None
        try:
            if not output.exists():
                return None
        except OSError as error:  # a name too long, or a folder without permission
            return _refusal(item, f"{item.output}: {error.strerror}: rename it, or name another folder with -o")
        input_hash, output_hash = self._input_hash(Path(item.input)), _sha256(output)
        before = self.by_output.get(canonical_path(output)) or self.by_output_hash.get(output_hash or "")
        found = self.finished.get((input_hash, output_hash or "", self.config_hash))
        if before and found is None and self._took_more(before):
            unchanged = (before.input_sha256, before.measured.output_sha256) == (input_hash, output_hash)
            found = before if unchanged else None
        if found is not None:
            return replace(found, status="skipped", input=item.input, output=item.output)
        if before and before.input_sha256 != input_hash and before.input_path != canonical_path(Path(item.input)):
            whose = os.path.relpath(before.input_path)
            text = f"{item.output} is another picture's, {whose}: name another folder with -o, or"
        elif (before and _pixels(output)) or self._is_unrecorded(item):
            return None
        elif before:
            text = f"{item.output} is damaged, or was altered since:"
        else:
            text = f"{item.output} exists{', and no record here shows it to be ours' if self.exists else ''}:"
        return _refusal(item, f"{text} {OVERWRITE_HINT}")

    def is_kept(self, record: Record) -> bool:
        """Return whether a record of `find_done` is skipped for a file of other settings, with more steps."""
        return record.status == "skipped" and record.config_hash != self.config_hash

    def replaces(self, item: Item) -> bool:
        """Return whether the output of an item that is not done replaces a file, one of other settings."""
        return item.output not in (STDIO, NOT_WRITTEN) and _sha256(Path(item.output)) is not None

    def _input_hash(self, path: Path) -> str | None:
        """Return the hash of an image: that of its record while its stamp is unchanged, else computed."""
        stamp = file_stamp(path)
        return (stamp and self.hashes.get((canonical_path(path), stamp))) or _sha256(path)

    def _took_more(self, before: Record) -> bool:
        """Return whether a file with the same aim took more steps or seconds than this run would."""
        done, seconds = before.measured.iters, before.measured.refine_seconds or 0.0
        asked = self.config.refine
        longer = min(done, before.iters_asked or done) > asked.iters
        longer |= asked.time_budget is not None and seconds > BUDGET_OVERRUN * asked.time_budget
        return longer and before.aim_hash == self.aim_hash and self._policy_matches(before)

    def _policy_matches(self, before: Record) -> bool:
        return policy_matches(before.policy, self.config.policy)

    def _is_unrecorded(self, item: Item) -> bool:
        """Return whether a file may be of a run that was killed before it kept a record.

        It is taken for one if the folder has records, its size is the image's, and no run has refused it before.
        """
        output = Path(item.output)
        return self.exists and canonical_path(output) not in self.refused and _pixels(output) == item.pixels


def file_stamp(path: Path) -> str | None:
    """Return size and times of a file, which stay while its content does; None where they cannot tell.

    File system clocks are too coarse to tell two changes in a row apart: a file just changed has no stamp.
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
    """Lock a results file against other runs, until this process ends.

    Some file systems have no locks. Two runs at a time then do the same work twice but lose nothing, as files are
    replaced whole and records appended by the line.

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
    """Return the failed record of an item that is not encoded."""
    return Record(schema=SCHEMA, status="failed", input=item.input, output=item.output, error=error)


def _pixels(path: Path) -> int | None:
    """Return the number of pixels of a .rdo file, None where it is damaged or none."""
    try:
        header = unpack(path.read_bytes()).header
    except (BitstreamError, OSError):
        return None
    return header.width * header.height


def _sha256(path: Path) -> str | None:
    """Return the hash of a file, None where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
