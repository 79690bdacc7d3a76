"""Atomic writing: a file under its final name is always complete. And the times of files."""

import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path` as `written_atomically` does.

    Raises:
        OSError: the disk is full, the folder is missing or not writable.
    """
    with written_atomically(path) as file:
        file.write(data)


@contextmanager
def written_atomically(path: Path) -> Iterator[BinaryIO]:
    """Give a file under a temporary name beside `path`, which is fsynced and renamed to `path` in the end.

    On failure the temporary file is removed and a file already at `path` stays. A pipe or device is written into.

    Raises:
        OSError: the disk is full, the folder is missing or not writable.
    """
    if is_special(path):
        buffer = io.BytesIO()
        yield buffer
        path.write_bytes(buffer.getvalue())
        return
    temporary = path.with_name(f".rdo-{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with open(temporary, "x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and str(error.filename) == str(temporary):
            error.filename, error.filename2 = str(path), None  # the name that the user gave
        raise


def is_special(path: Path) -> bool:
    """Tell whether there is something at `path` that is neither a regular file nor a folder, as a pipe or a device."""
    return path.exists() and not path.is_file() and not path.is_dir()


def copy_times(source: Path, target: Path) -> None:
    """Give `target` the times of last access and change of `source`.

    Raises:
        OSError: one of them is missing, or belongs to another user.
    """
    found = source.stat()
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
