"""Logs of records: a file that lines are appended to, or pieces of one in a bucket (`jobs.running.bucket_log`)."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from codec.errors import ConfigError
from jobs import jsonl
from jobs.record import Record, append_record, from_mapping

RESULTS = "results.jsonl"


class RecordLog(Protocol):
    """Records of the runs in one output folder.

    Attributes:
        folder: name of that folder.
    """

    folder: str

    def exists(self) -> bool:
        """Return whether a run has written here."""

    def read(self) -> Iterator[Record]:
        """Yield the records of all runs, in order."""

    def append(self, record: Record) -> None:
        """Keep a record.

        Raises:
            OSError, StorageError: it could not be kept.
        """

    def writing(self) -> AbstractContextManager[None]:
        """Give the context that records are appended in.

        Raises:
            ConfigError: another run writes here.
        """


class FileLog:
    """Log in a file on a disk, to which each record is flushed."""

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, str(path.parent)

    def exists(self) -> bool:
        """Return whether there is a file."""
        return self.path.exists()

    def read(self) -> Iterator[Record]:
        """Yield the records of the file; lines that are none, or torn, are passed over."""
        return jsonl.lines(self.path, from_mapping)

    def append(self, record: Record) -> None:
        """Append a record; an error names the file."""
        try:
            append_record(self.path, record)
        except OSError as error:
            error.filename = error.filename or str(self.path)
            raise

    def writing(self) -> AbstractContextManager[None]:
        """Lock the file against other runs."""
        return sole_writer(self.path)


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
