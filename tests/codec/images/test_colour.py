"""ICC profiles and colour spaces: sRGB stays bit-exact, other profiles are converted or refused."""

import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from codec.images.read import ImagePolicy, read_image
from tests.codec.images.conftest import RGB, refuses, save


def srgb_icc() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_icc() -> bytes:
    """Return an sRGB profile with red and blue exchanged, under the description "sRGB built-in"."""
    return srgb_icc().replace(b"rXYZ", b"____", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"____", b"bXYZ", 1)


def gray_icc() -> bytes:
    """Return a linear grey profile of two tags, curve and white point."""
    curve = b"curv" + struct.pack(">II", 0, 0)  # no entries: the identity
    white = b"XYZ " + struct.pack(">I3i", 0, 63190, 65536, 54061)  # D50, in 1/65536
    tags = struct.pack(">I", 2) + b"kTRC" + struct.pack(">II", 156, 12) + b"wtpt" + struct.pack(">II", 168, 20)
    head = bytearray(srgb_icc()[:128])
    head[0:4], head[16:20] = struct.pack(">I", 188), b"GRAY"
    return bytes(head) + tags + curve + white


def cmyk_icc() -> bytes:
    """Return a CMYK profile whose table gives white without ink, black with any full ink."""
    clut = b"\xff\x80\x80" + b"\x00\x80\x80" * 15  # Lab of the 2^4 corners
    table = b"mft1" + struct.pack(">I4B9i", 0, 4, 3, 2, 0, 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table += bytes(range(256)) * 4 + clut + bytes(range(256)) * 3
    head = bytearray(srgb_icc()[:128])
    head[12:16], head[16:20], head[20:24] = b"prtr", b"CMYK", b"Lab "
    white = b"XYZ " + struct.pack(">I3i", 0, 63190, 65536, 54061)
    table += b"\0" * (-len(table) % 4)
    tags = struct.pack(">I", 2) + b"A2B0" + struct.pack(">II", 156, len(table))
    tags += b"wtpt" + struct.pack(">II", 156 + len(table), 20)
    head[0:4] = struct.pack(">I", 156 + len(table) + 20)
    return bytes(head) + tags + table + white


def test_palette_becomes_rgb() -> None:
    picture = Image.fromarray(RGB).quantize(16)
    pixels = read_image(save(picture))
    assert np.array_equal(pixels.data, np.array(picture.convert("RGB"))) and not pixels.grey


def test_cmyk_jpeg_becomes_rgb() -> None:
    pixels = read_image(save(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100))
    assert np.abs(pixels.data.astype(int) - (255, 0, 0)).max() <= 4 and not pixels.grey


def test_lab_tiff_becomes_rgb() -> None:
    pixels = read_image(save(Image.new("LAB", (4, 4), (138, 209, 198)), "TIFF"))  # L 54.3, a 81, b 70 (D50): pure red
    assert np.abs(pixels.data.astype(int) - (255, 0, 0)).max() <= 8


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_srgb_profile_leaves_pixels_bit_exact(mode: str) -> None:
    picture = Image.fromarray(RGB).convert(mode)
    pixels = read_image(save(picture, icc_profile=srgb_icc()))
    assert np.array_equal(pixels.data, np.array(picture.convert("RGB"))) and pixels.grey == (mode == "L")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_other_rgb_profile_is_converted_whatever_its_description_says(mode: str) -> None:
    picture = Image.new("RGB", (4, 4), (255, 0, 0)).convert(mode)
    pixels = read_image(save(picture, icc_profile=swapped_icc()))
    assert np.abs(pixels.data.astype(int) - (0, 0, 255)).max() <= 2


def test_grey_profile_is_converted_and_stays_grey() -> None:
    pixels = read_image(save(Image.new("L", (4, 4), 55), icc_profile=gray_icc()))
    assert pixels.grey and np.ptp(pixels.data) == 0 and abs(int(pixels.data[0, 0, 0]) - 128) <= 2
    shadows = read_image(save(Image.new("L", (4, 4), 3), icc_profile=gray_icc()))
    assert shadows.data[0, 0].tolist() == [28, 28, 28]  # 255 * (1.055 * (3 / 255) ** (1 / 2.4) - 0.055) = 28.2


def test_16_bit_grey_profile_is_converted_too() -> None:
    picture = Image.fromarray(np.full((4, 4), 55 * 257, np.uint16))
    pixels = read_image(save(picture, icc_profile=gray_icc()), ImagePolicy(depth=8))
    assert pixels.grey and abs(int(pixels.data[0, 0, 0]) - 128) <= 2


def test_cmyk_profile_is_used() -> None:
    ink = save(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=100, icc_profile=cmyk_icc())
    assert read_image(ink).data.max() <= 8  # black says the profile; cyan without it
    paper = save(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG", quality=100, icc_profile=cmyk_icc())
    assert read_image(paper).data.min() >= 247


@pytest.mark.parametrize("icc", [b"junk", b"\0" * 200, srgb_icc()[:300], b"x" * 588])
def test_unreadable_profile_is_refused_with_the_mend(icc: bytes) -> None:
    refuses(
        save(Image.fromarray(RGB), "JPEG", icc_profile=icc),
        f"ICC profile of {len(icc)} bytes is damaged .*--ignore-icc",
    )


@pytest.mark.parametrize("icc", [gray_icc(), cmyk_icc()])
def test_profile_for_another_colour_space_is_refused(icc: bytes) -> None:
    refuses(save(Image.fromarray(RGB), icc_profile=icc), "is damaged or not for mode RGB .*--ignore-icc")
