"""Boxes of the ISO base media file format, of which AVIF, HEIC and JPEG 2000 files are made.

The invariant: anything that is not as it should be gives fewer boxes, never an error; pixels do not depend on them.
"""

from collections.abc import Iterator
from typing import NamedTuple

_FULL_BOX_BYTES = 4  # version and flags


class IsoBox(NamedTuple):
    """Box: its type and where its contents begin and end."""

    kind: bytes
    begin: int
    end: int


def boxes(data: bytes, begin: int = 0, end: int | None = None) -> Iterator[IsoBox]:
    """Yield the boxes that stand in `data` from `begin` to `end`, one after the other."""
    end = len(data) if end is None else end
    while begin + 8 <= end:
        size, kind, head = int.from_bytes(data[begin : begin + 4]), data[begin + 4 : begin + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[begin + 8 : begin + 16]), 16
        size = size or end - begin  # 0: to the end
        if size < head or begin + size > end:
            return
        yield IsoBox(kind, begin + head, begin + size)
        begin += size


def find(data: bytes, path: str) -> IsoBox | None:
    """Return the first box at a path of types, as `meta/iprp/ipco`, or None; meta's version is passed over."""
    begin, end, found = 0, len(data), None
    for name in path.split("/"):
        found = next((box for box in boxes(data, begin, end) if box.kind == name.encode()), None)
        if found is None:
            return None
        begin, end = found.begin + _FULL_BOX_BYTES * (name == "meta"), found.end
    return found


def primary_properties(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return (type, contents) of the properties of a HEIF file's primary item; of all items where none is named."""
    container, primary = find(data, "meta/iprp/ipco"), find(data, "meta/pitm")
    if container is None:
        return []
    properties = [(box.kind, data[box.begin : box.end]) for box in boxes(data, container.begin, container.end)]
    indices = None
    if primary is not None:
        wide = data[primary.begin] > 0  # version 1 has ids of 4 bytes
        item = int.from_bytes(data[primary.begin + 4 : primary.begin + (8 if wide else 6)])
        indices = _associations(data).get(item)
    if indices is None:
        return properties
    return [properties[index - 1] for index in indices if 0 < index <= len(properties)]


def _associations(data: bytes) -> dict[int, list[int]]:
    """Return the properties of each item, as places from 1 in the container of properties (ItemPropertyAssociation)."""
    box, found = find(data, "meta/iprp/ipma"), dict[int, list[int]]()
    if box is None or box.end - box.begin < 8:
        return found
    version, wide = data[box.begin], data[box.begin + 3] & 1
    at, id_bytes, index_bytes = box.begin + 8, 4 if version else 2, 2 if wide else 1
    for _ in range(int.from_bytes(data[box.begin + 4 : box.begin + 8])):
        if at + id_bytes >= box.end:
            break
        item, count = int.from_bytes(data[at : at + id_bytes]), data[at + id_bytes]
        at += id_bytes + 1
        places = range(at, min(at + index_bytes * count, box.end), index_bytes)
        essential = 1 << 8 * index_bytes - 1  # a flag
        found[item] = [int.from_bytes(data[place : place + index_bytes]) & (essential - 1) for place in places]
        at += index_bytes * count
    return found
