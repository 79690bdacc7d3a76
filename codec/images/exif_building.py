"""EXIF blocks built from fields, where a file states them in another way than by a block of its own.

The invariant: values are bytes and stay as they are, so that text in any encoding and rational numbers survive.
"""

import struct
from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

from codec.images import exif

DESCRIPTIVE = (  # of the main folder; fields of the samples are not among them
    0x010E, exif.MAKE, exif.MODEL, exif.X_RESOLUTION, exif.Y_RESOLUTION, exif.RESOLUTION_UNIT, 0x0131, exif.DATE,
    exif.ARTIST, exif.COPYRIGHT,
)  # fmt: skip
_LINKS = {"interop": ("exif", 0xA005), "exif": ("main", 0x8769), "gps": ("main", 0x8825)}  # each before its parent
_ASCII, _SHORT, _LONG, _RATIONAL = 2, 3, 4, 5
_ENTRY_VALUE_BYTES = 4


class Value(NamedTuple):
    """Field of a folder: its tag, the type of its value (TIFF 6.0, section 2), and the value in the block's order."""

    tag: int
    kind: int
    data: bytes


Folders = Mapping[str, Sequence[Value]]  # by "main", "exif", "gps" and "interop"


def text(tag: int, value: str) -> list[Value]:
    """Return the field of a text, in UTF-8; none of an empty one."""
    return [Value(tag, _ASCII, value.encode() + b"\0")] if value else []


def resolution(x: float, y: float) -> list[Value]:
    """Return the fields of a resolution in pixels per inch, in the order "<"."""
    sides = ((exif.X_RESOLUTION, x), (exif.Y_RESOLUTION, y))
    found = [Value(tag, _RATIONAL, struct.pack("<II", round(100 * value), 100)) for tag, value in sides]
    return [*found, Value(exif.RESOLUTION_UNIT, _SHORT, struct.pack("<H", 2))]


def folders_of(data: bytes, main: Container[int] | None = None) -> dict[str, list[Value]]:
    """Return the fields of a block or a TIFF file, without the links between its folders; none of a damaged one.

    Args:
        main: tags to return of the main folder, in which a file may have its samples; None for all.
    """
    block, found = exif.parse(data), dict[str, list[Value]]()
    links = [tag for _, tag in _LINKS.values()]
    for field in block.fields if block else ():
        wanted = field.folder != "main" or main is None or field.tag in main
        if wanted and field.tag not in links and field.folder != "thumbnail":
            found.setdefault(field.folder, []).append(Value(field.tag, field.kind, data[field.begin : field.end]))
    return found


def block_of(folders: Folders, order: str = "<") -> bytes:
    """Return the block of some fields, without the prefix "Exif"; empty without any.

    Args:
        order: of the bytes of all values, `<` or `>`.
    """
    if not any(folders.values()):
        return b""
    own = {name: list(folders.get(name, ())) for name in ("main", "exif", "gps", "interop")}
    for name, (parent, tag) in _LINKS.items():
        own[parent] += [Value(tag, _LONG, bytes(4))] if own[name] else []
    own = {name: values for name, values in own.items() if values}
    places, at = {}, 8
    for name, values in own.items():
        places[name], at = at, at + 6 + sum(12 + _outside_bytes(value) for value in values)
    links = {tag: struct.pack(order + "I", places[name]) for name, (_, tag) in _LINKS.items() if name in own}
    out = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    for name, values in own.items():
        filled = [v._replace(data=links[v.tag]) if v.tag in links else v for v in values]
        out += _folder(filled, order, places[name])
    return out


def _outside_bytes(value: Value) -> int:
    """Return the bytes that a value takes outside its entry, an even number."""
    size = len(value.data)
    return 0 if size <= _ENTRY_VALUE_BYTES else size + size % 2


def _folder(values: list[Value], order: str, begin: int) -> bytes:
    """Return the bytes of a folder that stands at `begin`, values behind it, without a link to a next one."""
    values = sorted(values)  # as TIFF demands
    entries, outside = b"", b""
    after = begin + 6 + 12 * len(values)
    for value in values:
        entries += struct.pack(order + "HHI", value.tag, value.kind, len(value.data) // exif.TYPE_BYTES[value.kind])
        if size := _outside_bytes(value):
            entries += struct.pack(order + "I", after + len(outside))
            outside += value.data.ljust(size, b"\0")
        else:
            entries += value.data.ljust(_ENTRY_VALUE_BYTES, b"\0")
    return struct.pack(order + "H", len(values)) + entries + bytes(4) + outside
