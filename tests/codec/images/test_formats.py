"""Writing pictures, and reading them back."""

import numpy as np
import pytest
from PIL import Image

from codec.errors import ImageError
from codec.images.formats import can_write, library_versions, read_as, write_as, write_png
from codec.images.pixels import Pixels
from codec.images.read import read_image
from tests.codec.images.conftest import RGB, save


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "JPEG2000", "QOI"])
def test_lossless_formats_are_exact(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {"irreversible": False} if kind == "JPEG2000" else {}
    assert np.array_equal(read_image(save(Image.fromarray(RGB), kind, **options)).data, RGB)


@pytest.mark.parametrize("grey", [False, True])
def test_write_png_is_read_back(grey: bool) -> None:
    pixels = Pixels(RGB[..., :1].repeat(3, 2) if grey else RGB, grey)
    data = write_png(pixels)
    again = read_image(data)
    assert np.array_equal(again.data, pixels.data) and again.grey == grey
    assert data[25] == (0 if grey else 2)  # the PNG's colour type


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
