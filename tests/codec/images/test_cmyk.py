"""JPEG of four inks, as Adobe's programs write it: inverted, as CMYK (transform 0) or as YCCK (transform 2)."""

import numpy as np
import pytest
from PIL import Image

from codec.images.read import read_image
from tests.codec.images.conftest import Array, save
from tests.codec.images.test_tiff import INK, without_ink


def four_channels(stored: Array, transform: int, subsampling: int = 0) -> bytes:
    """Return a JPEG file of samples (H, W, 4) as they are to stand in it, with the transform in its Adobe segment."""
    inverted = np.ascontiguousarray(255 - stored)  # which Pillow turns back when it writes
    height, width = stored.shape[:2]
    picture = Image.frombytes("CMYK", (width, height), inverted.tobytes())
    data = bytearray(save(picture, "JPEG", quality=100, subsampling=subsampling))
    at = data.index(b"Adobe") + 11
    assert data[at] == 0
    data[at] = transform
    return bytes(data)


def test_cmyk() -> None:
    found = read_image(four_channels(255 - INK, 0)).data
    assert np.abs(found - without_ink(INK)).max() <= 2


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_ycck(subsampling: int) -> None:
    rotated = np.asarray(Image.fromarray(np.ascontiguousarray(INK[..., :3])).convert("YCbCr"))  # Adobe TN 5116
    found = read_image(four_channels(np.concatenate([rotated, 255 - INK[..., 3:]], axis=2), 2, subsampling)).data
    difference = np.abs(found - without_ink(INK))
    assert difference.mean() <= 1 and (subsampling or difference.max() <= 5)


def test_rgb_that_is_not_rotated() -> None:
    rgb = np.ascontiguousarray(INK[..., :3])
    data = save(Image.fromarray(rgb), "JPEG", quality=100, keep_rgb=True)
    assert data[data.index(b"Adobe") + 11] == 0
    assert np.abs(read_image(data).data.astype(int) - rgb).max() <= 1
