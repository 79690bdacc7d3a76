"""Damaged metadata costs no intact pixel; real corruption is refused, and said to be what it is."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from codec.images.png import read_chunks, texts
from codec.images.read import ImagePolicy, Picture, read_picture
from tests.codec.images.conftest import RGB, chunk, png, refuses, save

PHOTO = np.random.default_rng(4).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def with_chunk(kind: bytes, body: bytes, spoiled: bool = False) -> bytes:
    data = bytearray(png(RGB, 2, 8, chunks={kind: body}))
    if spoiled:
        data[data.index(kind) + 4 + len(body)] ^= 1  # of its checksum
    return bytes(data)


def read_whole(data: bytes) -> Picture:
    found = read_picture(data)
    assert np.array_equal(found.pixels.data, RGB)
    return found


@pytest.mark.parametrize("body", [b"junk", b"", b"MM\0*\0\0\0\x08\xff\xff", b"II*\0\xff\xff\xff\xff", b"Exif\0\0" * 9])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_broken_exif(kind: str, body: bytes) -> None:
    picture, options = Image.fromarray(RGB), {"WEBP": {"lossless": True}, "JPEG": {}}
    if kind == "PNG":
        found = read_whole(with_chunk(b"eXIf", body))
    else:
        data = save(picture, kind, exif=b"Exif\0\0" + body, **options[kind])
        found = read_picture(data)
        assert kind == "JPEG" or np.array_equal(found.pixels.data, RGB)
    assert found.kept("default").exif == b""


def test_long_texts() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 3_000_000, zip=True)
    info.add_itxt("XML:com.adobe.xmp", "<x>" + "y" * 3_000_000, zip=True)
    data = save(Image.fromarray(RGB), pnginfo=info)
    with pytest.raises(ValueError, match="Decompressed data too large"):  # Pillow alone
        Image.open(io.BytesIO(data)).load()
    read_whole(data)
    assert len(texts(data, ("Comment",))["Comment"]) == 3_000_000


@pytest.mark.parametrize("kind", [b"tEXt", b"tIME", b"gAMA", b"pHYs", b"eXIf", b"zzZz"])
def test_a_wrong_checksum_of_an_ancillary_chunk(kind: bytes) -> None:
    found = read_whole(with_chunk(kind, struct.pack(">I", 100_000), spoiled=True))
    assert found.notes == (f"damaged chunk {kind.decode()} (checksum mismatch) is passed over",)


def test_a_wrong_checksum_of_a_critical_chunk_is_corruption() -> None:
    data = bytearray(png(RGB, 2, 8))
    for kind in (b"IHDR", b"IDAT"):
        spoiled = data.copy()
        spoiled[data.index(kind) + 5] ^= 1
        refuses(bytes(spoiled), "damaged or incomplete PNG header" if kind == b"IHDR" else "corrupt or truncated image")


def test_a_png_without_its_end() -> None:
    data = png(RGB, 2, 8)
    for cut in range(1, 13):
        note = f"{cut} bytes are missing at the end of the file; the picture is whole"
        assert read_whole(data[:-cut]).notes == (note,)
    refuses(data[:-30], "corrupt or truncated image")  # checksums and ten bytes of samples


def test_a_png_cut_between_two_chunks_of_samples_is_corrupt() -> None:
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in RGB))
    begin = png(RGB, 2, 8)[:33]
    whole = begin + chunk(b"IDAT", packed[:60]) + chunk(b"IDAT", packed[60:])
    read_whole(whole)
    refuses(begin + chunk(b"IDAT", packed[:60]), "corrupt or truncated image")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("cut", [1, 2])
def test_a_jpeg_without_its_end_mark(cut: int, progressive: bool) -> None:
    data = save(Image.fromarray(PHOTO), "JPEG", progressive=progressive)
    found = read_picture(data[:-cut])
    assert np.array_equal(found.pixels.data, read_picture(data).pixels.data)
    assert found.notes == ("the end mark of the JPEG is missing; the picture is whole",)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_more_is_corrupt(progressive: bool) -> None:
    data = save(Image.fromarray(PHOTO), "JPEG", progressive=progressive)
    for cut in (*range(5, 40), 400, len(data) // 2):
        refuses(data[:-cut], "corrupt or truncated image .OSError: image file is truncated")


def test_chunks_end_where_the_file_does() -> None:
    data = png(RGB, 2, 8)
    assert [c.kind for c in read_chunks(data + b"trailing")] == [b"IHDR", b"IDAT", b"IEND"]
    assert read_chunks(b"GIF89a" + data) == [] and read_chunks(data[:20]) == []


def test_parts_besides_the_main_picture_are_named() -> None:
    frames = [Image.fromarray(PHOTO), Image.fromarray(PHOTO[:20])]
    data = save(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert read_picture(data).notes == ("left out: 1 further picture of the file",)
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:G="http://ns.google.com/photos/1.0/camera/" xmlns:'
        b'hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" G:MotionPhoto="1" hdrgm:Version="1.0"/></rdf:RDF></x:xmpmeta>'
    )
    found = read_picture(save(frames[0], "JPEG", xmp=packet))
    assert found.notes == ("left out: the film of a motion photo", "left out: the gain map for HDR displays")
    assert found.kept("default").xmp == b""  # nothing else was in it


def test_webp_of_broken_chunks_is_refused_or_read() -> None:
    data = save(Image.fromarray(RGB), "WEBP", lossless=True, exif=b"Exif\0\0junk")
    assert np.array_equal(read_picture(data, ImagePolicy()).pixels.data, RGB)


@pytest.mark.parametrize("body", [b"name\0\0", b"name\0\0junk", b"name", b""])
def test_a_profile_of_which_nothing_is_left(body: bytes) -> None:
    read_whole(with_chunk(b"iCCP", body))


def test_what_pillow_does_not_support_is_not_called_corrupt() -> None:
    data = bytearray(save(Image.fromarray(RGB), "BMP"))
    data[30:34] = struct.pack("<I", 4)  # a JPEG inside
    refuses(bytes(data), "^a variant of its format that is not read .OSError: Unsupported BMP compression .4..: export")
