"""EXIF as twenty makers of phones and cameras lay it out: what a copy keeps of it is equal, byte for byte."""

import struct
from typing import Any, NamedTuple

import pytest
from PIL import Image

from codec.images import exif
from codec.images.metadata import Keeping, Metadata
from codec.images.outputs import OutputSettings, write_picture
from codec.images.read import read_picture
from tests.codec.images.conftest import RGB, save

BODY = bytes(range(7, 256)) * 4  # of a maker's note
LINKS = {0x8769: "exif", 0x8825: "gps", 0xA005: "interop"}
KINDS = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 7: "s", 9: "i", 10: "ii"}
THUMBNAIL = b"\xff\xd8" + b"\x77" * 2995 + b"\xff\xd9"
LATITUDE = (52, 1, 31, 1, 1234, 100)
Values = dict[tuple[str, int], tuple[int, bytes]]  # type and bytes by folder and tag


class Camera(NamedTuple):
    """What a maker writes: byte order, start of its note, order of the parts, bytes between them, further fields."""

    make: str
    model: str
    order: str
    note: bytes
    parts: str = "main exif interop gps thumbnail jpeg"
    gap: int = 0
    more: tuple[tuple[str, int, int, Any], ...] = ()


CAMERAS = (
    Camera("Apple", "iPhone 15 Pro", ">", b"Apple iOS\0\0\1MM", more=(("exif", 0x9011, 2, b"+02:00\0"),)),
    Camera("samsung", "SM-S918B", "<", b"\7\0\1\0\7\0", "main exif gps interop thumbnail jpeg"),
    Camera("Google", "Pixel 8", "<", b"HDRP\2", "main exif interop gps thumbnail jpeg", 1),
    Camera("Xiaomi", "2201123G", ">", b'{"mirror":false,', more=(("exif", 0x9999, 2, b'{"sensor":1}\0'),)),
    Camera("HUAWEI", "ELS-NX9", ">", b"HUAWEI\0\0MM", "main thumbnail jpeg exif interop gps"),
    Camera("OnePlus", "CPH2449", "<", b"MM*\0", gap=3),
    Camera("SONY", "ILCE-7M4", "<", b"SONY DSC \0\0\0", "main exif interop thumbnail gps jpeg",
           more=(("main", 0xC4A5, 7, b"PrintIM\0000300\0\0" + bytes(90)),)),
    Camera("OPPO", "CPH2525", ">", b"oplus_", more=(("exif", 0x9286, 7, b"ASCII\0\0\0oplus_33"),)),
    Camera("vivo", "V2227A", "<", b"", "main exif gps thumbnail jpeg interop"),
    Camera("motorola", "edge 40", ">", b"mot\0", gap=5),
    Camera("Canon", "Canon EOS R6", "<", b"\x2d\0\1\0\3\0", "main exif interop gps thumbnail jpeg", 8,
           (("exif", 0x9286, 7, bytes(264)),)),
    Camera("NIKON CORPORATION", "NIKON Z 6", ">", b"Nikon\0\2\x11\0\0MM\0*\0\0\0\x08", gap=2),
    Camera("FUJIFILM", "X-T5", "<", b"FUJIFILM\x0c\0\0\0", "main exif interop thumbnail jpeg gps",
           more=(("exif", 0xA302, 7, b"\2\0\2\0\0\1\1\2"),)),
    Camera("Panasonic", "DC-S5", "<", b"Panasonic\0\0\0",
           more=(("main", 0xC4A5, 7, b"PrintIM\0000250\0\0" + bytes(240)),)),
    Camera("OLYMPUS CORPORATION", "E-M1MarkIII", "<", b"OLYMPUS\0II\3\0", "main exif gps interop thumbnail jpeg", 1),
    Camera("RICOH IMAGING COMPANY, LTD.", "PENTAX K-3", ">", b"PENTAX \0MM", "exif main interop gps jpeg thumbnail"),
    Camera("LEICA CAMERA AG", "LEICA Q3", "<", b"LEICA\0\2\0", "jpeg main exif interop gps thumbnail"),
    Camera("DJI", "FC3582", "<", b"DJI MakerNotes\0",
           more=(("main", 0x010E, 2, b"\0" * 5), ("exif", 0x9204, 10, (-7, 10)))),
    Camera("GoPro", "HERO11 Black", "<", b"HERO11\0", "main exif interop thumbnail jpeg gps", 7),
    Camera("Microsoft", "after its viewer", ">", b"edited\0", "main exif gps interop thumbnail jpeg",
           more=(("main", 0x9C9B, 1, "A title\0".encode("utf-16-le")), ("main", 0xEA1C, 7, bytes(2060)),
                 ("exif", 0xEA1C, 7, bytes(2060)), ("exif", 0xEA1D, 9, (4124,)))),
)  # fmt: skip


