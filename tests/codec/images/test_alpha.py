"""Alpha channels and transparent colours under every policy."""

import struct

import numpy as np
import pytest
from PIL import Image

from codec.images.read import ImagePolicy, read_image
from tests.codec.images.conftest import COLOUR16, OPAQUE16, RGB, WIDE, png, refuses, save


def with_alpha(kind: str, alpha: int) -> bytes:
    """Write a 2 x 1 picture of (0, 0, 0), opaque, and (100, 100, 100), of alpha `alpha`."""
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


def test_16_bit_alpha_and_transparent_colours() -> None:
    half = np.concatenate([COLOUR16, OPAQUE16 // 2], 2)
    refuses(png(half, 6, 16), "transparent pixels", ImagePolicy(depth=8))
    blend = ImagePolicy(depth=8, alpha="blend")
    grey = read_image(png(WIDE[..., None], 0, 16, trns=struct.pack(">H", 255)), blend)
    assert grey.data[0, 3:6, 0].tolist() == [1, 255, 127]  # 255 alone is transparent, not its neighbours
    colour = read_image(png(COLOUR16, 2, 16, trns=struct.pack(">3H", *[32768] * 3)), blend)
    assert colour.data[0, 5:8, 0].tolist() == [127, 255, 254] and not colour.grey


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_transparent_grey_of_few_bits(depth: int) -> None:
    top = 2**depth - 1
    samples = np.array([[[0]], [[top << 8 - depth]]], np.uint8)  # two rows of one, in the high bits
    data = png(samples, 0, depth, trns=struct.pack(">H", top), size=(1, 2))
    refuses(data, "transparent pixels")
    assert read_image(data, ImagePolicy(alpha="drop")).data[..., 0].ravel().tolist() == [0, 255]
