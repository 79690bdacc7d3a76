"""History of an output folder: which images need no encoding, and which files must not be replaced.

An image is done if image, settings and file match a record by hash. Not replaced are files that no record of this
folder names, files of other images, and files with the same aim that took more steps than this run would.

Hashing ten thousand photographs takes minutes, so an image whose size and times are those of its record is taken to
be the same; its .rdo file, small, is always read. In buckets sizes and checksums of both come with the listing.
"""

import hashlib
import io
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from codec import places, storage
from codec.bitstream.container import unpack
from codec.errors import BitstreamError, StorageError
from codec.images.read import ImagePolicy, image_size
from codec.interface import AnyCodec
from codec.urls import is_url
from jobs.record import SCHEMA, Record, canonical_place
from jobs.running.encode_settings import EncodeConfig, encode_hash, policy_matches, without_effort
from jobs.running.record_index import RecordIndex
from jobs.running.record_log import RecordLog
from jobs.running.worklist import NOT_WRITTEN, STDIO, Item
from rdo.config import RefineConfig

STAMP_AGE_S = 2.0  # resolution of the coarsest file system clock in use, FAT's
BUDGET_OVERRUN = 2.0  # times the time budget: longest refinement within it, as a target needs several searches
OVERWRITE_HINT = "pass --overwrite to replace it"


class History:
    """Records of earlier runs in an output folder, to compare with the settings of this run.

    Args:
        log: log of the records, if any are kept.
        exists: whether that log was there before this run.
        policy: image policy of all settings that are asked about.

    Raises:
        StorageError: the output folder is a URL that cannot be listed or read.
    """

    def __init__(self, log: RecordLog | None, exists: bool, codec: AnyCodec, policy: ImagePolicy) -> None:
        self.exists, self.policy = exists, policy
        self.hashes_of = cache(lambda config: (encode_hash(codec, config), encode_hash(codec, without_effort(config))))
        self.listed = _listed(log.folder) if log and is_url(log.folder) else None  # stamps by URL
        refused = set[str]()
        self.index = RecordIndex(_finished(log.read() if log else (), refused), self._policy_matches)
        self.refused = {place for place in refused if not self.index.of_output(place)}

    def find_done(self, item: Item, config: EncodeConfig) -> Record | None:
        """Return the record of an item that needs no encoding with these settings, None for one that does.

        It is skipped where the item is done, with these settings or with more steps (`is_kept`), and failed where its
        output is a file that must not be replaced.
        """
        if item.output in (STDIO, NOT_WRITTEN):
            return None
        try:
            return self._find_done(item, config) if self._has_output(item) else None
        except StorageError as error:
            return _refusal(item, str(error))
        except OSError as error:  # a name too long, or a folder without permission
            return _refusal(item, f"{item.output}: {error.strerror}: rename it, or name another folder with -o")

    def _find_done(self, item: Item, config: EncodeConfig) -> Record | None:
        """Return the record of an item that has a file and needs no encoding, None for one that does."""
        recorded = self.index.of_output(canonical_place(item.output))
        input_hash, output_hash = self.input_hash(item), self._output_hash(item, recorded)
        config_hash, aim_hash = self.hashes_of(config)
        before = recorded or self.index.of_content(output_hash or "")  # of a folder that was moved
        found = self.index.of_task(input_hash, output_hash, config_hash)
        if before and found is None and before.aim_hash == aim_hash and self._took_more(before, config.refine):
            unchanged = (before.input_sha256, before.measured.output_sha256) == (input_hash, output_hash)
            found = before if unchanged else None
        if found is not None:
            return replace(found, status="skipped", input=item.input, output=item.output)
        if before and before.input_sha256 != input_hash and before.input_place != canonical_place(item.input):
            whose = before.input_place if is_url(before.input_place) else os.path.relpath(before.input_place)
            text = f"{item.output} is another picture's, {whose}: name another folder with -o, or"
        elif (before and _pixels(item.output)) or self._is_unrecorded(item):
            return None
        elif before:
            text = f"{item.output} is damaged, or was altered since:"
        else:
            text = f"{item.output} exists{', and no record here shows it to be ours' if self.exists else ''}:"
        return _refusal(item, f"{text} {OVERWRITE_HINT}")

    def find_made(self, item: Item) -> Record | None:
        """Return the last record of an item's file, whatever its settings, if file and picture are still those."""
        before = self.index.of_output(canonical_place(item.output))
        if before is None or before.measured.output_sha256 != self._output_hash(item, before):
            return None
        return before if before.input_sha256 == self.input_hash(item) else None

    def is_kept(self, record: Record, config: EncodeConfig) -> bool:
        """Return whether a record of `find_done` is skipped for a file of other settings, with more steps."""
        return record.status == "skipped" and record.config_hash != self.hashes_of(config)[0]

    def replaces(self, item: Item) -> bool:
        """Return whether the output of an item that is not done replaces a file, one of other settings."""
        if item.output in (STDIO, NOT_WRITTEN):
            return False
        return self._has_output(item)

    def input_hash(self, item: Item) -> str | None:
        """Return the hash of an image: that of its record while its stamp is unchanged, else computed."""
        stamp = item.stamp if is_url(item.input) else file_stamp(Path(item.input))
        known = self.index.input_sha256(canonical_place(item.input), stamp) if stamp else None
        return known or _sha256(item.source)

    def _output_hash(self, item: Item, recorded: Record | None) -> str | None:
        """Return the hash of a file: in a bucket that of its record while its stamp is unchanged, else computed."""
        stamp = self.listed.get(item.output) if self.listed else None
        if recorded and stamp and stamp == recorded.output_stamp:
            return recorded.measured.output_sha256
        return _sha256(item.output) if self._has_output(item) else None

    def _has_output(self, item: Item) -> bool:
        return places.exists(item.output) if self.listed is None else item.output in self.listed

    def _took_more(self, before: Record, asked: RefineConfig) -> bool:
        """Return whether a file took more steps or seconds than are asked for."""
        done, seconds = before.measured.iters, before.measured.refine_seconds or 0.0
        longer = min(done, before.iters_asked or done) > asked.iters
        longer |= asked.time_budget is not None and seconds > BUDGET_OVERRUN * asked.time_budget
        return longer and self._policy_matches(before)

    def _policy_matches(self, before: Record) -> bool:
        return policy_matches(before.policy, self.policy)

    def _is_unrecorded(self, item: Item) -> bool:
        """Return whether a file may be of a run that was killed before it kept a record.

        It is taken for one if the folder has records, its size is the image's, and no run has refused it before.
        """
        if not self.exists or canonical_place(item.output) in self.refused:
            return False
        return _pixels(item.output) == (item.pixels or _image_pixels(item))


