"""Files named by a path or by a URL: read, written whole or not at all, removed."""

import io
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import codec.storage as storage
from codec.files import written_atomically
from codec.urls import is_url


def read(name: str) -> bytes:
    """Return the content of a file.

    Raises:
        OSError, StorageError: it cannot be read.
    """
    return storage.read(name) if is_url(name) else Path(name).read_bytes()


def write(name: str, data: bytes) -> str | None:
    """Write a file, and its folder where that is missing; return the stamp of one behind a URL.

    Raises:
        OSError, StorageError: it cannot be written; what was there stays.
    """
    if is_url(name):
        return storage.write(name, data)
    with written(name) as file:
        file.write(data)
    return None


@contextmanager
def written(name: str) -> Iterator[BinaryIO]:
    """Give a file to write to, which takes the place of `name` in the end; its folder is made where it is missing.

    Raises:
        OSError, StorageError: it cannot be written; what was there stays.
    """
    if is_url(name):
        buffer = io.BytesIO()
        yield buffer
        storage.write(name, buffer.getvalue())
        return
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_atomically(path) as file:
        yield file


def exists(name: str) -> bool:
    """Return whether there is a file, or folder, of a name.

    Raises:
        OSError, StorageError: it cannot be told.
    """
    return storage.find(name) is not None if is_url(name) else Path(name).exists()


def remove(name: str) -> None:
    """Remove a file, if it is there.

    Raises:
        OSError, StorageError: it cannot be removed.
    """
    if is_url(name):
        storage.remove(name)
    else:
        Path(name).unlink(missing_ok=True)


def joined(folder: str, relative: str) -> str:
    """Return the name of a file below a folder."""
    return f"{folder}/{relative}" if is_url(folder) else str(Path(folder) / relative)


def with_suffix(name: str, suffix: str) -> str:
    """Return the name of a file with another suffix, or one where it has none."""
    return posixpath.splitext(name)[0] + suffix if is_url(name) else str(Path(name).with_suffix(suffix))


def folder_of(name: str) -> str:
    """Return the name of the folder that a file is in."""
    return name.rpartition("/")[0] if is_url(name) else str(Path(name).parent)
