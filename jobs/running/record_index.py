"""Index of the records of finished files, by place and by content, in a temporary database.

A hundred thousand records would take some 300 MB as objects. The invariant: of several records that answer a question,
the last is returned.
"""

import json
import sqlite3
import weakref
from collections.abc import Callable, Iterable

from codec.errors import ConfigError
from jobs.record import Record, from_mapping

CACHE_KIB = 16 << 10  # of the database, in memory
_COLUMNS = "output_place, output_sha256, input_place, input_stamp, input_sha256, config_hash, reads_alike"
_INDEXES = (
    "output_place", "output_sha256", "output_sha256, input_sha256, config_hash, reads_alike", "input_place, input_stamp"
)  # fmt: skip


class RecordIndex:
    """Records of finished files.

    Args:
        records: in order, each done and with an outcome.
        reads_alike: tells of a record whether its run read the image as this run would.

    Raises:
        ConfigError: there is no room for temporary files.
    """

    def __init__(self, records: Iterable[Record], reads_alike: Callable[[Record], bool]) -> None:
        # a file without a name, gone when it is closed, by whatever thread collects garbage
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._database.close)
        try:
            for pragma in (f"cache_size = -{CACHE_KIB}", "journal_mode = off", "synchronous = off"):
                self._database.execute(f"pragma {pragma}")
            self._database.execute(f"create table records ({_COLUMNS}, line)")
            rows = (_row(record, reads_alike(record)) for record in records)
            self._database.execute("begin")
            self._database.executemany("insert into records values (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            for number, columns in enumerate(_INDEXES):
                self._database.execute(f"create index by{number} on records ({columns})")
            self._database.execute("commit")
        except sqlite3.Error as error:
            text = "records cannot be indexed in a temporary file: make room where these are, or set TMPDIR"
            raise ConfigError(f"{error}: {text}") from None

    def of_output(self, place: str) -> Record | None:
        """Return the record of the file at a place (`jobs.record.canonical_place`)."""
        return self._last(output_place=place)

    def of_content(self, output_sha256: str) -> Record | None:
        """Return the record of a file by its content, wherever it was written."""
        return self._last(output_sha256=output_sha256)

    def of_task(self, input_sha256: str | None, output_sha256: str | None, config_hash: str) -> Record | None:
        """Return the record of an image, its file and settings, of a run that read the image as this one would."""
        found = {"output_sha256": output_sha256, "input_sha256": input_sha256, "config_hash": config_hash}
        return self._last(**found, reads_alike="1")

    def input_sha256(self, place: str, stamp: str) -> str | None:
        """Return the hash of the image at a place while it has a stamp."""
        found = self._last(input_place=place, input_stamp=stamp)
        return found.input_sha256 if found else None

    def _last(self, **values: str | None) -> Record | None:
        """Return the last record with these values of columns."""
        where = " and ".join(f"{column} = ?" for column in values)
        query = f"select line from records where {where} order by rowid desc limit 1"
        row = self._database.execute(query, [_blob(value) for value in values.values()]).fetchone()
        return from_mapping(json.loads(row[0])) if row else None


def _row(record: Record, reads_alike: bool) -> list[bytes]:
    places = record.output_place, record.measured.output_sha256, record.input_place, record.input_stamp
    values = (*places, record.input_sha256, record.config_hash, str(int(reads_alike)), record.to_json())
    return [_blob(value) for value in values]


def _blob(text: str | None) -> bytes:
    """Return a text as bytes, of names too that are no Unicode; None as none."""
    return (text or "").encode("utf-8", "surrogatepass")