def fields_of(camera: Camera) -> dict[str, list[tuple[int, int, Any]]]:
    """Return (tag, type, value) of the fields of each folder."""
    folders: dict[str, list[tuple[int, int, Any]]] = {
        "main": [(0x010F, 2, camera.make.encode() + b"\0"), (0x0110, 2, camera.model.encode() + b"\0"),
                 (0x0112, 3, (6,)), (0x011A, 5, (72, 1)), (0x011B, 5, (72, 1)), (0x0128, 3, (2,)),
                 (0x0132, 2, b"2024:05:02 12:00:00\0"), (0x013B, 2, "Ána\0".encode()), (0x0213, 3, (1,)),
                 (0x8769, 4, "exif"), (0x8825, 4, "gps")],
        "exif": [(0x829A, 5, (1, 121)), (0x829D, 5, (9, 5)), (0x8827, 3, (50,)), (0x9000, 7, b"0232"),
                 (0x9003, 2, b"2024:05:02 12:00:00\0"), (0x9101, 7, b"\1\2\3\0"), (0x9203, 10, (-3, 2)),
                 (0x927C, 7, camera.note + BODY), (0xA001, 3, (1,)), (0xA002, 4, (4032,)), (0xA003, 3, (3024,)),
                 (0xA005, 4, "interop"), (0xA432, 5, (24, 1, 70, 1, 28, 10, 40, 10)), (0xA434, 2, b"24-70mm\0")],
        "interop": [(1, 2, b"R98\0"), (2, 7, b"0100")],
        "gps": [(0, 1, (2, 3, 0, 0)), (1, 2, b"N\0"), (2, 5, LATITUDE), (7, 5, (12, 1, 0, 1, 0, 1)),
                (29, 2, b"2024:05:02\0")],
        "thumbnail": [(0x0103, 3, (6,)), (0x0201, 4, "jpeg"), (0x0202, 4, (len(THUMBNAIL),))],
    }  # fmt: skip
    for folder, *field in camera.more:
        folders[folder] = sorted([*folders[folder], tuple(field)])
    return folders


def packed(kind: int, value: Any, order: str) -> bytes:
    return value if isinstance(value, bytes) else struct.pack(order + KINDS[kind][0] * len(value), *value)


def block_of(camera: Camera) -> bytes:
    """Write the block of a camera: parts in its order, each folder's values behind it, gaps of bytes between."""
    folders, order = fields_of(camera), camera.order
    places, values, at = dict[str, int](), dict[tuple[str, int], int](), 8
    for part in camera.parts.split():
        places[part] = at
        at += len(THUMBNAIL) if part == "jpeg" else 6 + 12 * len(folders[part])
        for tag, kind, value in folders.get(part, []):
            if not isinstance(value, str) and len(packed(kind, value, order)) > 4:
                values[part, tag], at = at, at + len(packed(kind, value, order)) + camera.gap
        at += camera.gap
    out = bytearray(b"\x99" * at)
    out[:8] = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, places["main"])
    out[places["jpeg"] : places["jpeg"] + len(THUMBNAIL)] = THUMBNAIL
    for part, fields in folders.items():
        entries = struct.pack(order + "H", len(fields))
        for tag, kind, value in fields:
            data = struct.pack(order + "I", places[value]) if isinstance(value, str) else packed(kind, value, order)
            count = len(data) // struct.calcsize("=" + KINDS[kind])
            entries += struct.pack(order + "HHI", tag, kind, count)
            if len(data) > 4:
                where = values[part, tag]
                out[where : where + len(data)] = data
                data = struct.pack(order + "I", where)
            entries += data.ljust(4, b"\0")
        entries += struct.pack(order + "I", places["thumbnail"] if part == "main" else 0)
        out[places[part] : places[part] + len(entries)] = entries
    return bytes(out)


def values_of(block: bytes) -> Values:
    """Read a block by itself: type and bytes of each field but the links, by folder and tag."""
    order, found = "<" if block[:2] == b"II" else ">", Values()
    waiting = [("main", struct.unpack_from(order + "I", block, 4)[0])]
    while waiting:
        folder, at = waiting.pop()
        count = struct.unpack_from(order + "H", block, at)[0]
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from(order + "HHI", block, entry)
            size = number * struct.calcsize("=" + KINDS[kind])
            begin = entry + 8 if size <= 4 else struct.unpack_from(order + "I", block, entry + 8)[0]
            assert begin + size <= len(block)
            if tag in LINKS:
                waiting.append((LINKS[tag], struct.unpack_from(order + "I", block, begin)[0]))
            else:
                found[folder, tag] = kind, block[begin : begin + size]
        if following := struct.unpack_from(order + "I", block, at + 2 + 12 * count)[0]:
            waiting.append(("thumbnail", following))
    return found


def upright(values: Values, order: str) -> Values:
    """Return the fields of a picture of 6 x 9 pixels that stands upright, without its thumbnail."""
    changed = {("main", 0x0112): (3, (1,)), ("exif", 0xA002): (4, (6,)), ("exif", 0xA003): (3, (9,))}
    right = {key: (kind, packed(kind, value, order)) for key, (kind, value) in changed.items()}
    return {key: right.get(key, value) for key, value in values.items() if key[0] != "thumbnail"}


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.make)
@pytest.mark.parametrize("keeping", ["keep", "default"])
def test_all_that_is_kept_is_equal(camera: Camera, keeping: Keeping) -> None:
    block = block_of(camera)
    wanted = upright(values_of(block), camera.order)
    assert len(wanted) == 29 + len(camera.more)
    picture = read_picture(save(Image.fromarray(RGB), "JPEG", exif=b"Exif\0\0" + block))
    found = picture.kept(keeping).exif
    if keeping == "default":
        wanted = {key: v for key, v in wanted.items() if key[0] != "gps" and key != ("exif", exif.MAKER_NOTE)}
        assert packed(5, LATITUDE, camera.order) not in found and BODY[:40] not in found
    else:
        assert found.index(BODY[:40]) == block.index(BODY[:40]), "a note may count from the start of the block"
    assert values_of(found) == wanted
    assert b"\x77" * 8 not in found
    again = read_picture(write_picture(picture.pixels, Metadata(found), OutputSettings("jpeg"))).kept("keep").exif
    assert values_of(again) == wanted, "after a decoder wrote it and somebody read it"
