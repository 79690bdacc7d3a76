"""EXIF blocks, read and edited in place: every byte that is kept stays where it was, so that makers' notes stay valid.

A block is a TIFF file without a picture (CIPA DC-008). The invariant: an edit that changes any field but those it is
meant for is given up, and a damaged block gives fewer fields, never an error.
"""

import struct
from typing import NamedTuple

PREFIX = b"Exif\0\0"
MAKE, MODEL, ORIENTATION, DATE, ARTIST, COPYRIGHT = 0x010F, 0x0110, 0x0112, 0x0132, 0x013B, 0x8298
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
TAKEN, MAKER_NOTE = 0x9003, 0x927C
_EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 0x8769, 0x8825, 0xA005
_COLOUR_SPACE, _WIDTH, _HEIGHT, _INTEROP_INDEX = 0xA001, 0xA002, 0xA003, 0x0001
_ADOBE_RGB, _SRGB, _ADOBE_INDEX, _SRGB_INDEX = 2, 1, b"R03", b"R98"
_THUMBNAIL_BEGIN, _THUMBNAIL_BYTES = 0x0201, 0x0202
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_ENTRY_BYTES, _FIELDS_MAX = 12, 1000
_SUBFOLDERS = {_EXIF_IFD: "exif", _GPS_IFD: "gps", _INTEROP_IFD: "interop"}


class Field(NamedTuple):
    """Field: where its entry stands in the block, and where its value does, which may be in the entry itself."""

    folder: str
    tag: int
    kind: int
    entry: int
    begin: int
    end: int


class Block(NamedTuple):
    """Parsed block: byte order, `<` or `>`, its fields, and where the folders and the links between them stand."""

    order: str
    fields: list[Field]
    folders: dict[str, tuple[int, int]]  # of "main", "exif", "gps", "interop", "thumbnail": begin and end
    thumbnail_link: int  # where the offset of the thumbnail's folder stands

    def find(self, folder: str, tag: int) -> Field | None:
        """Return a field, the first of its tag."""
        return next((field for field in self.fields if (field.folder, field.tag) == (folder, tag)), None)


def order_of(data: bytes) -> str:
    """Return the order of a block's bytes, `<` or `>`; empty where its header names none."""
    return {b"II": "<", b"MM": ">"}.get(bytes(data[:2]), "")


def parse(data: bytes) -> Block | None:
    """Return the fields of a block, with or without its prefix stripped before; None if it has no TIFF header."""
    order = order_of(data)
    if not order or len(data) < 8 or struct.unpack_from(order + "H", data, 2)[0] != 42:
        return None
    block = Block(order, [], {}, 0)
    link = _parse_folder(data, block, "main", struct.unpack_from(order + "I", data, 4)[0])
    if link and link + 4 <= len(data):
        block = block._replace(thumbnail_link=link)
        if following := struct.unpack_from(order + "I", data, link)[0]:
            _parse_folder(data, block, "thumbnail", following)
    return block


def _parse_folder(data: bytes, block: Block, name: str, begin: int) -> int:
    """Add the fields of a folder, and those of folders below it; return where its link to the next one stands."""
    if name in block.folders or not 8 <= begin <= len(data) - 2:
        return 0
    count = struct.unpack_from(block.order + "H", data, begin)[0]
    link = begin + 2 + _ENTRY_BYTES * count
    if count > _FIELDS_MAX or link > len(data):
        return 0
    block.folders[name] = begin, min(link + 4, len(data))
    for entry in range(begin + 2, link, _ENTRY_BYTES):
        tag, kind, number, offset = struct.unpack_from(block.order + "HHII", data, entry)
        size = TYPE_BYTES.get(kind, 0) * number
        at = entry + 8 if size <= 4 else offset
        if not size or at + size > len(data):
            continue
        block.fields.append(Field(name, tag, kind, entry, at, at + size))
        if tag in _SUBFOLDERS and kind in (4, 13):
            _parse_folder(data, block, _SUBFOLDERS[tag], offset)
    return link


def integer(data: bytes, folder: str, tag: int) -> int | None:
    """Return the first number of a field of type SHORT or LONG, None where there is none."""
    block = parse(data)
    field = block and block.find(folder, tag)
    return _integer(data, block.order, field) if block and field else None


def _integer(data: bytes, order: str, field: Field) -> int | None:
    code = {3: "H", 4: "I"}.get(field.kind)
    return struct.unpack_from(order + code, data, field.begin)[0] if code else None


def text(data: bytes, tag: int) -> str:
    """Return a text of the main or the camera's folder, empty where there is none."""
    block = parse(data)
    field = block and (block.find("main", tag) or block.find("exif", tag))
    return decoded(data[field.begin : field.end].split(b"\0")[0]).strip() if field else ""


