"""JSON lines: append-only logs that survive a killed run.

The invariant: a line counts only when whole. A run that dies while it writes leaves a torn last line, which readers
pass over and the next append ends.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def read(path: Path, parse: Callable[[Any], T]) -> list[T]:
    """Read a log and return `parse` of each line's JSON value, in order; an empty list where there is no file.

    Args:
        parse: raises ValueError, TypeError, AttributeError or LookupError for values that are not of its form; their
            lines are passed over, as are those that are no JSON.
    """
    if not path.is_file():
        return []
    found = []
    for line in path.read_bytes().split(b"\n"):  # no other separator: names of files may hold U+2028
        try:
            found.append(parse(json.loads(line)))
        except (ValueError, TypeError, AttributeError, LookupError):
            continue
    return found


def append(path: Path, text: str) -> None:
    """Append one line of ASCII and flush it to the disk; a torn line before it is ended first."""
    with open(path, "a+b") as file:
        if file.tell() and file.seek(-1, os.SEEK_END) is not None and file.read(1) != b"\n":
            file.write(b"\n")
        file.write(text.encode("ascii") + b"\n")
        file.flush()
        os.fsync(file.fileno())
