"""Bit depth, frames, previews and formats that are known but not read."""

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from codec.errors import ImageError
from codec.images.read import STRICT, ImagePolicy, read_image, read_picture
from tests.codec.images.conftest import COLOUR16, OPAQUE16, RGB, WIDE, png, refuses, rounded, save, tiff


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(save(Image.fromarray(WIDE)), id="png"),
        pytest.param(save(Image.fromarray(WIDE), "TIFF"), id="tiff"),
        pytest.param(tiff((65535 - WIDE).astype("<u2").tobytes(), 10, 16, photometric=0), id="tiff-white-is-zero"),
        pytest.param(b"P5 10 1 65535\n" + WIDE.astype(">u2").tobytes(), id="pgm"),
    ],
)
def test_16_bit_grey_is_refused_or_rounded(data: bytes) -> None:
    refuses(data, "16-bit image: pass --depth 8 to round it to 8 bits")
    pixels = read_image(data, ImagePolicy(depth=8))
    assert pixels.grey
    assert pixels.data[..., 0].tolist() == rounded(WIDE).tolist() == [[0, 0, 0, 1, 1, 127, 128, 254, 255, 255]]


@pytest.mark.parametrize(
    ("data", "grey"),
    [
        pytest.param(png(COLOUR16, 2, 16), False, id="png-rgb"),
        pytest.param(png(np.concatenate([COLOUR16, OPAQUE16], 2), 6, 16), False, id="png-rgba"),
        pytest.param(png(np.concatenate([COLOUR16[..., :1], OPAQUE16], 2), 4, 16), True, id="png-grey-alpha"),
        pytest.param(tiff(COLOUR16.tobytes(), 10, 16, channels=3), False, id="tiff"),
        pytest.param(b"P6 10 1 65535\n" + COLOUR16.astype(">u2").tobytes(), False, id="ppm"),
    ],
)
def test_16_bit_colour_is_refused_or_rounded(data: bytes, grey: bool) -> None:
    refuses(data, "16-bit image: pass --depth 8")
    pixels = read_image(data, ImagePolicy(depth=8))
    assert pixels.grey == grey
    assert np.array_equal(pixels.data, np.repeat(rounded(WIDE)[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("data", "bits", "expected"),
    [
        pytest.param(save(Image.fromarray(np.full((8, 8), 32768, np.uint16)), "JPEG2000"), 16, 128, id="jpeg2000"),
        pytest.param(b"P6 1 1 1023\n" + struct.pack(">3H", 512, 512, 512), 10, 128, id="ppm"),
        pytest.param(b"P2 1 1 1023\n512\n", 10, 128, id="plain-pgm"),
        pytest.param(tiff(b"\x80\x08\x00", 2, 12), 12, 128, id="tiff"),
    ],
)
def test_other_depths(data: bytes, bits: int, expected: int) -> None:
    refuses(data, f"{bits}-bit image: pass --depth 8")
    assert np.unique(read_image(data, ImagePolicy(depth=8)).data).tolist() == [expected]


def test_plain_pgm_of_8_bits_is_no_deep_image() -> None:
    assert read_image(b"P2 1 1 255\n77\n").data.tolist() == [[[77, 77, 77]]]


def test_10_bit_avif_is_deep() -> None:
    data = bytearray(save(Image.new("RGB", (16, 16)), "AVIF"))
    data[data.index(b"av1C") + 6] |= 0x40  # high_bitdepth
    depths = data.index(b"pixi") + 9
    data[depths : depths + 3] = b"\x0a\x0a\x0a"
    refuses(bytes(data), "10-bit image")


@pytest.mark.parametrize("policy", [STRICT, ImagePolicy(depth=8)])
def test_float_and_32_bit_are_always_refused(policy: ImagePolicy) -> None:
    refuses(save(Image.new("F", (2, 2), 0.5), "TIFF"), "32-bit samples of mode F: convert it", policy)
    refuses(save(Image.new("I", (2, 2), 7), "TIFF"), "32-bit samples of mode I: convert it", policy)


def test_negative_samples_are_refused() -> None:
    signed = tiff(struct.pack("<2h", -5, 5), 2, 16, sample_format=2)
    refuses(signed, "sample value -5: convert it to unsigned", ImagePolicy(depth=8))


def test_signed_grey_has_half_the_range() -> None:
    signed = tiff(struct.pack("<4h", 0, 64, 16384, 32767), 4, 16, sample_format=2)
    assert read_image(signed, ImagePolicy(depth=8)).data[0, :, 0].tolist() == [0, 0, 128, 255]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (tiff(np.zeros(3, "<f4").tobytes(), 1, 32, channels=3, sample_format=3), "3 x 32-bit floating-point RGB"),
        (tiff(bytes(6), 1, 12, channels=3), "3 x 12-bit RGB"),
        (tiff(bytes(4), 1, 32, channels=1, sample_format=3, photometric=9), "1 x 32-bit floating-point photometric 9"),
    ],
)
def test_samples_that_pillow_does_not_know_are_named(data: bytes, what: str) -> None:
    refuses(data, f"^TIFF of {what} samples, which is not read: convert it to 8- or 16-bit")


def test_bmp_of_32_bits_without_alpha_is_opaque() -> None:
    samples = np.concatenate([RGB, np.zeros((6, 9, 1), np.uint8)], axis=2)
    data = bytearray(save(Image.fromarray(samples), "BMP"))
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)  # version 3: with a mask for alpha
    head = data[:14] + struct.pack("<I", 56) + data[18:30] + struct.pack("<I", 3) + data[34:54] + masks
    head[10:14] = struct.pack("<I", len(head))
    assert np.array_equal(read_image(bytes(head + data[54:])).data, RGB)
    data[-1] = 7  # the alpha of one pixel: now it is one
    refuses(bytes(head + data[54:]), "transparent pixels")