def _finished(records: Iterable[Record], refused: set[str]) -> Iterator[Record]:
    """Yield the records of finished files; add to `refused` the places of files that a run would not replace."""
    for record in records:
        if record.status == "done" and record.outcome:
            yield record
        elif (record.error or "").endswith(OVERWRITE_HINT):
            refused.add(record.output_place)


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


def _refusal(item: Item, error: str) -> Record:
    """Return the failed record of an item that is not encoded."""
    return Record(schema=SCHEMA, status="failed", input=item.input, output=item.output, error=error)


def _listed(folder: str) -> dict[str, str | None]:
    """Return the stamps of the .rdo files below a URL, by theirs."""
    try:
        return {each.name: each.stamp for each in storage.walk(folder, hidden=True) if each.name.endswith(".rdo")}
    except StorageError as error:
        if error.is_missing:
            return {}
        raise


def _image_pixels(item: Item) -> int:
    """Return the number of pixels of an image behind a URL, which its item lacks; 0 where that cannot be read."""
    size = image_size(io.BytesIO(storage.read(item.source))) if is_url(item.source) else None
    return size[0] * size[1] if size else 0


def _pixels(name: str) -> int | None:
    """Return the number of pixels of a .rdo file, None where it is damaged or none."""
    try:
        header = unpack(places.read(name)).header
    except (BitstreamError, OSError):
        return None
    return header.width * header.height


def _sha256(name: str) -> str | None:
    """Return the hash of a file, None where there is none or a disk does not give it.

    Raises:
        StorageError: its store does not.
    """
    try:
        return hashlib.sha256(places.read(name)).hexdigest()
    except OSError:
        return None
    except StorageError as error:
        if error.is_missing:
            return None
        raise
