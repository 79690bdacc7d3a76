"""Files named by a path or by a URL: read, written whole or not at all, removed."""

import errno
import io
import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import codec.storage as storage
from codec.files import is_special, written_atomically
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # a file of the folder's name
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)) from error
    with written_atomically(path) as file:
        yield file


def exists(name: str) -> bool:
    """Return whether there is a file, or folder, of a name; a pipe or device, which can be written to, does not count.

    Raises:
        OSError, StorageError: it cannot be told.
    """
    if is_url(name):
        return storage.find(name) is not None
    return Path(name).exists() and not is_special(Path(name))


def holds(name: str, data: bytes) -> bool:
    """Return whether a file has this content; one of another size is not read.

    Raises:
        OSError, StorageError: it cannot be read.
    """
    return (is_url(name) or Path(name).stat().st_size == len(data)) and read(name) == data


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
