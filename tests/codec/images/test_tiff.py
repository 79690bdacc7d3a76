"""TIFF in the compressions that people meet: the levels are those that were written."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from codec.images.read import ImagePolicy, read_image
from tests.codec.images.conftest import Array, rounded, save, tiff

ROWS, COLUMNS = np.mgrid[:32, :48]
PHOTO = np.stack([COLUMNS * 5, ROWS * 7, 255 - COLUMNS * 3], axis=-1).astype(np.uint8)
INK = np.concatenate([PHOTO, (ROWS * 3 + COLUMNS)[..., None].astype(np.uint8)], axis=2)
DEEP = np.stack([COLUMNS * 1365, ROWS * 2114, 65_535 - COLUMNS * 700], axis=-1).astype(np.uint16)


def without_ink(ink: Array) -> Array:
    """Return the RGB levels, as floats, of CMYK ones without a profile: each ink lets the rest of the light pass."""
    passed = 255 - ink.astype(float)
    return passed[..., :3] * passed[..., 3:] / 255


PICTURES = {
    "RGB": (Image.fromarray(PHOTO), PHOTO),
    "L": (Image.fromarray(PHOTO[..., 0]), PHOTO[..., :1]),
    "CMYK": (Image.frombytes("CMYK", (48, 32), INK.tobytes()), without_ink(INK)),
    "I;16": (Image.fromarray(DEEP[..., 0]), rounded(DEEP[..., :1])),
}


@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("compression", ["tiff_lzw", "zstd", "lzma", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", PICTURES)
def test_lossless_compressions(mode: str, compression: str, predictor: int) -> None:
    picture, right = PICTURES[mode]
    data = save(picture, "TIFF", compression=compression, tiffinfo={317: predictor})
    found = read_image(data, ImagePolicy(depth=8))
    assert np.abs(found.data.astype(float) - right).max() <= (0.5 if mode == "CMYK" else 0) and found.grey == (
        right.shape[2] == 1
    )


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_lzw"])
def test_two_levels(compression: str) -> None:
    picture = Image.fromarray(PHOTO).convert("1")
    found = read_image(save(picture, "TIFF", compression=compression))
    assert found.grey and np.array_equal(found.data, np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "YCbCr"])
def test_jpeg_inside(mode: str) -> None:
    picture, right = PICTURES.get(mode, (Image.fromarray(PHOTO).convert(mode), PHOTO))
    found = read_image(save(picture, "TIFF", compression="jpeg", quality=100)).data.astype(float)
    assert np.abs(found - right).max() <= 5 and np.abs(found - right).mean() <= 1


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compressed", [False, True])
def test_deep_colour_in_either_order(order: Any, compressed: bool) -> None:
    data = tiff(DEEP[5].astype(order + "u2").tobytes(), 48, 16, channels=3, order=order, compressed=compressed)
    assert np.array_equal(read_image(data, ImagePolicy(depth=8)).data, rounded(DEEP[5:6]))
