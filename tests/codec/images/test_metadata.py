"""EXIF and XMP: what a copy keeps of them, byte by byte."""

import io
import struct
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codec.images import exif, xmp
from codec.images.metadata import NOTHING, Metadata, kept
from codec.images.read import read_picture
from tests.codec.images.conftest import RGB, png, save

MAKES = (
    ("Apple", "iPhone 15 Pro"), ("samsung", "SM-S918B"), ("Google", "Pixel 8"), ("Xiaomi", "2201123G"),
    ("HUAWEI", "ELS-NX9"), ("OnePlus", "CPH2449"), ("Sony", "XQ-DQ54"), ("OPPO", "CPH2525"), ("vivo", "V2227A"),
    ("motorola", "edge 40"),
)  # fmt: skip
NOTE = bytes(range(256)) * 3  # of a maker; nothing says what is in it
PLACE = (Fraction(52), Fraction(31), Fraction(1234, 100))


def value(kind: int, content: Any, order: str) -> bytes:
    """Return the bytes of a field's value."""
    if kind in (2, 7):
        return bytes(content)
    if kind == 5:
        return b"".join(struct.pack(order + "II", v.numerator, v.denominator) for v in content)
    return struct.pack(order + {3: "H", 4: "I"}[kind] * len(content), *content)


def phone_exif(number: int, orientation: int = 6) -> bytes:
    """Write an EXIF block by hand as phones do: own order of bytes, paddings, a thumbnail, a place, a maker's note."""
    order, (make, model) = "<>"[number % 2], MAKES[number % len(MAKES)]
    folders: dict[str, list[tuple[int, int, Any]]] = {
        "main": [(0x010F, 2, make.encode() + b"\0"), (0x0110, 2, model.encode() + b"\0"), (0x0112, 3, [orientation]),
                 (0x011A, 5, [Fraction(72)]), (0x011B, 5, [Fraction(72)]), (0x0128, 3, [2]),
                 (0x0131, 2, b"firmware %d\0" % number), (0x0132, 2, b"2024:05:%02d 12:00:00\0" % (number + 1)),
                 (0x013B, 2, b"A. Person\0"), (0x8298, 2, b"(c) A. Person\0"), (0x8769, 4, "exif"), (0x8825, 4, "gps")],
        "exif": [(0x829A, 5, [Fraction(1, 120 + number)]), (0x829D, 5, [Fraction(9, 5)]), (0x8827, 3, [50 + number]),
                 (0x9003, 2, b"2024:05:%02d 12:00:00\0" % (number + 1)), (0x927C, 7, NOTE[: 256 + number]),
                 (0xA001, 3, [1]), (0xA002, 4, [4032]), (0xA003, 4, [3024]), (0xA005, 4, "interop"),
                 (0xA434, 2, b"main camera\0")],
        "interop": [(1, 2, b"R98\0"), (2, 7, b"0100")],
        "gps": [(1, 2, b"N\0"), (2, 5, PLACE), (3, 2, b"E\0"), (4, 5, PLACE), (29, 2, b"2024:05:01\0")],
        "thumbnail": [(0x0103, 3, [6]), (0x0201, 4, "jpeg"), (0x0202, 4, [600])],
    }  # fmt: skip
    sizes = {name: 2 + 12 * len(fields) + 4 for name, fields in folders.items()}
    places, at = {}, 8
    blobs: dict[tuple[str, int], int] = {}
    for name, fields in folders.items():
        places[name] = at
        at += sizes[name] + number % 3 * 2
        for tag, kind, content in fields:
            size = len(value(kind, content, order)) if not isinstance(content, str) else 4
            if size > 4:
                blobs[name, tag] = at
                at += size + size % 2
    places["jpeg"] = at
    out = bytearray(at + 600)
    out[:8] = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    out[at:] = b"\xff\xd8" + b"t" * 596 + b"\xff\xd9"
    for name, fields in folders.items():
        entries = b""
        for tag, kind, content in fields:
            plain = (
                struct.pack(order + "I", places[content]) if isinstance(content, str) else value(kind, content, order)
            )
            count = len(plain) if kind in (2, 7) else len(plain) // {3: 2, 4: 4, 5: 8}[kind]
            where = plain.ljust(4, b"\0")
            if len(plain) > 4:
                where = struct.pack(order + "I", blobs[name, tag])
                out[blobs[name, tag] : blobs[name, tag] + len(plain)] = plain
            entries += struct.pack(order + "HHI", tag, kind, count) + where
        link = places["thumbnail"] if name == "main" else 0
        folder = struct.pack(order + "H", len(fields)) + entries + struct.pack(order + "I", link)
        out[places[name] : places[name] + len(folder)] = folder
    return bytes(out)


