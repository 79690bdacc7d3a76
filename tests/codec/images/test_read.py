"""Pictures made here, byte by byte where Pillow cannot write them, and what `codec.images.read` must make of each."""

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, ImageCms

from codec.errors import ConfigError, ImageError
from codec.images import read as image
from codec.images.formats import can_write, library_versions, read_as, write_as, write_png
from codec.images.pixels import Pixels, crop, from_tensor, pad, to_tensor
from codec.images.read import ImagePolicy, is_image, read_image, refusal

Array = npt.NDArray[Any]
RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
WIDE = np.array([[0, 1, 128, 129, 255, 32767, 32768, 65406, 65407, 65535]], dtype=np.uint16)  # (1, 10), 16-bit levels


def save(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png(samples: Array, colour_type: int, depth: int, size: tuple[int, int] | None = None, trns: bytes = b"") -> bytes:
    """Writes a PNG by hand; samples (H, W, channels), big-endian in the file. Pillow writes no 16-bit colour."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    width, height = size or (samples.shape[1], samples.shape[0])
    rows = b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"tRNS", trns) if trns else b"", chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def tiff(data: bytes, width: int, bits: int, channels: int = 1, sample_format: int = 1, photometric: int = 1) -> bytes:
    """Writes an uncompressed little-endian TIFF of one row by hand."""
    depths = struct.pack(f"<{channels}H", *[bits] * channels)
    tags = {256: width, 257: 1, 258: bits, 259: 1, 262: photometric if channels == 1 else 2, 273: 0, 277: channels}
    tags |= {278: 1, 279: len(data)} | ({339: sample_format} if sample_format > 1 else {})
    after = 8 + 2 + 12 * len(tags) + 4
    tags[273] = after + len(depths)
    if channels > 2:
        tags[258] = after  # too long to stand in the entry itself
    entries = (struct.pack("<HHII", tag, 3, channels if tag == 258 else 1, value) for tag, value in tags.items())
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    return head + b"".join(entries) + b"\0\0\0\0" + depths + data


def srgb_icc() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_icc() -> bytes:
    """An sRGB profile with red and blue exchanged, under the description "sRGB built-in"."""
    return srgb_icc().replace(b"rXYZ", b"____", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"____", b"bXYZ", 1)


def gray_icc() -> bytes:
    """A linear grey profile: a header, one tag (the curve kTRC) and one more (the white point)."""
    curve = b"curv" + struct.pack(">II", 0, 0)  # no entries: the identity
    white = b"XYZ " + struct.pack(">I3i", 0, 63190, 65536, 54061)  # D50, in 1/65536
    tags = struct.pack(">I", 2) + b"kTRC" + struct.pack(">II", 156, 12) + b"wtpt" + struct.pack(">II", 168, 20)
    head = bytearray(srgb_icc()[:128])
    head[0:4], head[16:20] = struct.pack(">I", 188), b"GRAY"
    return bytes(head) + tags + curve + white


def cmyk_icc() -> bytes:
    """A CMYK profile whose one table says: white without ink, black with any full ink."""
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


def refuses(data: bytes, message: str, policy: ImagePolicy = image.STRICT) -> None:
    with pytest.raises(ImageError, match=message):
        read_image(data, policy)


def rounded(levels: Array) -> Array:
    return (levels.astype(np.int64) * 255 + 32767) // 65535


# What every picture becomes


def test_reads_bytes_path_and_stream_alike(tmp_path: Path) -> None:
    data = save(Image.fromarray(RGB))
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with path.open("rb") as stream:
        for source in (data, path, stream, io.BytesIO(data)):
            pixels = read_image(source)
            assert np.array_equal(pixels.data, RGB) and not pixels.grey
            assert (pixels.height, pixels.width) == (6, 9) and pixels.data.dtype == np.uint8


def test_reads_a_stream_that_cannot_seek() -> None:
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as sink:
        sink.write(save(Image.fromarray(RGB)))
    with os.fdopen(read_end, "rb") as source:
        assert np.array_equal(read_image(source).data, RGB)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "JPEG2000", "QOI"])
def test_lossless_formats_are_exact(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {"irreversible": False} if kind == "JPEG2000" else {}
    assert np.array_equal(read_image(save(Image.fromarray(RGB), kind, **options)).data, RGB)


@pytest.mark.parametrize("mode", ["L", "1"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_stays_grey(mode: str, kind: str) -> None:
    picture = Image.fromarray(RGB[..., 0]).convert(mode)
    pixels = read_image(save(picture, kind))
    assert pixels.grey
    assert np.array_equal(pixels.data, np.repeat(np.array(picture.convert("L"))[..., None], 3, axis=2))


def test_grey_jpeg_stays_grey() -> None:
    assert read_image(save(Image.fromarray(RGB[..., 0]), "JPEG")).grey


def test_equal_channels_in_an_rgb_file_are_not_a_grey_source() -> None:
    assert not read_image(save(Image.fromarray(RGB[..., 0]).convert("RGB"))).grey


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (4000, 1)])
def test_thin_pictures(shape: tuple[int, int]) -> None:
    data = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    pixels = read_image(save(Image.fromarray(data)))
    assert np.array_equal(pixels.data, data)
    assert np.array_equal(from_tensor(to_tensor(pixels), grey=False).data, data)
    assert np.array_equal(read_image(write_png(pixels)).data, data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    picture = Image.fromarray(np.kron(RGB, np.ones((8, 8, 1), np.uint8)))
    turns: dict[int, Callable[[Array], Array]] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, 1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = read_image(save(picture, kind)).data
    assert np.array_equal(read_image(save(picture, kind, exif=exif)).data, turns[orientation](upright))


def test_a_damaged_exif_block_is_no_reason_to_refuse() -> None:
    assert read_image(save(Image.fromarray(RGB), "JPEG", exif=b"Exif\0\0MM\0*\0\0garbage")).height == 6


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


# ICC profiles


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
        save(Image.fromarray(RGB), "JPEG", icc_profile=icc), f"ICC profile of {len(icc)} bytes is damaged .*exiftool"
    )


@pytest.mark.parametrize("icc", [gray_icc(), cmyk_icc()])
def test_profile_for_another_colour_space_is_refused(icc: bytes) -> None:
    refuses(save(Image.fromarray(RGB), icc_profile=icc), "is damaged or not for mode RGB .*exiftool")


# Alpha


def with_alpha(kind: str, alpha: int) -> bytes:
    """Writes a 2 x 1 picture of (0, 0, 0) or (100, 100, 100), the first opaque, the second of `alpha`."""
    grey = np.array([[[0, 255], [100, alpha]]], dtype=np.uint8)
    rgba = np.concatenate([grey[..., :1]] * 3 + [grey[..., 1:]], axis=2)
    if kind in ("LA", "RGBA"):
        return save(Image.fromarray(grey if kind == "LA" else rgba))
    if kind in ("WEBP", "TIFF"):
        return save(Image.fromarray(rgba), kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8))
    palette.putpalette([0, 0, 0, 100, 100, 100])
    return save(palette, transparency=bytes([255, alpha]))


@pytest.mark.parametrize("kind", ["LA", "RGBA", "WEBP", "TIFF", "P"])
def test_alpha_rule(kind: str) -> None:
    for alpha in (0, 128, 254):
        data = with_alpha(kind, alpha)
        refuses(data, "transparent pixels: pass --alpha blend .* --alpha drop")
        dropped, blended = (read_image(data, ImagePolicy(alpha=rule)) for rule in ("drop", "blend"))
        assert dropped.data[0, :, 0].tolist() == [0, 100]
        assert blended.data[0, :, 0].tolist() == [0, round((100 * alpha + 255 * (255 - alpha)) / 255)]
        assert np.ptp(blended.data, axis=2).max() == 0 and dropped.grey == blended.grey == (kind == "LA")


@pytest.mark.parametrize("rule", ["refuse", "drop", "blend"])
@pytest.mark.parametrize("kind", ["LA", "RGBA", "WEBP", "TIFF", "P"])
def test_opaque_alpha_is_dropped(kind: str, rule: str) -> None:
    assert read_image(with_alpha(kind, 255), ImagePolicy(alpha=rule)).data[0, :, 0].tolist() == [0, 100]


def test_transparent_gif() -> None:
    picture = Image.fromarray(RGB).convert("P")
    picture.info["transparency"] = int(np.array(picture)[0, 0])
    data = save(picture, "GIF")
    refuses(data, "transparent pixels")
    assert read_image(data, ImagePolicy(alpha="blend")).data[0, 0].tolist() == [255, 255, 255]


def test_a_transparent_colour_counts_only_where_it_occurs() -> None:
    level = np.array([[[7], [9]]])
    refuses(png(level, 0, 8, trns=b"\0\7"), "transparent pixels")
    assert read_image(png(level, 0, 8, trns=b"\0\7"), ImagePolicy(alpha="blend")).data[0, :, 0].tolist() == [255, 9]
    assert read_image(png(level, 0, 8, trns=b"\0\5")).grey
    colour = np.array([[[7, 8, 9], [9, 8, 7]]])
    refuses(png(colour, 2, 8, trns=b"\0\7\0\10\0\11"), "transparent pixels")
    assert read_image(png(colour, 2, 8, trns=b"\0\7\0\10\0\12")).data.tolist() == colour.tolist()


# Depth


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


COLOUR16 = np.repeat(WIDE.T[None], 3, axis=2)  # (1, 10, 3)
OPAQUE16 = np.full((1, 10, 1), 65535, np.uint16)


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


def test_16_bit_alpha_and_transparent_colours() -> None:
    half = np.concatenate([COLOUR16, OPAQUE16 // 2], 2)
    refuses(png(half, 6, 16), "transparent pixels", ImagePolicy(depth=8))
    blend = ImagePolicy(depth=8, alpha="blend")
    grey = read_image(png(WIDE[..., None], 0, 16, trns=struct.pack(">H", 255)), blend)
    assert grey.data[0, 3:6, 0].tolist() == [1, 255, 127]  # 255 alone is transparent, not its neighbours
    colour = read_image(png(COLOUR16, 2, 16, trns=struct.pack(">3H", *[32768] * 3)), blend)
    assert colour.data[0, 5:8, 0].tolist() == [127, 255, 255] and not colour.grey


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


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_transparent_grey_of_few_bits(depth: int) -> None:
    top = 2**depth - 1
    samples = np.array([[[0]], [[top << 8 - depth]]], np.uint8)  # two rows of one, in the high bits
    data = png(samples, 0, depth, trns=struct.pack(">H", top), size=(1, 2))
    refuses(data, "transparent pixels")
    assert read_image(data, ImagePolicy(alpha="drop")).data[..., 0].ravel().tolist() == [0, 255]


def test_plain_pgm_of_8_bits_is_no_deep_image() -> None:
    assert read_image(b"P2 1 1 255\n77\n").data.tolist() == [[[77, 77, 77]]]


def test_10_bit_avif_is_deep() -> None:
    data = bytearray(save(Image.new("RGB", (16, 16)), "AVIF"))
    data[data.index(b"av1C") + 6] |= 0x40  # high_bitdepth
    depths = data.index(b"pixi") + 9
    data[depths : depths + 3] = b"\x0a\x0a\x0a"
    refuses(bytes(data), "10-bit image")


@pytest.mark.parametrize("policy", [image.STRICT, ImagePolicy(depth=8)])
def test_float_and_32_bit_are_always_refused(policy: ImagePolicy) -> None:
    refuses(save(Image.new("F", (2, 2), 0.5), "TIFF"), "32-bit samples of mode F: convert it", policy)
    refuses(save(Image.new("I", (2, 2), 7), "TIFF"), "32-bit samples of mode I: convert it", policy)


def test_negative_samples_are_refused() -> None:
    signed = tiff(struct.pack("<2h", -5, 5), 2, 16, sample_format=2)
    refuses(signed, "sample value -5: convert it to unsigned", ImagePolicy(depth=8))


# Frames


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


def test_a_refusal_is_told_from_the_header(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(path)
    assert "16-bit image" in str(refusal(path)) and refusal(path, ImagePolicy(depth=8)) is None
    assert "check the path" in str(refusal(tmp_path))


def test_multi_picture_jpeg_is_a_still() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    assert read_image(save(frames[0], "MPO", save_all=True, append_images=frames[1:])).data[0, 0, 0] > 250


# Damage and size


def files() -> list[Any]:
    noise = Image.fromarray(np.random.default_rng(2).integers(0, 256, (24, 40, 3), dtype=np.uint8))
    kinds: list[tuple[str, dict[str, Any]]]
    kinds = [("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {}), ("GIF", {}), ("BMP", {})]
    kinds += [("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("AVIF", {}), ("QOI", {}), ("PPM", {})]
    return [pytest.param(save(noise, kind, **options), id=f"{kind}-{'-'.join(options)}") for kind, options in kinds]


@pytest.mark.parametrize("data", files())
def test_truncated_files_are_refused(data: bytes) -> None:
    for length in [*range(1, 64), *range(64, len(data) - 24, 97)]:
        with pytest.raises(ImageError, match=": "):
            read_image(data[:length])


@pytest.mark.parametrize("data", files())
def test_damaged_files_raise_nothing_but_image_errors(data: bytes) -> None:
    rng = np.random.default_rng(3)
    everything = ImagePolicy(alpha="blend", depth=8, first_frame=True)
    for _ in range(60):
        broken = bytearray(data)
        for at in rng.integers(0, min(len(data), 400), 3):
            broken[at] ^= 1 << int(rng.integers(8))
        try:
            assert read_image(bytes(broken), everything).data.dtype == np.uint8
        except ImageError as error:
            assert len(str(error)) > 20


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty file of 0 bytes"),
        (b"Dear diary, today I read about images.\n" * 9, "no picture, or a damaged header: give one of PNG, JPEG"),
        (b"P5 was a good year", "corrupt"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture"),
        (b"\x89PNG\r\n\x1a\n", "no picture"),
        (b"\0" * 500, "no picture"),
    ],
)
def test_what_is_no_image(data: bytes, message: str) -> None:
    refuses(data, message)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(ImageError, match=r"cannot be read: (No such file|Is a directory)") as caught:
            read_image(path)
        assert str(tmp_path) not in str(caught.value)


def test_name_opens_the_message() -> None:
    with pytest.raises(ImageError, match=r"^-: empty file"):
        read_image(b"", name="-")


def test_sides_and_megapixels_are_limited() -> None:
    nothing = np.zeros((0, 0, 1))
    refuses(png(nothing, 0, 8, size=(65_537, 1)), "65537 x 1 px: crop or downscale it to 65536 px")
    refuses(png(nothing, 0, 8, size=(10_000, 10_001)), ".100010000 pixels. is over 100 megapixels: crop")
    refuses(png(nothing, 0, 8, size=(10_000, 10_000)), "corrupt or truncated")  # allowed, but nothing follows
    assert read_image(save(Image.new("1", (65_536, 1)))).width == 65_536


def test_pillows_own_limit_neither_warns_nor_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    filters = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read_image(png(RGB, 2, 8)).height == 6
        refuses(b"no picture", "no picture")
    assert Image.MAX_IMAGE_PIXELS == 10 and not caught and warnings.filters == filters


def test_threads_leave_pillow_as_it_was() -> None:
    data, before, filters = save(Image.fromarray(RGB)), Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    with ThreadPoolExecutor(8) as threads:
        assert all(np.array_equal(pixels.data, RGB) for pixels in threads.map(read_image, [data] * 200))
    assert before == Image.MAX_IMAGE_PIXELS and warnings.filters == filters


def test_a_name_and_a_bytearray_will_do(tmp_path: Path) -> None:
    data = save(Image.fromarray(RGB))
    (tmp_path / "a.png").write_bytes(data)
    for source in (str(tmp_path / "a.png"), bytearray(data)):
        assert np.array_equal(read_image(source).data, RGB)
    with pytest.raises(ImageError, match="No such file"):
        read_image("nowhere.png")


def test_is_image(tmp_path: Path) -> None:
    png_bytes = save(Image.fromarray(RGB))
    yes = {"a": png_bytes, "b.txt": save(Image.fromarray(RGB), "JPEG"), "cut.png": png_bytes[:20], "c.bmp": None}
    yes |= {"cut.tif": save(Image.fromarray(RGB), "TIFF")[:30], "cut.webp": save(Image.fromarray(RGB), "WEBP")[:14]}
    yes |= {"huge.ppm": b"P6 30000 30000 255\n", "d.avif": save(Image.new("RGB", (16, 16)), "AVIF")}
    no = {
        "e.png": b"",
        "f.txt": b"P5 was a good year",
        "g.png": b"text",
        "h.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "i": b"\0" * 99,
    }
    no |= {"j.wav": b"RIFF\0\0\0\0WAVEfmt "}
    for expected, entries in ((True, yes), (False, no)):
        for name, data in entries.items():
            (tmp_path / name).write_bytes(save(Image.fromarray(RGB), "BMP") if data is None else data)
            assert is_image(tmp_path / name) is expected, name
    os.mkfifo(tmp_path / "pipe")
    assert not any(is_image(tmp_path / name) for name in ("pipe", "none.png", "."))


def test_is_image_keeps_what_may_not_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    monkeypatch.setattr(Path, "open", denied)
    assert is_image(path)


# Tensors


def test_tensor_round_trip_is_exact_on_all_levels() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    colour = np.stack([ramp[..., 0], ramp[::-1, :, 0], ramp[:, ::-1, 0]], axis=2)
    for data, grey in ((ramp, True), (colour, False)):
        x = to_tensor(Pixels(data, grey))
        assert x.shape == (1, 3, 16, 16) and x.dtype == torch.float32 and x.min() == 0 and x.max() == 1
        assert np.array_equal(from_tensor(x, grey).data, data)


def test_to_tensor_puts_channels_first_and_shares_no_memory() -> None:
    data = np.array([[[255, 0, 51]]], dtype=np.uint8)
    data.flags.writeable = False
    assert to_tensor(Pixels(data, grey=False)).flatten().tolist() == pytest.approx([1, 0, 0.2])


@pytest.mark.parametrize(("level", "expected"), [(99.51, 100), (99.49, 99), (254.6, 255), (-9.0, 0), (300.0, 255)])
@pytest.mark.parametrize("grey", [False, True])
def test_from_tensor_clamps_and_rounds(level: float, expected: int, grey: bool) -> None:
    pixels = from_tensor(torch.full((1, 3, 2, 3), level / 255), grey)
    assert pixels.data.shape == (2, 3, 3) and pixels.data.dtype == np.uint8 and (pixels.data == expected).all()


def test_grey_is_the_mean_before_rounding() -> None:
    x = torch.tensor([10.4, 10.4, 10.8]).reshape(1, 3, 1, 1) / 255  # rounded one by one: 10, 10, 11
    assert from_tensor(x, grey=True).data.tolist() == [[[11, 11, 11]]]
    assert from_tensor(x.requires_grad_(), grey=False).data.tolist() == [[[10, 10, 11]]]


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (1, 130), (63, 65)])
def test_pad_repeats_the_edge_and_crop_undoes_it(size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size)
    padded = pad(x, 64)
    assert padded.shape == (2, 3, -(-size[0] // 64) * 64, -(-size[1] // 64) * 64)
    assert torch.equal(crop(padded, *size), x)
    assert torch.equal(padded[:, :, -1, -1], x[:, :, -1, -1])
    assert torch.equal(padded[:, :, : size[0], -1], x[..., -1])


@pytest.mark.parametrize("grey", [False, True])
def test_write_png_is_read_back(grey: bool) -> None:
    pixels = Pixels(RGB[..., :1].repeat(3, 2) if grey else RGB, grey)
    data = write_png(pixels)
    again = read_image(data)
    assert np.array_equal(again.data, pixels.data) and again.grey == grey
    assert data[25] == (0 if grey else 2)  # the PNG's colour type


# The policy


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"alpha": "keep"}, "alpha: 'keep' is not valid: choose one of .*refuse.*drop.*blend"),
        ({"depth": 16}, "depth: 16 is not valid: choose one of .*None, 8"),
        ({"first_frame": "yes"}, "first_frame: 'yes' is not valid: choose one of .*False, True"),
    ],
)
def test_bad_policy(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ImagePolicy(**values)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_format_is_written_and_read_as_it_is(kind: str, grey: bool) -> None:
    data = np.repeat(RGB[..., :1], 3, axis=2) if grey else RGB
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(read_as(write_as(Pixels(data, grey), kind, options), kind).data, data)


def test_options_reach_the_format_and_stay_the_callers_own() -> None:
    options = {"quality": 30, "more": {"a": 1}}
    assert len(write_as(Pixels(RGB, False), "JPEG", options)) != len(write_as(Pixels(RGB, False), "JPEG"))
    assert options == {"quality": 30, "more": {"a": 1}}


@pytest.mark.parametrize(("kind", "text"), [("NOPE", "cannot write it"), ("WEBP", "refused")])
def test_what_a_format_cannot_do_is_an_error_of_the_picture(kind: str, text: str) -> None:
    with pytest.raises(ImageError, match=text):
        write_as(Pixels(np.zeros((1, 20_000, 3), np.uint8), False), kind)


def test_formats_and_versions_are_known() -> None:
    assert can_write("JPEG") and not can_write("NOPE")
    assert library_versions()["Pillow"] and "webp" in library_versions()
