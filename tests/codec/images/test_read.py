"""Sources, orientation, thin and grey pictures, the policy, and telling pictures from other files."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codec.errors import ConfigError, ImageError
from codec.images.formats import write_png
from codec.images.pixels import from_tensor, to_tensor
from codec.images.read import ImagePolicy, is_image, read_image, refusal
from tests.codec.images.conftest import RGB, Array, save


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


def test_a_refusal_is_told_from_the_header(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(path)
    assert "16-bit image" in str(refusal(path)) and refusal(path, ImagePolicy(depth=8)) is None
    assert "check the path" in str(refusal(tmp_path))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(ImageError, match=r"cannot be read: (No such file|Is a directory)") as caught:
            read_image(path)
        assert str(tmp_path) not in str(caught.value)


def test_name_opens_the_message() -> None:
    with pytest.raises(ImageError, match=r"^-: empty file"):
        read_image(b"", name="-")


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
