"""JSON lines: append-only logs that survive a killed run.

The invariant: a line counts only when whole. A run that dies while it writes leaves a torn last line, which readers
pass over and the next append ends.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def read(path: Path, parse: Callable[[Any], T]) -> list[T]:
    """Return what `lines` yields of a log, as a list."""
    return list(lines(path, parse))


def lines(path: Path, parse: Callable[[Any], T]) -> Iterator[T]:
    """Yield `parse` of the JSON value of each line of a log, in order; nothing where there is no file.

    Args:
        parse: raises ValueError, TypeError, AttributeError or LookupError for values that are not of its form; their
            lines are passed over, as are those that are no JSON.
    """
    if path.is_file():
        with open(path, "rb") as file:  # of bytes: names of files may hold U+2028, which ends a line of text
            yield from parsed(file, parse)


def parsed(found: Iterable[bytes], parse: Callable[[Any], T]) -> Iterator[T]:
    """Yield `parse` of the JSON value of each line; lines that are no JSON, or whose value it refuses, are left out."""
    for line in found:
        try:
            value = parse(json.loads(line))
        except (ValueError, TypeError, AttributeError, LookupError):
            continue
        yield value


def append(path: Path, text: str) -> None:
    """Append one line of ASCII and flush it to the disk; a torn line before it is ended first."""
    with open(path, "a+b") as file:
        if file.tell() and file.seek(-1, os.SEEK_END) is not None and file.read(1) != b"\n":
            file.write(b"\n")
        file.write(text.encode("ascii") + b"\n")
        file.flush()
        os.fsync(file.fileno())
