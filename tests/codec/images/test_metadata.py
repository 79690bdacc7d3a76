"""Bit depth, frames, previews and formats that are known but not read."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from codec.errors import ImageError
from codec.images.read import STRICT, ImagePolicy, read_image
from tests.codec.images.conftest import COLOUR16, OPAQUE16, WIDE, png, refuses, rounded, save, tiff


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
def test_16_bit_colour_is_refused_or_reduced(data: bytes, grey: bool) -> None:
    refuses(data, "16-bit image: pass --depth 8")
    pixels = read_image(data, ImagePolicy(depth=8))
    assert pixels.grey == grey
    assert np.abs(pixels.data[..., 0] - rounded(WIDE)).max() <= 1  # the high byte, as documented


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


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "a camera's raw file"),
    ],
)
def test_formats_that_are_not_read_are_named(data: bytes, kind: str) -> None:
    with pytest.raises(ImageError, match=f"^{kind} is not read: export it"):
        read_image(data + bytes(100))


def test_multi_picture_jpeg_is_a_still() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    assert read_image(save(frames[0], "MPO", save_all=True, append_images=frames[1:])).data[0, 0, 0] > 250