def decoded(text: bytes) -> str:
    """Return a text whose encoding is not stated: UTF-8, or else that of Windows 1252."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("cp1252", "replace")


def orientation(data: bytes) -> int:
    """Return how a picture is to be turned, 1 to 8; 1, not at all, where the block says nothing that makes sense."""
    value = integer(data, "main", ORIENTATION)
    return value if value is not None and 1 <= value <= 8 else 1


def is_adobe_rgb(data: bytes) -> bool:
    """Return whether a camera says that samples are Adobe RGB: ColorSpace 2, or InteropIndex R03 (DCF 2.0)."""
    block = parse(data)
    index = block and block.find("interop", _INTEROP_INDEX)
    named = bool(index) and data[index.begin : index.end].startswith(_ADOBE_INDEX) if index else False
    return named or integer(data, "exif", _COLOUR_SPACE) == _ADOBE_RGB


def has_location(data: bytes) -> bool:
    """Return whether a block has a folder for the position."""
    block = parse(data)
    return block is not None and "gps" in block.folders


def edited(data: bytes, *, width: int, height: int, private: bool, srgb: bool = True) -> bytes:
    """Return the block of an upright picture of width x height pixels, without the thumbnail; empty if damaged.

    Args:
        private: also leave out the position, and the maker's notes, in which some makers write one.
        srgb: the pixels are sRGB, whatever the block said of them: a field that says Adobe RGB is corrected.
    """
    try:
        return _edited(data, width=width, height=height, private=private, srgb=srgb)
    except (struct.error, ValueError):  # folders that overlap
        return b""


def _edited(data: bytes, *, width: int, height: int, private: bool, srgb: bool) -> bytes:
    block = parse(data)
    if block is None or "main" not in block.folders:
        return b""
    out = bytearray(data)
    changed = {("main", ORIENTATION): 1, ("exif", _WIDTH): width, ("exif", _HEIGHT): height}
    if srgb and is_adobe_rgb(data):
        changed[("exif", _COLOUR_SPACE)] = _SRGB
        index = block.find("interop", _INTEROP_INDEX)
        if index and index.end - index.begin >= len(_SRGB_INDEX):
            changed[("interop", _INTEROP_INDEX)] = 0
            out[index.begin : index.begin + len(_SRGB_INDEX)] = _SRGB_INDEX
    for (folder, tag), value in changed.items():
        if field := block.find(folder, tag):
            _set_integer(out, block.order, field, value)
    dropped = {"thumbnail", "gps"} if private else {"thumbnail"}
    kept = [f for f in block.fields if f.folder not in dropped and not (private and f.tag in (_GPS_IFD, MAKER_NOTE))]
    live = [block.folders[name] for name in block.folders.keys() - dropped] + [(f.begin, f.end) for f in kept]
    if block.thumbnail_link:
        out[block.thumbnail_link : block.thumbnail_link + 4] = bytes(4)
        _blank_thumbnail(out, block)
    if private:
        _drop_fields(out, block, [f for f in block.fields if f.folder not in dropped and f not in kept])
        out = _blank_but(out, live)
    if not _holds(bytes(out), data, kept, set(changed)):
        return b""
    end = max(end for _, end in live)
    return bytes(out if any(out[end:]) else out[:end])


def _set_integer(out: bytearray, order: str, field: Field, value: int) -> None:
    code = {3: "H", 4: "I"}.get(field.kind)
    if code and value < 1 << 8 * struct.calcsize(code):
        struct.pack_into(order + code, out, field.begin, value)


def _blank_thumbnail(out: bytearray, block: Block) -> None:
    """Overwrite the thumbnail and its folder by zeros."""
    begin, size = (block.find("thumbnail", tag) for tag in (_THUMBNAIL_BEGIN, _THUMBNAIL_BYTES))
    places = [(f.begin, f.end) for f in block.fields if f.folder == "thumbnail"]
    places += [block.folders["thumbnail"]] if "thumbnail" in block.folders else []
    if begin and size:
        at, length = (_integer(bytes(out), block.order, field) or 0 for field in (begin, size))
        places.append((min(at, len(out)), min(at + length, len(out))))
    for at, end in places:
        out[at:end] = bytes(end - at)


def _blank_but(out: bytearray, live: list[tuple[int, int]]) -> bytearray:
    """Return the block with zeros wherever none of the (begin, end) of `live` is, the header apart."""
    blank = bytearray(len(out))
    for begin, end in [(0, 8), *live]:
        blank[begin:end] = out[begin:end]
    return blank


def _drop_fields(out: bytearray, block: Block, fields: list[Field]) -> None:
    """Take fields out of their folders: those behind move up, and values become zeros."""
    for field in sorted(fields, key=lambda each: -each.entry):
        begin, end = block.folders[field.folder]
        if field.begin != field.entry + 8:
            out[field.begin : field.end] = bytes(field.end - field.begin)
        count = struct.unpack_from(block.order + "H", out, begin)[0]
        out[field.entry : end - _ENTRY_BYTES] = out[field.entry + _ENTRY_BYTES : end]
        out[end - _ENTRY_BYTES : end] = bytes(_ENTRY_BYTES)
        struct.pack_into(block.order + "H", out, begin, count - 1)


def _holds(out: bytes, data: bytes, kept: list[Field], changed: set[tuple[str, int]]) -> bool:
    """Return whether an edited block has exactly the fields to keep, those apart that were to change as they were."""
    again = parse(out)
    if again is None:
        return False
    values = [(f.folder, f.tag, f.kind, f.end - f.begin, data[f.begin : f.end]) for f in kept]
    found = [(f.folder, f.tag, f.kind, f.end - f.begin, out[f.begin : f.end]) for f in again.fields]
    return len(values) == len(found) and all(
        a[:4] == b[:4] and (a[4] == b[4] or a[:2] in changed) for a, b in zip(values, found, strict=True)
    )
