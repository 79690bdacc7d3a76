"""Log of records in a bucket, where nothing can be appended: pieces `results/000001-ab12cd34.jsonl`, read in order.

A run has the last piece in memory and writes it whole, at most once in INTERVAL_S, until it has PIECE_BYTES; then it
begins the next. So a killed run loses the records of its last second, whose pictures the next run encodes again.
Buckets have no locks: two runs at a time do the same work twice but lose nothing, as each writes pieces of its own.
"""

import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from codec import storage
from codec.errors import StorageError
from codec.files import write_atomically
from jobs import jsonl
from jobs.record import Record, from_mapping

PIECES = "results"  # folder of them, in the output folder
INTERVAL_S = 1.0
PIECE_BYTES = 256 << 10
_PIECE = re.compile(r"(\d{6})-[0-9a-f]{8}\.jsonl", re.ASCII)


class BucketLog:
    """Log of the runs whose output folder is a URL.

    Args:
        folder: URL of the output folder.
        pieces: name of the folder in it that holds the pieces.
    """

    def __init__(self, folder: str, pieces: str = PIECES) -> None:
        self.folder, self.pieces, self.run = folder, pieces, secrets.token_hex(4)
        self.number, self.lines = 1, list[str]()  # of the piece in memory
        self.bytes, self.unsaved, self.last_save = 0, False, 0.0

    def exists(self) -> bool:
        """Return whether there is a piece."""
        return bool(self._pieces())

    def read(self) -> Iterator[Record]:
        """Yield the records of all pieces; lines that are none are passed over."""
        for url in self._pieces():
            yield from jsonl.parsed(storage.read(url).split(b"\n"), from_mapping)

    def append(self, record: Record) -> None:
        """Keep a record, and write the piece in memory if it is time."""
        line = record.to_json()
        self.lines.append(line)
        self.bytes, self.unsaved = self.bytes + len(line) + 1, True
        is_full = self.bytes >= PIECE_BYTES
        if is_full or time.monotonic() - self.last_save >= INTERVAL_S:
            self._save()
        if is_full:
            self.number, self.lines, self.bytes = self.number + 1, [], 0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Begin a piece after those that are there, and write what is left at the end."""
        numbers = [int(found[1]) for url in self._pieces() if (found := _PIECE.search(url))]
        self.number, self.unsaved = max(numbers, default=0) + 1, True
        self._save()  # so that a bucket that cannot be written is known before any work is done
        try:
            yield
        finally:
            self._save()
            if not self.lines:
                with suppress(StorageError):  # an empty piece does no harm
                    storage.remove(self._url)

    @property
    def _url(self) -> str:
        """URL of the piece in memory."""
        return f"{self.folder}/{self.pieces}/{self.number:06}-{self.run}.jsonl"

    def _pieces(self) -> list[str]:
        """Return the URLs of the pieces, in order."""
        try:
            found = [each.name for each in storage.walk(f"{self.folder}/{self.pieces}")]
        except StorageError as error:
            if error.is_missing:
                return []
            raise
        return sorted(name for name in found if _PIECE.fullmatch(name.rpartition("/")[2]))

    def _save(self) -> None:
        """Write the piece in memory; where the bucket refuses it, into the working directory, and raise.

        Raises:
            StorageError: the bucket could not be written.
        """
        if not self.unsaved:
            return
        data = "".join(f"{line}\n" for line in self.lines).encode("ascii")
        self.unsaved = False
        try:
            storage.write(self._url, data)
        except StorageError as error:
            if not self.lines:
                raise
            name = self._url.rpartition("/")[2]
            write_atomically(Path(name), data)
            text = f"{error.text}; the last records are in ./{name}: copy it there when it can be written"
            raise StorageError(error.url, text) from None
        self.last_save = time.monotonic()
