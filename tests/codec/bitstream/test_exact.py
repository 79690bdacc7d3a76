"""Exact sections: blocks come back pixel for pixel, and forged sections are refused before anything is decoded."""

import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.bitstream import exact as exact_module
from codec.bitstream.exact import ExactBlocks, encode_exact, pack_exact, paste_exact, unpack_exact
from codec.bitstream.tiles import Rect
from codec.errors import BitstreamError
from codec.images import mosaic
from codec.images.lossless import write_lossless
from codec.images.mosaic import mask_shape, pixel_mask
from codec.images.pixels import Pixels

RNG = np.random.default_rng(0)
WIDTH, HEIGHT = 300, 200  # 5 x 4 blocks, those at the edges cut
PIXELS = Pixels(RNG.integers(0, 9, (HEIGHT, WIDTH, 3), dtype=np.uint8), grey=False)
GREY = Pixels(PIXELS.data[..., :1].repeat(3, -1), grey=True)
SHAPE = mask_shape(WIDTH, HEIGHT)
EVERY = np.ones(SHAPE, dtype=bool)
SOME = np.arange(20).reshape(SHAPE) % 3 == 1


def pasted(exact: ExactBlocks, window: Rect, grey: bool = False) -> np.ndarray:
    samples = np.full((window.height, window.width, 3), 77, np.uint8)
    paste_exact(exact, samples, window, grey)
    return samples


def expected(pixels: Pixels, mask: np.ndarray, window: Rect) -> np.ndarray:
    kept = pixel_mask(mask, pixels.width, pixels.height)[..., None]
    return np.where(kept, pixels.data, 77)[window.top : window.bottom, window.left : window.right]


@given(
    mask=st.lists(st.booleans(), min_size=20, max_size=20).filter(any),
    grey=st.booleans(),
    window=st.tuples(st.integers(0, 299), st.integers(0, 199), st.integers(1, 300), st.integers(1, 200)),
)
def test_blocks_come_back_in_every_window(mask, grey, window) -> None:
    mask = np.array(mask).reshape(SHAPE)
    left, top, width, height = window
    rect = Rect(left, top, min(WIDTH, left + width), min(HEIGHT, top + height))
    pixels = GREY if grey else PIXELS
    section = pack_exact(encode_exact(pixels, mask, "quick"))
    found = unpack_exact(section, WIDTH, HEIGHT)
    assert np.array_equal(found.mask, mask) and pack_exact(found) == section
    assert np.array_equal(pasted(found, rect, grey), expected(pixels, mask, rect))


def test_all_blocks_are_the_picture_as_it_is() -> None:
    assert pack_exact(encode_exact(PIXELS, EVERY)) == b"\0" + write_lossless(PIXELS.data, grey=False)


def test_large_mosaics_have_several_sheets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mosaic, "SHEET_BLOCKS", 4)
    exact = encode_exact(PIXELS, SOME, "quick")
    assert len(exact.sheets) > 1
    found = unpack_exact(pack_exact(exact), WIDTH, HEIGHT)
    whole = Rect(0, 0, WIDTH, HEIGHT)
    assert np.array_equal(pasted(found, whole), expected(PIXELS, SOME, whole))


def test_pictures_wider_than_webp_holds_are_mosaics() -> None:
    pixels = Pixels(np.broadcast_to(RNG.integers(0, 2, (1, 16_500, 1), dtype=np.uint8), (3, 16_500, 3)), grey=False)
    exact = encode_exact(pixels, np.ones((1, 258), dtype=bool), "quick")
    assert exact.columns > 0 and exact.whole
    whole = Rect(0, 0, 16_500, 3)
    assert np.array_equal(pasted(unpack_exact(pack_exact(exact), 16_500, 3), whole), pixels.data)


def test_regular_masks_are_deflated() -> None:
    mask = np.zeros((100, 100), dtype=bool)
    mask[20:80, 30:40] = True
    exact = ExactBlocks(mask, (6400, 6400), 10, (bytes(10),))
    assert len(pack_exact(exact)) < 60 and pack_exact(exact)[0] == exact_module.DEFLATED
    found = exact_module._inflate(exact_module._deflate(mask), mask.shape)
    assert np.array_equal(found, mask)


def test_sheets_of_grey_pictures_are_grey_whatever_they_hold() -> None:
    exact = encode_exact(PIXELS, EVERY, "quick")
    samples = pasted(exact, Rect(0, 0, WIDTH, HEIGHT), grey=True)
    assert np.array_equal(samples, GREY.data)


SECTION = pack_exact(encode_exact(PIXELS, SOME, "quick"))
BITMAP = np.packbits(SOME).tobytes()
SHEET = SECTION[2 + len(BITMAP) :]
deflated = zlib.compress(bytes(10_000_000), 9)[2:-4]  # a bitmap that would be ten megabytes


@pytest.mark.parametrize(
    ("section", "message"),
    [
        pytest.param(b"", "kind -1", id="empty"),
        pytest.param(b"\7" + SECTION[1:], "kind 7", id="unknown kind"),
        pytest.param(b"\1", "bitmap of another size", id="no columns"),
        pytest.param(b"\1\2" + BITMAP[:-1], "bitmap of another size", id="bitmap cut"),
        pytest.param(b"\1\2" + BITMAP[:-1] + b"\xff" + SHEET, "bitmap of another size", id="bits beyond the picture"),
        pytest.param(b"\1\0" + BITMAP + SHEET, "7, 0 in a row", id="no mosaic"),
        pytest.param(b"\1\2" + bytes(3) + SHEET, "0, 2 in a row", id="no blocks"),
        pytest.param(b"\1\7" + BITMAP + SHEET, "instead of 448x64", id="another width"),
        pytest.param(b"\1\3" + BITMAP, "opaque", id="no sheet"),
        pytest.param(b"\0" + SHEET, "instead of 300x200", id="mosaic as the whole picture"),
        pytest.param(b"\0", "opaque", id="no picture"),
        pytest.param(b"\2\2\xff\xff" + deflated, "another size|inflated", id="bomb of a bitmap"),
        pytest.param(b"\2\2\3\0abc" + SHEET, "inflated|another size", id="bitmap that is no deflate"),
        pytest.param(b"\2", "inflated|another size", id="deflated, cut"),
    ],
)
def test_forged_sections_are_refused(section: bytes, message: str) -> None:
    tracemalloc.start()
    with pytest.raises(BitstreamError, match=message):
        unpack_exact(section, WIDTH, HEIGHT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**18, "memory is taken before the check"


def test_forged_lengths_of_sheets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mosaic, "SHEET_BLOCKS", 4)
    section = pack_exact(encode_exact(PIXELS, SOME, "quick"))
    at = 2 + len(BITMAP)
    for forged in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\1\0\0\0"):
        with pytest.raises(BitstreamError, match="exact blocks"):
            unpack_exact(section[:at] + forged + section[at + 4 :], WIDTH, HEIGHT)
    for end in range(at, at + 8):
        with pytest.raises(BitstreamError, match="exact blocks"):
            unpack_exact(section[:end], WIDTH, HEIGHT)


def test_no_change_of_a_byte_goes_beyond_a_refusal() -> None:
    for at in range(len(SECTION)):
        changed = SECTION[:at] + bytes([SECTION[at] ^ 0x41]) + SECTION[at + 1 :]
        try:
            pasted(unpack_exact(changed, WIDTH, HEIGHT), Rect(0, 0, WIDTH, HEIGHT))
        except BitstreamError as error:
            assert "exact blocks" in str(error)
