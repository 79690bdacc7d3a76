"""EXIF blocks built from fields: values keep their bytes, whatever text they are."""

import numpy as np
import pytest

from codec.errors import ImageError
from codec.images import exif
from codec.images.exif_building import Value, block_of, folders_of, resolution, text
from codec.images.metadata import Metadata, kept
from codec.images.outputs import OutputSettings, write_picture
from codec.images.pixels import Pixels
from codec.images.read import read_picture
from tests.codec.images.conftest import RGB
from tests.codec.images.test_metadata import fields_of, phone_exif

LENS, OWNER = 0xA434, 0xA430
FOLDERS = {"main": text(exif.ARTIST, "Ána 日本"), "exif": [*text(LENS, "Öbjektiv"), *text(OWNER, "Ána")]}


@pytest.mark.parametrize("number", range(4))
def test_fields_of_phones_keep_their_bytes(number: int) -> None:
    block = phone_exif(number)
    again = block_of(folders_of(block), exif.order_of(block))
    before, after = exif.parse(block), exif.parse(again)
    assert before is not None and after is not None
    values = {(f.folder, f.tag, f.kind): block[f.begin : f.end] for f in before.fields if f.folder != "thumbnail"}
    found = {(f.folder, f.tag, f.kind): again[f.begin : f.end] for f in after.fields}
    links = {("main", 0x8769, 4), ("main", 0x8825, 4), ("exif", 0xA005, 4)}
    assert found.keys() == values.keys() and all(found[key] == values[key] for key in values.keys() - links)
    read = fields_of(block)
    assert fields_of(again) == read, "to Pillow, an independent reader, too"


def test_some_folders() -> None:
    assert block_of({}) == block_of({"main": [], "gps": []}) == b""
    for name in ("main", "exif", "gps", "interop"):
        value = Value(3, 2, b"abcdefg\0")
        assert folders_of(block_of({name: [value]})) == {name: [value]}
    assert folders_of(phone_exif(0), (exif.MAKE,))["main"] == text(exif.MAKE, "Apple")
    assert folders_of(b"junk") == {}


def test_resolutions() -> None:
    said = fields_of(block_of({"main": resolution(299.994, 150)}))
    assert said == {
        ("main", 0x011A): 299.99,
        ("main", 0x011B): 150,
        ("main", 0x0128): 2,
    }


@pytest.mark.parametrize(
    ("stored", "right"), [(b"\xa9 Fran\xe7ois", "© François"), ("© 日本".encode(), "© 日本"), (b"plain\0\0 ", "plain")]
)
def test_texts_of_either_encoding(stored: bytes, right: str) -> None:
    block = block_of({"main": [Value(exif.COPYRIGHT, 2, stored + b"\0")]})
    assert exif.text(block, exif.COPYRIGHT) == right
    assert exif.text(kept(Metadata(block), "copyright", width=9, height=6).exif, exif.COPYRIGHT) == right


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "avif", "tiff"])
def test_texts_in_any_language_reach_every_format(kind: str, order: str) -> None:
    block = block_of(FOLDERS, order)
    data = write_picture(Pixels(RGB, False), Metadata(block), OutputSettings(kind))
    found = read_picture(data).kept("keep").exif
    said = {tag: exif.text(found, tag) for tag in (exif.ARTIST, LENS, OWNER)}
    assert said == {exif.ARTIST: "Ána 日本", LENS: "Öbjektiv", OWNER: "Ána"}


@pytest.mark.parametrize("kind", [2, 3, 5, 12])
@pytest.mark.parametrize("tag", [0x0102, 0x0103, 0x0106, 0x0111, 0x0112, 0x011A, 0x0128, 0x0142, 0x0153, 0x80E5])
def test_fields_of_pixels_do_not_become_those_of_a_tiff(tag: int, kind: int) -> None:
    """Some of them, written by libtiff beside its own, end the process."""
    metadata = Metadata(block_of({"main": [Value(tag, kind, b"\7\0\0\0\0\0\0\0"), *text(exif.MAKE, "Apple")]}))
    data = write_picture(Pixels(RGB, False), metadata, OutputSettings("tiff"))
    assert np.array_equal(read_picture(data).pixels.data, RGB)
    assert exif.text(read_picture(data).kept("keep").exif, exif.MAKE) == "Apple"


def test_exif_that_a_tiff_cannot_hold_is_named() -> None:
    damaged = Metadata(b"MMR*" + block_of({"main": text(exif.MAKE, "Apple")})[4:])
    with pytest.raises(ImageError, match="EXIF may be damaged: pass --metadata drop"):
        write_picture(Pixels(RGB, False), damaged, OutputSettings("tiff"))
    assert write_picture(Pixels(RGB, False), damaged, OutputSettings("png"))
