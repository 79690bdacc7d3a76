"""Colours stated without a profile: the levels that the standards' matrices give, in order of precedence."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from codec.images.outputs import write_picture
from codec.images.read import ImagePolicy, read_image, read_picture
from tests.codec.images.conftest import RGB, png, refuses, save
from tests.codec.images.test_colour import srgb_icc, swapped_icc

Levels = tuple[int, int, int]
COLOUR: Levels = (200, 100, 50)
# from linear light to that of sRGB, as CSS Color Module Level 4 prints them (section 10.10 and its sample code)
TO_SRGB = {
    "p3": [[1.2249401762805598, -0.22494017628055996, 0], [-0.042056954709688163, 1.0420569547096881, 0],
           [-0.019637554590334432, -0.078636045550631889, 1.0982736001409663]],
    "rec2020": [[1.660491002108435, -0.58764113878854973, -0.072849863319884883],
                [-0.12455047452159074, 1.1328998971259603, -0.0083494226043694768],
                [-0.018150763354905303, -0.10057889800800739, 1.1187296613629127]],
    "adobe": [[1.398355734403, -0.398355734403, 0], [0, 1, 0], [0, -0.0429289, 1.0429289]],
    "srgb": np.eye(3).tolist(),
}  # fmt: skip
CHRM = {
    "p3": (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    "srgb": (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06),
}
SRGB, LINEAR = "srgb", 1.0


def expected(colour: Levels, space: str, transfer: float | str) -> Any:
    """Levels in sRGB of 8-bit levels in a space; `transfer` is an exponent or that of sRGB."""
    v = np.array(colour) / 255
    light = (
        np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4) if transfer == SRGB else v ** float(transfer)
    )
    light = np.clip(np.array(TO_SRGB[space]) @ light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def chrm(space: str) -> bytes:
    return struct.pack(">8I", *(round(100_000 * value) for value in CHRM[space]))


def gama(exponent: float) -> bytes:
    return struct.pack(">I", round(100_000 * exponent))


def iccp(profile: bytes) -> bytes:
    return b"name\0\0" + zlib.compress(profile)


def coloured_png(chunks: dict[bytes, bytes], colour: Levels = COLOUR) -> bytes:
    return png(np.array([[colour]]), 2, 8, chunks=chunks)


def level_of(data: bytes, **policy: Any) -> Any:
    return read_image(data, ImagePolicy(**policy)).data[0, 0].astype(float)


def swapped() -> Any:
    return np.array(COLOUR[::-1], float)


@pytest.mark.parametrize(
    ("chunks", "right"),
    [
        pytest.param({b"gAMA": gama(1)}, expected(COLOUR, SRGB, LINEAR), id="linear"),
        pytest.param({b"gAMA": gama(1 / 1.8)}, expected(COLOUR, SRGB, 1.8), id="1.8"),
        pytest.param({b"gAMA": gama(1 / 2.2)}, COLOUR, id="2.2-is-sRGB"),
        pytest.param({b"cHRM": chrm("p3")}, expected(COLOUR, "p3", SRGB), id="p3"),
        pytest.param({b"cHRM": chrm("p3"), b"gAMA": gama(1 / 2.2)}, expected(COLOUR, "p3", SRGB), id="p3-2.2"),
        pytest.param({b"cHRM": chrm("p3"), b"gAMA": gama(1)}, expected(COLOUR, "p3", LINEAR), id="p3-linear"),
        pytest.param({b"cHRM": chrm("srgb")}, COLOUR, id="srgb-primaries"),
        pytest.param({b"cICP": bytes([12, 13, 0, 1])}, expected(COLOUR, "p3", SRGB), id="cicp-p3"),
        pytest.param({b"cICP": bytes([9, 8, 0, 1])}, expected(COLOUR, "rec2020", LINEAR), id="cicp-2020-linear"),
        pytest.param({b"cICP": bytes([1, 1, 0, 1])}, COLOUR, id="cicp-video"),
        pytest.param({b"cICP": bytes([2, 2, 0, 1])}, COLOUR, id="cicp-unspecified"),
        # precedence: cICP, iCCP, sRGB, then gAMA and cHRM
        pytest.param({b"sRGB": b"\0", b"gAMA": gama(1), b"cHRM": chrm("p3")}, COLOUR, id="sRGB-before-gAMA"),
        pytest.param(
            {b"iCCP": iccp(swapped_icc()), b"sRGB": b"\0", b"gAMA": gama(1)}, swapped(), id="iCCP-before-sRGB"
        ),
        pytest.param(
            {b"iCCP": iccp(swapped_icc()), b"cICP": bytes([12, 13, 0, 1]), b"sRGB": b"\0"},
            expected(COLOUR, "p3", SRGB),
            id="cICP-before-iCCP",
        ),
        pytest.param({b"cHRM": bytes(32)}, COLOUR, id="impossible-primaries"),
        pytest.param({b"gAMA": bytes(4)}, COLOUR, id="impossible-gamma"),
        pytest.param({b"gAMA": b"\0"}, COLOUR, id="short-gamma"),
    ],
)
def test_png_chunks(chunks: dict[bytes, bytes], right: Any) -> None:
    assert np.abs(level_of(coloured_png(chunks)) - right).max() <= 0.51  # the nearest level


def test_near_srgb_is_left_bit_exact() -> None:
    data = png(RGB, 2, 8, chunks={b"gAMA": gama(0.4545), b"cHRM": chrm("srgb")})
    assert np.array_equal(read_image(data).data, RGB)


def test_narrow_range_is_spread() -> None:
    data = coloured_png({b"cICP": bytes([1, 13, 0, 0])}, (16, 235, 126))
    assert level_of(data).tolist() == [0, 255, 128]


def test_unknown_code_points_are_refused() -> None:
    refuses(coloured_png({b"cICP": bytes([99, 13, 0, 1])}), "primaries 99 with transfer function 13 .*convert")


@pytest.mark.parametrize("depth", [8, 16])
def test_grey_and_deep_samples_are_converted_before_they_are_rounded(depth: int) -> None:
    level = 20 if depth == 16 else 1  # deep shadows, which 8 bits would leave black
    light = level / (2**depth - 1)
    right = 255 * (12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055)
    linear = {b"gAMA": gama(1)}
    grey = read_image(png(np.array([[[level]]]), 0, depth, chunks=linear), ImagePolicy(depth=8))
    assert grey.grey and abs(int(grey.data[0, 0, 0]) - right) <= 0.51
    colour = png(np.full((1, 1, 3), level), 2, depth, chunks=linear)
    assert abs(level_of(colour, depth=8) - right).max() <= 0.51


def test_deep_samples_under_a_profile_of_matrix_and_curves() -> None:
    icc = srgb_icc()
    at = struct.unpack(">I", icc[icc.index(b"rTRC") + 4 :][:4])[0]
    linear = icc[:at] + b"curv" + bytes(8) + icc[at + 12 :]  # the curve that red, green and blue share
    samples = np.full((1, 1, 3), 20)
    data = png(samples, 2, 16, chunks={b"iCCP": iccp(linear)})
    assert abs(level_of(data, depth=8) - 255 * 12.92 * 20 / 65535).max() <= 0.51


@pytest.mark.parametrize(
    ("transfer", "samples", "right"),
    [
        (16, (38_055, 38_055, 38_055), 255),  # 203 cd/m2
        (16, (65_535, 65_535, 65_535), 255),  # clipped
        (16, (28_841, 28_841, 28_841), 136),  # 50 cd/m2: light 0.247
        (18, (49_151, 49_151, 49_151), 255),  # 75 % of HLG is reference white
        (18, (32_768, 32_768, 32_768), 137),  # 50 %: light of the scene 1/12, of the display 0.2497
    ],
)
def test_hdr_is_refused_or_clipped(transfer: int, samples: Levels, right: int) -> None:
    data = png(np.array([[samples]]), 2, 16, chunks={b"cICP": bytes([9, transfer, 0, 1])})
    refuses(data, "HDR samples .PQ or HLG.: pass --hdr clip", ImagePolicy(depth=8))
    assert np.abs(level_of(data, depth=8, hdr="clip") - right).max() <= 0.51 + (transfer == 18)


def avif(colour: Levels, primaries: int, transfer: int) -> bytes:
    """Write an AVIF of one colour and set the code points in its colr box."""
    data = bytearray(save(Image.new("RGB", (16, 16), colour), "AVIF", quality=100, subsampling="4:4:4"))
    at = data.index(b"colrnclx") + 8
    data[at : at + 4] = struct.pack(">HH", primaries, transfer)
    return bytes(data)


@pytest.mark.parametrize(
    ("primaries", "transfer", "right"),
    [(1, 13, COLOUR), (12, 13, expected(COLOUR, "p3", SRGB)), (1, 8, expected(COLOUR, SRGB, LINEAR)), (1, 1, COLOUR)],
)
def test_avif_code_points(primaries: int, transfer: int, right: Any) -> None:
    assert np.abs(level_of(avif(COLOUR, primaries, transfer)) - right).max() <= 2.5  # of the encoder


def test_hdr_avif_is_refused() -> None:
    refuses(avif(COLOUR, 9, 16), "HDR samples")


def camera_exif(colour_space: int, index: bytes) -> bytes:
    """Write an EXIF block with ColorSpace and InteropIndex."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = colour_space
    exif.get_ifd(0x8769)[0xA005] = {1: index.decode()}
    return exif.tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("colour_space", "index", "space"), [(0xFFFF, b"R03", "adobe"), (2, b"R98", "adobe"), (1, b"R98", "srgb")]
)
def test_exif_says_adobe_rgb(kind: str, colour_space: int, index: bytes, space: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    data = save(Image.new("RGB", (16, 16), COLOUR), kind, exif=camera_exif(colour_space, index), **options)
    right = expected(COLOUR, "adobe", 563 / 256) if space == "adobe" else COLOUR
    assert np.abs(level_of(data) - right).max() <= (2.5 if kind == "JPEG" else 0.51)


@pytest.mark.parametrize(("colour_space", "index"), [(0xFFFF, b"R03"), (2, b"R98"), (2, b"R03")])
@pytest.mark.parametrize("keeping", ["keep", "default"])
def test_a_copy_in_srgb_does_not_say_adobe_rgb(keeping: Any, colour_space: int, index: bytes) -> None:
    found = read_picture(save(Image.new("RGB", (16, 16), COLOUR), exif=camera_exif(colour_space, index)))
    copy = write_picture(found.pixels, found.kept(keeping))
    assert np.array_equal(read_image(copy).data, found.pixels.data), "it is not converted once more"


def test_a_profile_goes_before_exif() -> None:
    picture = Image.new("RGB", (4, 4), COLOUR)
    data = save(picture, exif=camera_exif(2, b"R03"), icc_profile=srgb_icc())
    assert level_of(data).tolist() == list(COLOUR)


@pytest.mark.parametrize("count", [1, 3, 200])
def test_jpeg_profile_in_a_wrong_count_of_fragments(count: int) -> None:
    data = save(Image.new("RGB", (16, 16), (255, 0, 0)), "JPEG", quality=100, subsampling=0, icc_profile=swapped_icc())
    at = data.index(b"ICC_PROFILE\0")
    length, half = struct.unpack(">H", data[at - 2 : at])[0], 200
    profile = data[at + 14 : at - 2 + length]
    parts = [profile[:half], profile[half:]]
    segments = (
        b"\xff\xe2" + struct.pack(">H", 16 + len(part)) + b"ICC_PROFILE\0" + bytes([number, count]) + part
        for number, part in reversed(list(enumerate(parts, 1)))
    )
    broken = data[: at - 4] + b"".join(segments) + data[at - 2 + length :]
    with Image.open(io.BytesIO(broken)) as image:
        assert image.info.get("icc_profile") is None  # Pillow alone
    assert np.abs(level_of(broken) - (0, 0, 255)).max() <= 2


@pytest.mark.parametrize("profile", [srgb_icc()[:300], b"junk"])
def test_a_profile_that_cannot_be_applied_may_be_ignored(profile: bytes) -> None:
    data = save(Image.fromarray(RGB), icc_profile=profile)
    refuses(data, f"ICC profile of {len(profile)} bytes is damaged .*pass --ignore-icc")
    assert np.array_equal(read_image(data, ImagePolicy(ignore_icc=True)).data, RGB)


def test_ignoring_spares_profiles_that_can_be_applied() -> None:
    data = save(Image.new("RGB", (4, 4), COLOUR), icc_profile=swapped_icc())
    assert np.abs(level_of(data, ignore_icc=True) - swapped()).max() <= 2


def test_jpeg_2000_profile_is_applied() -> None:
    data = save(Image.new("RGB", (16, 16), (255, 0, 0)), "JPEG2000", irreversible=False)
    at = data.index(b"colr") - 4
    size = struct.unpack(">I", data[at : at + 4])[0]
    icc = swapped_icc()
    box = struct.pack(">I", 11 + len(icc)) + b"colr" + b"\2\0\0" + icc
    header = data.index(b"jp2h") - 4
    grown = struct.pack(">I", struct.unpack(">I", data[header : header + 4])[0] + len(box) - size)
    data = data[:header] + grown + data[header + 4 : at] + box + data[at + size :]
    assert np.abs(level_of(data) - (0, 0, 255)).max() <= 2


def bmp(kind: int, rest: bytes, profile: bytes = b"") -> bytes:
    """Write a BMP of version 5 of one pixel, COLOUR."""
    head = struct.pack("<IiiHHIIiiII", 124, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0) + bytes(16)
    body = head + struct.pack("<I", kind) + rest
    body += struct.pack("<IIII", 0, 124 + 4, len(profile), 0)
    pixels = bytes([COLOUR[2], COLOUR[1], COLOUR[0], 0])
    return struct.pack("<2sIHHI", b"BM", 14 + 124 + 4 + len(profile), 0, 0, 14 + 124) + body + pixels + profile


def test_bmp_end_points_and_profiles() -> None:
    xyz = (0.486571, 0.228975, 0.0, 0.265668, 0.691739, 0.045113, 0.198217, 0.079287, 1.043944)  # of Display P3
    calibrated = struct.pack("<9i", *(round(v * 2**30) for v in xyz)) + struct.pack("<3I", *[round(2.2 * 2**16)] * 3)
    assert np.abs(level_of(bmp(0, calibrated)) - expected(COLOUR, "p3", SRGB)).max() <= 1
    assert level_of(bmp(0, bytes(48))).tolist() == list(COLOUR)  # as most writers leave them
    assert np.abs(level_of(bmp(0x4D424544, bytes(48), swapped_icc())) - swapped()).max() <= 2


def test_tiff_primaries() -> None:
    x = CHRM["p3"]
    info = {318: x[:2], 319: x[2:]}
    data = save(Image.new("RGB", (2, 2), COLOUR), "TIFF", tiffinfo=info)
    assert np.abs(level_of(data) - expected(COLOUR, "p3", SRGB)).max() <= 0.51


def test_matrices_agree_with_the_colour_engine() -> None:
    """Wide gamut through our own arithmetic and, as an ICC profile, through LittleCMS."""
    from codec.images.icc import matrix_space
    from codec.images.rgb_space import converter

    icc = swapped_icc()
    space = matrix_space(icc)
    assert space is not None
    profiles = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(*profiles, "RGB", "RGB")
    theirs = np.asarray(ImageCms.applyTransform(Image.fromarray(RGB), transform), int)
    assert np.abs(converter(255, space)(RGB) - theirs).max() <= 1