def fields_of(block: bytes) -> dict[tuple[str, int], Any]:
    """Return what Pillow, an independent reader, finds in a block."""
    found = Image.Exif()
    found.load(block)
    folders = {"main": found, **{name: found.get_ifd(tag) for name, tag in (("exif", 0x8769), ("gps", 0x8825))}}
    links = (0x8769, 0x8825, 0xA005)
    return {(name, tag): v for name, folder in folders.items() for tag, v in folder.items() if tag not in links}


def jpeg_of(block: bytes) -> bytes:
    return save(Image.fromarray(RGB), "JPEG", exif=b"Exif\0\0" + block)


@pytest.mark.parametrize("number", range(20))
def test_twenty_phones_keep_every_byte(number: int) -> None:
    block = phone_exif(number)
    found = read_picture(jpeg_of(block)).kept("keep").exif
    parsed = exif.parse(block)
    assert parsed is not None
    turned, thumbnail = parsed.find("main", 0x0112), parsed.folders["thumbnail"]
    assert turned is not None
    sides = [field for field in (parsed.find("exif", tag) for tag in (0xA002, 0xA003)) if field]
    changed = [turned.begin, turned.begin + 1, *range(parsed.thumbnail_link, parsed.thumbnail_link + 4)]
    changed += [at for side in sides for at in range(side.begin, side.end)]
    end = thumbnail[0]  # the thumbnail's folder and the thumbnail stand last, and are cut off
    assert len(found) <= end and not any(block[len(found) : end])
    assert all(found[at] == block[at] for at in range(len(found)) if at not in changed)
    assert exif.orientation(found) == 1 and exif.integer(found, "exif", 0xA002) == 6  # 9 x 6 pixels, turned
    assert b"ttt" not in found and NOTE[:200] in found


@pytest.mark.parametrize("number", range(20))
def test_by_default_the_place_and_the_makers_note_are_left_out(number: int) -> None:
    block = phone_exif(number, orientation=1)
    found = read_picture(jpeg_of(block)).kept("default").exif
    before, after = fields_of(block), fields_of(found)
    assert {key for key in before if key not in after} == {
        ("exif", 0x927C), *((("gps", tag)) for tag in (1, 2, 3, 4, 29))
    }  # fmt: skip
    sides = {("exif", 0xA002): 9, ("exif", 0xA003): 6}
    assert all(sides.get(key, before[key]) == value for key, value in after.items())
    order = "<>"[number % 2]
    assert NOTE[:64] not in found and value(5, PLACE, order) not in found and b"ttt" not in found


def test_a_position_that_no_link_leads_to_is_blanked_too() -> None:
    block = bytearray(phone_exif(0))
    parsed = exif.parse(bytes(block))
    assert parsed is not None
    link = parsed.find("main", 0x8825)
    assert link is not None
    block[link.begin : link.end] = struct.pack("<I", 0xFFFFFF)  # damaged
    found = exif.edited(bytes(block), width=9, height=6, private=True)
    assert found and value(5, PLACE, "<") not in found


@pytest.mark.parametrize("at", [8, 10, 20, 0xFFFF_FFFF])
@pytest.mark.parametrize("tag", [0x8769, 0x8825])
def test_folders_that_overlap_are_no_error(tag: int, at: int) -> None:
    block = bytearray(phone_exif(0))
    parsed = exif.parse(bytes(block))
    assert parsed is not None
    link = parsed.find("main", tag)
    assert link is not None
    block[link.begin : link.end] = struct.pack("<I", at)
    for private in (False, True):
        found = exif.edited(bytes(block), width=9, height=6, private=private)
        assert not private or value(5, PLACE, "<") not in found


def test_copyright_alone() -> None:
    found = read_picture(jpeg_of(phone_exif(3))).kept("copyright")
    assert fields_of(found.exif) == {("main", 0x013B): "A. Person", ("main", 0x8298): "(c) A. Person"}
    assert found.xmp == b"" and len(found.exif) < 100


