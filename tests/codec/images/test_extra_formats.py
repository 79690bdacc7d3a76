"""HEIC, JPEG XL and raw files: right levels where the extra is installed, and its name where it is not."""

import io
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from codec.errors import ImageError
from codec.images.extra_formats import develop, extra_kind
from codec.images.find import find_images
from codec.images.jxl_header import read_jxl_header
from codec.images.read import ImagePolicy, image_size, is_image, read_image, read_picture, refusal
from tests.codec.images.conftest import png, refuses, save
from tests.codec.images.test_metadata import PACKET, fields_of, phone_exif
from tests.codec.images.test_stated_colour import COLOUR, SRGB, expected

SMOOTH = np.stack(np.meshgrid(np.arange(64) * 3, np.arange(48) * 4), axis=-1).astype(np.uint8)
PHOTO = np.concatenate([SMOOTH, SMOOTH[..., :1] // 2 + 30], axis=2)  # (48, 64, 3)


@pytest.fixture
def heif() -> Any:
    return pytest.importorskip("pillow_heif", reason="needs the extra `formats`: pillow-heif")


@pytest.fixture
def jxl() -> Any:
    return pytest.importorskip("pillow_jxl", reason="needs the extra `formats`: pillow-jxl-plugin")


def heic(heif: Any, samples: Any = PHOTO, mode: str = "RGB", **options: Any) -> bytes:
    file = heif.from_bytes(mode, (samples.shape[1], samples.shape[0]), samples.tobytes())
    out = io.BytesIO()
    file.save(out, **{"quality": 100, "chroma": "444", "matrix_coefficients": 0, **options})
    return out.getvalue()


def test_heic_is_read(heif: Any, tmp_path: Path) -> None:
    pixels = read_image(heic(heif))
    (tmp_path / "a.heic").write_bytes(heic(heif))
    assert image_size(tmp_path / "a.heic") == (64, 48) and is_image(tmp_path / "a.heic")
    assert np.abs(pixels.data.astype(int) - PHOTO).max() <= 2 and not pixels.grey


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_heic_is_turned_once(heif: Any, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    heif.register_heif_opener()
    data = save(Image.fromarray(PHOTO), "HEIF", quality=95, exif=exif.tobytes())
    turned = {1: PHOTO, 3: PHOTO[::-1, ::-1], 6: np.rot90(PHOTO, -1), 8: np.rot90(PHOTO, 1)}[orientation]
    found = read_picture(data).pixels.data.astype(int)
    assert found.shape == turned.shape and np.abs(found - turned).mean() <= 2


def test_deep_heic_is_rounded_to_the_nearest_level(heif: Any) -> None:
    deep = PHOTO.astype("<u2") * 257
    data = heic(heif, deep, "RGB;16")
    refuses(data, "(10|12)-bit image: pass --depth 8")
    found = read_image(data, ImagePolicy(depth=8)).data.astype(int)
    assert np.abs(found - PHOTO).max() <= 1


@pytest.mark.parametrize(
    ("primaries", "transfer", "right"),
    [(1, 13, COLOUR), (12, 13, expected(COLOUR, "p3", SRGB)), (1, 8, expected(COLOUR, SRGB, 1.0))],
)
def test_heic_code_points(heif: Any, primaries: int, transfer: int, right: Any) -> None:
    flat = np.full((32, 32, 3), COLOUR, np.uint8)
    data = heic(heif, flat, color_primaries=primaries, transfer_characteristics=transfer)
    assert np.abs(read_image(data).data[16, 16] - right).max() <= 2.5


def test_hdr_heic_is_refused(heif: Any) -> None:
    refuses(heic(heif, color_primaries=9, transfer_characteristics=16), "HDR samples")


def test_heic_metadata_is_kept(heif: Any) -> None:
    heif.register_heif_opener()
    data = save(Image.fromarray(PHOTO), "HEIF", exif=b"Exif\0\0" + phone_exif(0), xmp=PACKET)
    kept = read_picture(data).kept("default")
    assert b"iPhone 15 Pro" in kept.exif and b"A. Person" in kept.xmp and b"Berlin" not in kept.xmp


def test_further_pictures_of_a_heic_are_named(heif: Any) -> None:
    file = heif.from_bytes("RGB", (64, 48), PHOTO.tobytes())
    file.add_frombytes("RGB", (64, 48), PHOTO[::-1].tobytes())
    out = io.BytesIO()
    file.save(out, quality=90)
    found = read_picture(out.getvalue())
    assert found.notes == ("left out: 1 further picture of the file",)
    assert np.abs(found.pixels.data.astype(int) - PHOTO).mean() <= 3


@pytest.mark.parametrize("container", [False, True])
@pytest.mark.parametrize("grey", [False, True])
def test_jpeg_xl_is_read_exactly(jxl: Any, grey: bool, container: bool) -> None:
    picture = Image.fromarray(PHOTO[..., 0] if grey else PHOTO)
    data = save(picture, "JXL", lossless=True, use_container=container)
    assert data.startswith(b"\0\0\0\x0cJXL" if container else b"\xff\x0a")
    pixels = read_image(data)
    assert pixels.grey == grey and np.array_equal(pixels.data, np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize(("width", "height"), [(64, 48), (256, 256), (8, 8), (300, 200), (1, 1), (1000, 3), (5000, 7)])
def test_jpeg_xl_headers(jxl: Any, width: int, height: int, tmp_path: Path) -> None:
    data = save(Image.new("L", (width, height)), "JXL", lossless=True)
    header = read_jxl_header(data)
    assert (header.width, header.height, header.bits, header.is_animation) == (width, height, 8, False)
    (tmp_path / "a").write_bytes(data)
    assert image_size(tmp_path / "a") == (width, height) and is_image(tmp_path / "a")


def test_huge_jpeg_xl_is_refused_before_it_is_decoded(jxl: Any) -> None:
    bits, at = 0, 0
    for value, count in ((0, 1), (3, 2), (49_999, 30), (0, 3), (3, 2), (49_999, 30), (1, 1)):
        bits |= value << at
        at += count
    refuses(
        b"\xff\x0a" + bits.to_bytes(20, "little"),
        "50000 x 50000 px is over 200 megapixels: crop it, or raise --max-megapixels",
    )
    refuses(b"\xff\x0a", "truncated JPEG XL file")


def test_deep_grey_jpeg_xl_is_refused_or_converted_at_full_depth(jxl: Any) -> None:
    grey = Image.fromarray(PHOTO[..., 0].astype(np.uint16) * 257 + 100)
    data = save(grey, "JXL", lossless=True)
    refuses(data, "16-bit image: pass --depth 8")
    found = read_image(data, ImagePolicy(depth=8))
    light = (PHOTO[..., 0].astype(int) * 257 + 100) / 65535  # the plugin writes deep grey as linear, and says so
    right = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert found.grey and np.abs(found.data[..., 0] - right).max() <= 0.51


def test_deep_colour_jpeg_xl_is_rounded_down_and_says_so(jxl: Any) -> None:
    data = bytes.fromhex(  # 8 x 8 pixels of (33000, 33000, 33000), which the plugin does not write
        "0000000c4a584c200d0a870a00000014667479706a786c20000000006a786c20000000096a786c6c0a0000002c6a786c63ff0a41f003505c"
        "080802010058004b188b15428a02f1021100840e000000000000000000"
    )
    refuses(data, "16-bit image: pass --depth 8")
    found = read_picture(data, ImagePolicy(depth=8))
    assert (found.pixels.data == 33_000 >> 8).all()
    assert found.notes == ("16-bit samples are rounded down: their decoder gives the high 8 bits",)


def test_jpeg_xl_metadata(jxl: Any) -> None:
    data = save(Image.fromarray(PHOTO), "JXL", exif=b"Exif\0\0" + phone_exif(2), lossless=True)
    found = read_picture(data)
    assert found.pixels.width == 64, "the orientation in EXIF is not that of the codestream, which alone counts"
    assert b"Pixel 8" in found.kept("default").exif


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_inside_a_jpeg_xl_is_turned(jxl: Any, tmp_path: Path, orientation: int) -> None:
    block = phone_exif(2, orientation)
    Image.fromarray(PHOTO).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + block, xmp=PACKET, quality=95)
    with Image.open(tmp_path / "a.jpg") as file:
        turned = np.asarray(ImageOps.exif_transpose(file))
        file.save(tmp_path / "a.jxl", lossless_jpeg=True)  # which its decoder gives back as it was
    assert read_jxl_header((tmp_path / "a.jxl").read_bytes()).orientation == orientation
    found, plain = read_picture(tmp_path / "a.jxl"), read_picture(tmp_path / "a.jpg")
    assert np.array_equal(found.pixels.data, turned)
    assert found.metadata == plain.metadata and found.metadata.xmp == PACKET


def test_jpeg_xl_of_the_reference_encoder(jxl: Any, tmp_path: Path) -> None:
    import shutil

    if not shutil.which("cjxl"):
        pytest.skip("needs cjxl")
    chunks = {b"gAMA": struct.pack(">I", 100_000)}
    (tmp_path / "a.png").write_bytes(png(np.full((16, 16, 3), COLOUR), 2, 8, chunks=chunks))
    subprocess.run(["cjxl", "-d", "0", "a.png", "a.jxl"], cwd=tmp_path, check=True, capture_output=True)
    right = expected(COLOUR, SRGB, 1.0)
    assert np.abs(read_image(tmp_path / "a.jxl").data[0, 0] - right).max() <= 1


def dng(width: int = 64, height: int = 48, levels: tuple[int, int, int] = (100, 200, 50)) -> bytes:
    """Write a DNG by hand: a mosaic of 8-bit samples of one colour, red, green and blue as given."""
    red, green, blue = levels
    rows = [np.tile([red, green], width // 2), np.tile([green, blue], width // 2)]
    strip = np.tile(np.stack(rows), (height // 2, 1)).astype("<u2") * 16
    camera = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])  # is sRGB
    rationals = struct.pack("<18i", *(v for row in camera.ravel() for v in (int(row * 10_000), 10_000)))
    neutral = struct.pack("<6I", 1, 1, 1, 1, 1, 1)
    tags = [
        (254, 4, 1, 0), (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 32_803),
        (271, 2, 4, b"Abc\0"), (272, 2, 4, b"Def\0"), (273, 4, 1, "strip"), (274, 3, 1, 1), (277, 3, 1, 1),
        (278, 4, 1, height), (279, 4, 1, strip.nbytes), (33_421, 3, 2, struct.pack("<HH", 2, 2)),
        (33_422, 1, 4, bytes([0, 1, 1, 2])), (50_706, 1, 4, bytes([1, 4, 0, 0])), (50_708, 2, 4, b"Abc\0"),
        (50_717, 3, 1, 4095), (50_721, 10, 9, rationals), (50_728, 5, 3, neutral), (50_778, 3, 1, 21),
    ]  # fmt: skip
    at = 8 + 2 + 12 * len(tags) + 4
    entries, blobs = b"", b""
    for tag, kind, count, content in tags:
        if isinstance(content, bytes) and len(content) > 4:
            entries += struct.pack("<HHII", tag, kind, count, at + len(blobs))
            blobs += content
        elif isinstance(content, bytes):
            entries += struct.pack("<HHI", tag, kind, count) + content.ljust(4, b"\0")
        else:
            value = at + len(rationals) + len(neutral) if content == "strip" else content
            entries += struct.pack("<HHII", tag, kind, count, value)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4)
    return head + blobs + strip.tobytes()


def test_raw_files_are_developed() -> None:
    pytest.importorskip("rawpy", reason="needs the extra `formats`: rawpy")
    data = dng()
    assert extra_kind(data) == "raw"
    pixels = read_image(data)
    assert (pixels.width, pixels.height) == (64, 48) and not pixels.grey
    assert int(np.ptp(pixels.data[8:-8, 8:-8], axis=(0, 1)).max()) <= 2, "one colour everywhere"
    middle = pixels.data[24, 32].astype(int)
    assert np.abs(middle - (188, 255, 137)).max() <= 2, "light 1/2, 1 and 1/4, as the brightest is made white"


def test_a_raw_file_names_its_camera() -> None:
    pytest.importorskip("rawpy", reason="needs the extra `formats`: rawpy")
    found = read_picture(dng())
    assert fields_of(found.kept("default").exif) == {("main", 0x010F): "Abc", ("main", 0x0110): "Def"}
    assert found.pixels.width == 64


def test_a_damaged_raw_file_is_refused() -> None:
    pytest.importorskip("rawpy", reason="needs the extra `formats`: rawpy")
    with pytest.raises(ImageError, match="raw file that LibRaw does not read"):
        develop(dng()[:200])


@pytest.mark.parametrize(
    ("data", "kind", "what"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC", "HEIC is read"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC", "HEIC is read"),
        (b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x16jxlc\xff\x0a\xf8\x01\0\0\0\0\0\0\0\0\0", "JPEG XL", "JPEG XL is read"),
        (b"\xff\x0a\xf8\x01\0\0\0\0\0\0\0\0\0", "JPEG XL", "JPEG XL is read"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "raw", "a camera's raw file is read"),
        (b"II*\0\x10\0\0\0CR\2\0", "raw", "a camera's raw file is read"),
        (dng(), "raw", "a camera's raw file is read"),
    ],
)
def test_without_the_extra_its_name_is_told(
    data: bytes, kind: str, what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("pillow_heif", "pillow_jxl", "rawpy"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    assert extra_kind(data + bytes(100)) == kind
    refuses(data + bytes(100), f'^{what} by the extra `formats`: pip install ".*formats.*"')
    (tmp_path / "picture").write_bytes(data + bytes(100))
    assert find_images(tmp_path) == [tmp_path / "picture"], "it is to be reported, not passed over"
    assert what in str(refusal(tmp_path / "picture"))


@pytest.mark.parametrize("kind", ["AVIF", "TIFF", "PNG", "JPEG"])
def test_formats_that_pillow_reads_need_no_extra(kind: str) -> None:
    assert extra_kind(save(Image.fromarray(PHOTO), kind)) is None
