"""Metadata of cameras' raw files, from files written by hand as the makers lay them out."""

import struct
from collections.abc import Mapping

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from codec.images import exif
from codec.images.extra_formats import extra_kind
from codec.images.metadata import NOTHING, Metadata, kept
from codec.images.raw_metadata import metadata_of_raw
from codec.images.read import read_picture
from tests.codec.images.conftest import save
from tests.codec.images.test_metadata import PACKET, fields_of, phone_exif

CANON, ADOBE = "85c0b687820f11e08111f4ce462b6a48", "be7acfcb97a942e89c71999491e3afac"
TAKEN = "2024:05:02 12:00:00"


def raf(jpeg: bytes, width: int = 96, height: int = 64) -> bytes:
    """Write a Fujifilm RAF: a header, a JPEG, fields of the sensor, and a mosaic of one colour."""
    sides = struct.pack(">HH", height, width)
    fields = {0x0100: sides, 0x0121: sides, 0x0130: bytes([0, 8, 0, 0]), 0x2FF0: struct.pack(">4H", *[256] * 4)}
    sensor = struct.pack(">I", len(fields)) + b"".join(struct.pack(">HH", t, len(v)) + v for t, v in fields.items())
    mosaic = np.tile(np.array([[400, 800], [800, 200]], "<u2"), (height // 2, width // 2)).tobytes()
    sensor_at = 160 + len(jpeg)
    mosaic_at = sensor_at + len(sensor) + len(jpeg) % 2
    head = b"FUJIFILMCCD-RAW 0201FF383501" + b"X-Abc".ljust(32, b"\0") + b"0100".ljust(24, b"\0")
    head += struct.pack(">6I", 160, len(jpeg), sensor_at, len(sensor), mosaic_at, len(mosaic))
    return (head.ljust(160, b"\0") + jpeg + sensor).ljust(mosaic_at, b"\0") + mosaic


def iso_box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def folder(fields: Mapping[int, object]) -> bytes:
    """Return a TIFF file whose first folder has these fields."""
    block = Image.Exif()
    for tag, value in fields.items():
        block[tag] = value
    return block.tobytes().removeprefix(exif.PREFIX)


def cr3(parts: Mapping[bytes, bytes], packet: bytes = b"") -> bytes:
    """Write the boxes of a Canon CR3 in which metadata stands."""
    canon = bytes.fromhex(CANON) + iso_box(b"CNCV", b"CanonCR3_001/00.09.00/00.00.00")
    canon += b"".join(iso_box(kind, part) for kind, part in parts.items())
    movie = iso_box(b"moov", iso_box(b"uuid", b"\0" * 20) + iso_box(b"uuid", canon) + iso_box(b"trak", b""))
    data = iso_box(b"ftyp", b"crx \0\0\0\1crx isom") + movie
    return data + (iso_box(b"uuid", bytes.fromhex(ADOBE) + packet) if packet else b"") + iso_box(b"mdat", bytes(64))


def test_raf_keeps_the_block_of_its_jpeg_byte_for_byte() -> None:
    pytest.importorskip("rawpy", reason="needs the extra `formats`: rawpy")
    block = phone_exif(1)
    data = raf(save(Image.new("RGB", (160, 120)), "JPEG", exif=b"Exif\0\0" + block, xmp=PACKET))
    found = read_picture(data)
    assert (extra_kind(data), found.metadata) == ("raw", Metadata(block, PACKET))
    red, green, blue = found.pixels.data[32, 48]
    assert (found.pixels.width, found.pixels.height) == (96, 64) and green > red > blue, "cells 400, 800, 800, 200"
    assert exif.orientation(found.kept("keep").exif) == 1, "the developed picture stands upright"
    said = fields_of(found.kept("default").exif)
    assert said["exif", exif.TAKEN] == TAKEN and ("gps", 2) not in said


@pytest.mark.parametrize("packet", [b"", PACKET])
def test_cr3(packet: bytes) -> None:
    parts = {
        b"CMT1": folder(
            {exif.MAKE: "Canon", exif.MODEL: "Canon EOS R6", exif.ORIENTATION: 8, exif.ARTIST: "A. Person"}
        ),
        b"CMT2": folder({0x829A: IFDRational(1, 250), 0x8827: 400, exif.TAKEN: TAKEN, 0xA434: "RF50mm F1.8 STM"}),
        b"CMT3": folder({1: "maker's note"}),
        b"CMT4": folder({1: "N", 2: (52.0, 31.0, 12.0)}),
    }
    data = cr3(parts, packet)
    found = metadata_of_raw(data)
    assert extra_kind(data) == "raw" and found.xmp == packet
    said = fields_of(found.exif)
    assert said == {
        ("main", exif.MAKE): "Canon", ("main", exif.MODEL): "Canon EOS R6", ("main", exif.ARTIST): "A. Person",
        ("exif", 0x829A): IFDRational(1, 250), ("exif", 0x8827): 400, ("exif", exif.TAKEN): TAKEN,
        ("exif", 0xA434): "RF50mm F1.8 STM", ("gps", 1): "N", ("gps", 2): (52.0, 31.0, 12.0),
    }  # fmt: skip
    for keeping, has_place in (("keep", True), ("default", False)):
        assert exif.has_location(kept(found, keeping, width=9, height=6).exif) == has_place  # type: ignore[arg-type]


@pytest.mark.parametrize("magic", [b"II*\0", b"IIRO", b"IIRS", b"IIU\0", b"MM\0*", b"MMOR"])
def test_kin_of_tiff(magic: bytes) -> None:
    block = phone_exif(0 if magic[:1] == b"I" else 1)
    said = fields_of(metadata_of_raw(magic + block[4:] + bytes(99)).exif)
    assert said == {key: value for key, value in fields_of(block).items() if key != ("main", exif.ORIENTATION)}


def test_damaged_files_give_nothing_or_less() -> None:
    parts = {b"CMT1": b"junk", b"CMT2": folder({exif.TAKEN: TAKEN})}
    whole = [raf(save(Image.new("RGB", (16, 16)), "JPEG", exif=b"Exif\0\0" + phone_exif(0))), cr3(parts), b"IIRO"]
    for data in whole:
        for cut in range(len(data), 0, -max(1, len(data) // 40)):
            metadata_of_raw(data[:cut])
    assert metadata_of_raw(b"FUJIFILMCCD-RAW" + bytes(200)) == metadata_of_raw(b"MM\0*") == NOTHING
    assert metadata_of_raw(cr3({}, PACKET)) == Metadata(xmp=PACKET)