def test_nothing_is_kept_of_nothing() -> None:
    picture = read_picture(save(Image.fromarray(RGB), "JPEG"))
    assert not any(picture.kept(keeping) for keeping in ("default", "keep", "copyright", "drop"))
    assert not read_picture(jpeg_of(phone_exif(1))).kept("drop")


PACKET = (
    b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 exif:GPSLatitude="52,31.2N" tiff:Orientation="6" xmp:Rating="5" photoshop:City="Berlin">
<exif:GPSLongitude>13,24.0E</exif:GPSLongitude>
<Iptc4xmpExt:LocationCreated><rdf:Bag><rdf:li Iptc4xmpExt:City="Berlin"/></rdf:Bag></Iptc4xmpExt:LocationCreated>
<dc:creator><rdf:Seq><rdf:li>A. Person</rdf:li></rdf:Seq></dc:creator>
<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">(c) A. Person</rdf:li></rdf:Alt></dc:rights>
</rdf:Description></rdf:RDF></x:xmpmeta>
"""
    + b" " * 90
    + b'\n<?xpacket end="w"?>'
)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_xmp_without_places(kind: str) -> None:
    picture = Image.new("RGB", (16, 16))
    if kind == "PNG":
        data = png(np.asarray(picture), 2, 8, chunks={b"iTXt": b"XML:com.adobe.xmp\0\0\0\0\0" + PACKET})
    else:
        data = save(picture, kind, **({"tiffinfo": {700: PACKET}} if kind == "TIFF" else {"xmp": PACKET}))
    found = read_picture(data).kept("default").xmp
    assert b"Berlin" not in found and b"52,31" not in found and b"13,24" not in found
    assert xmp.rights(found) == ("A. Person", "(c) A. Person") and b'xmp:Rating="5"' in found
    assert b'tiff:Orientation="1"' in found and len(found) < len(PACKET)
    assert read_picture(data).kept("keep").xmp == PACKET.replace(b'Orientation="6"', b'Orientation="1"')
    assert fields_of(read_picture(data).kept("copyright").exif)["main", 0x8298] == "(c) A. Person"


@pytest.mark.parametrize(
    "packet",
    [
        b"<x", b"\xff\xfe<\0x\0/\0>\0", b'<!DOCTYPE a [<!ENTITY b "bb">]><a>&b;</a>', b"<a/>", b"<a>" * 100_000,
        b"x" * (xmp.PACKET_BYTES_MAX + 1), PACKET[:600],
    ],
    ids=range(7),
)  # fmt: skip
def test_packets_that_cannot_be_read_are_left_out(packet: bytes) -> None:
    assert xmp.without_location(packet) == b"" and xmp.rights(packet) == ("", "")


def test_resolutions_and_texts_of_formats_become_exif() -> None:
    chunks = {b"pHYs": struct.pack(">IIB", 11_811, 11_811, 1), b"tEXt": b"Copyright\0(c) A. Person"}
    found = fields_of(read_picture(png(RGB, 2, 8, chunks=chunks)).kept("default").exif)
    assert found["main", 0x8298] == "(c) A. Person" and abs(found["main", 0x011A] - 300) < 0.01
    for dpi in (72, 96):  # what programs write that know none
        assert read_picture(save(Image.fromarray(RGB), dpi=(dpi, dpi))).kept("default") == NOTHING
    tiff = fields_of(read_picture(save(Image.fromarray(RGB), "TIFF", dpi=(300, 300))).kept("default").exif)
    assert tiff["main", 0x0128] == 2 and tiff["main", 0x011A] == 300


@pytest.mark.parametrize("flips", range(40))
def test_damaged_blocks_give_less_and_no_error(flips: int) -> None:
    rng = np.random.default_rng(flips)
    block = bytearray(phone_exif(flips % 20))
    for at in rng.integers(0, 700, 4):
        block[at] ^= 1 << int(rng.integers(8))
    for private in (False, True):
        found = exif.edited(bytes(block), width=9, height=6, private=private)
        assert found == b"" or exif.orientation(found) == 1
        assert not private or value(5, PLACE, "<>"[flips % 20 % 2]) not in found or b"N\0" not in found
    for cut in range(0, len(block), 37):
        exif.edited(bytes(block[:cut]), width=9, height=6, private=True)


def test_metadata_of_a_copy_keeps_its_profile() -> None:
    assert kept(Metadata(profile=b"icc"), "drop", width=1, height=1) == Metadata(profile=b"icc")
    assert io.BytesIO(jpeg_of(phone_exif(0))).getbuffer().nbytes < 65_536
