"""Damaged and oversized files, and Pillow's global state."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codec.errors import ConfigError, ImageError
from codec.images.read import ImagePolicy, read_image
from tests.codec.images.conftest import RGB, png, refuses, save


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


def test_sides_and_megapixels_are_limited() -> None:
    nothing = np.zeros((0, 0, 1))
    refuses(png(nothing, 0, 8, size=(65_537, 1)), "65537 x 1 px: crop or downscale it to 65536 px")
    refuses(png(nothing, 0, 8, size=(20_000, 10_001)), "20000 x 10001 px is over 200 megapixels: .* --max-megapixels")
    refuses(png(nothing, 0, 8, size=(20_000, 10_000)), "corrupt or truncated")  # allowed, but nothing follows
    with pytest.raises(ImageError, match=r"9 x 6 px is over 5\.3e-05 megapixels"):
        read_image(png(RGB, 2, 8), ImagePolicy(max_megapixels=53e-6))
    assert read_image(png(RGB, 2, 8), ImagePolicy(max_megapixels=54e-6)).width == 9
    with pytest.raises(ConfigError, match="max_megapixels 0: must be positive"):
        ImagePolicy(max_megapixels=0)
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