@pytest.mark.parametrize("interlaced", [False, True])
def test_16_bit_transparent_colour_is_compared_at_full_depth(interlaced: bool) -> None:
    samples = np.array([[[1000, 2000, 3000], [1000, 2000, 3001]]], np.uint16)
    data = png(samples, 2, 16, trns=struct.pack(">3H", 1000, 2000, 3000))
    if interlaced:  # of two pixels, Adam7 has one in the first pass and one in the sixth
        data = png(samples.reshape(2, 1, 3), 2, 16, size=(2, 1), trns=struct.pack(">3H", 1000, 2000, 3000))
        head = data[12:28] + b"\1"
        data = data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]
    pixels = read_image(data, ImagePolicy(depth=8, alpha="blend"))
    assert pixels.data.tolist() == [[[255, 255, 255], [4, 8, 12]]]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_animation_needs_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    data = save(frames[0], kind, save_all=True, append_images=frames[1:])
    refuses(data, "3 frames or pages: pass --first-frame")
    first = read_image(data, ImagePolicy(first_frame=True)).data.astype(int)
    assert np.abs(first - (255, 0, 0)).max() <= 4
    assert read_image(save(frames[0], kind)).data.shape == (16, 16, 3)


def test_a_preview_is_no_picture() -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(file, "TIFF", tiffinfo={254: 1})  # as raw files begin
    with pytest.raises(ImageError, match="camera's raw file"):
        read_image(file.getvalue())


def test_multi_picture_jpeg_is_a_still() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    assert read_image(save(frames[0], "MPO", save_all=True, append_images=frames[1:])).data[0, 0, 0] > 250


def planar_tiff(
    planes: npt.NDArray[np.uint16], order: str, extra: int | None = None, compressed: bool = False
) -> bytes:
    """Return a TIFF of one row, whose 16-bit planes (C, W) stand one after the other."""
    count, width = planes.shape
    strips = [plane.astype(order + "u2").tobytes() for plane in planes]
    strips = [zlib.compress(strip) for strip in strips] if compressed else strips
    tags = {256: [width], 257: [1], 258: [16] * count, 259: [8 if compressed else 1], 262: [2], 273: [0] * count}
    tags |= {277: [count], 278: [1], 279: [len(strip) for strip in strips], 284: [2]}
    tags |= {338: [extra]} if extra is not None else {}
    at = after = 8 + 2 + 12 * len(tags) + 4
    places = {}
    for tag in (258, 273, 279):
        places[tag], at = at, at + 4 * count
    tags[273] = [at + sum(tags[279][:index]) for index in range(count)]
    head = struct.pack(order + "2sHIH", b"MM" if order == ">" else b"II", 42, 8, len(tags))
    for tag, values in tags.items():
        head += struct.pack(order + "HHI", tag, 4, len(values))
        head += struct.pack(order + "I", places[tag] if tag in places else values[0])
    lists = b"".join(struct.pack(order + f"{count}I", *tags[tag]) for tag in places)
    assert len(head) + 4 == after
    return head + b"\0\0\0\0" + lists + b"".join(strips)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("extra", [None, 0, 2])
def test_deep_planes_of_tiff_are_read_exactly(order: str, extra: int | None) -> None:
    planes = np.stack([WIDE[0], WIDE[0, ::-1], WIDE[0] // 2, WIDE[0, ::-1]])[: 3 if extra is None else 4]
    data = planar_tiff(planes, order, extra)
    refuses(data, "16-bit image: pass --depth 8")
    if extra == 2:
        refuses(data, "transparent pixels", ImagePolicy(depth=8))
    found = read_image(data, ImagePolicy(depth=8, alpha="drop")).data
    assert np.array_equal(found, rounded(planes[:3]).T[None]), "Pillow alone takes the words for bytes"


@pytest.mark.parametrize("order", "<>")
def test_compressed_deep_planes_are_rounded_down_and_say_so(order: str) -> None:
    planes = np.stack([WIDE[0], WIDE[0, ::-1], WIDE[0] // 2])
    found = read_picture(planar_tiff(planes, order, compressed=True), ImagePolicy(depth=8))
    assert np.array_equal(found.pixels.data, (planes >> 8).T[None])
    assert found.notes == ("16-bit samples are rounded down: their decoder gives the high 8 bits",)


def test_deep_planes_that_are_not_read_are_refused() -> None:
    data = planar_tiff(np.stack([WIDE[0]] * 4), "<", extra=1)  # premultiplied
    refuses(data, "16-bit RGBA samples in planes, which is not read", ImagePolicy(depth=8))
    refuses(planar_tiff(np.stack([WIDE[0]] * 3), "<")[:-2], "in planes, which is not read", ImagePolicy(depth=8))


def test_signed_bytes_are_refused() -> None:
    data = tiff(np.array([0, 64, 127, -128], np.int8).tobytes(), 4, 8, sample_format=2)
    refuses(data, "signed 8-bit samples: convert them", ImagePolicy(depth=8))


def test_variants_that_are_not_read_are_named() -> None:
    refuses(b"MM\0+\0\x08\0\0" + bytes(7) + b"\x10" + bytes(99), "^big-endian BigTIFF, which is not read")
    refuses(b"Pf\n1 1\n-1.0\n" + struct.pack("<f", 0.5), "^32-bit samples of mode F: convert")
