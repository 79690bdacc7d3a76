"""Plain encoding with exact blocks: no file is larger than a lossless one, photographs stay as they were."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from codec import coding
from codec.bitstream.container import Contents, pack, unpack
from codec.bitstream.exact import encode_exact, exact_blocks, pack_exact
from codec.bitstream.tiles import Rect
from codec.coding import decode, read, shown, write, write_verified
from codec.encoding import encode, exact_plain, whole_section, worth_a_look
from codec.errors import BitstreamError
from codec.exact_choice import hoped_costs
from codec.images.pixels import Pixels
from codec.loading import load
from codec.metrics.psnr import mse
from codec.model import Codec

RNG = np.random.default_rng(0)
OVERHEAD = 64  # bytes beyond the lossless WebP


@pytest.fixture(scope="module")
def small() -> Codec:
    return load("small")


def screen(height: int = 128, width: int = 192) -> NDArray[np.uint8]:
    """Text and lines on a flat ground."""
    image = Image.new("RGB", (width, height), (236, 236, 236))
    draw = ImageDraw.Draw(image)
    for row in range(height // 16):
        draw.text((4, 16 * row + 2), f"{row}: the quick brown fox, {37 * row} items", fill=(20, 20, 90))
        draw.line((0, 16 * row, width, 16 * row), fill=(200, 200, 200))
    return np.asarray(image)


def lossless_bytes(pixels: Pixels) -> int:
    file = io.BytesIO()
    data = pixels.data[..., 0] if pixels.grey else pixels.data
    Image.fromarray(data).save(file, "WEBP", lossless=True, quality=100, method=6)
    return len(file.getvalue())


def cost(codec: Codec, pixels: Pixels, quality: float, data: bytes) -> float:
    error = mse(pixels, decode(codec, data).pixels)
    return 8 * len(data) + codec.lmbda_of(quality) * error * pixels.width * pixels.height


ROWS, COLUMNS = np.mgrid[:100, :150]
DRAWINGS = {
    "flat": np.full((100, 150, 3), (255, 0, 255), np.uint8),
    "checker": ((ROWS + COLUMNS) % 2 * 255).astype(np.uint8)[..., None].repeat(3, -1),
    "dither": np.where(RNG.random((100, 150, 1)) < COLUMNS[..., None] / 150, 255, 0).astype(np.uint8).repeat(3, -1),
    "screen": screen(),
    "noise": RNG.integers(0, 256, (70, 66, 3), dtype=np.uint8),
    "one pixel": np.full((1, 1, 3), 9, np.uint8),
}


@pytest.mark.parametrize("quality", [1, 8])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("name", DRAWINGS)
def test_no_file_is_larger_or_dearer_than_a_lossless_one(small: Codec, name: str, grey: bool, quality: int) -> None:
    data = DRAWINGS[name]
    pixels = Pixels(data[..., :1].repeat(3, -1) if grey else data, grey)
    file, learned = encode(small, pixels, quality), encode(small, pixels, quality, exact="never")
    assert len(file) <= lossless_bytes(pixels) + OVERHEAD
    lossless = encode(small, pixels, quality, exact="all")
    assert cost(small, pixels, quality, file) <= min(8 * len(lossless), cost(small, pixels, quality, learned)) + 1e-6


def test_a_lossless_file_is_the_picture_and_runs_no_network(small: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    for pixels in (Pixels(DRAWINGS["noise"], False), Pixels(DRAWINGS["checker"], True)):
        data = encode(small, pixels, exact="all")
        assert len(data) <= lossless_bytes(pixels) + OVERHEAD
        with monkeypatch.context() as patch:
            patch.setattr(coding, "from_streams", None)
            patch.setattr(coding, "picture_of", None)
            found = decode(small, data)
            assert np.array_equal(found.pixels.data, pixels.data) and found.pixels.grey == pixels.grey
            crop = decode(small, data, crop=Rect(3, 5, 40, 60)).pixels.data
            assert np.array_equal(crop, pixels.data[5:60, 3:40])
            header, latents = read(small, data)
        assert (header.width, header.height) == (pixels.width, pixels.height)
        assert not any(bool(v.any()) for v in latents)


def test_photographs_are_coded_by_the_networks_alone(small: Codec, photo: Callable) -> None:
    noisy = np.clip(photo(128, 192) + RNG.normal(0, 3, (128, 192, 3)), 0, 255).astype(np.uint8)
    pixels = Pixels(noisy, grey=False)
    for quality in (1, 8):
        assert encode(small, pixels, quality) == encode(small, pixels, quality, exact="never")
        assert not worth_a_look(small, pixels, hoped_costs(pixels), small.level(quality), small.lmbda_of(quality))


@pytest.fixture(scope="module")
def page(photo: Callable) -> Pixels:
    """A photograph in a page of text."""
    data = screen(192, 320).copy()
    data[:, :128] = np.clip(photo(192, 128) + RNG.normal(0, 3, (192, 128, 3)), 0, 255)
    return Pixels(data, grey=False)


def test_a_page_is_exact_where_it_is_text(small: Codec, page: Pixels) -> None:
    data = encode(small, page, 6)
    exact = exact_blocks(unpack(data))
    assert exact is not None and exact.mask[:, 2:].mean() > 0.8 and exact.mask[:, :2].mean() < 0.2
    others = (encode(small, page, 6, exact=mode) for mode in ("never", "all"))
    assert cost(small, page, 6, data) < 0.8 * min(cost(small, page, 6, other) for other in others)
    crop = decode(small, data, crop=Rect(100, 30, 300, 150)).pixels.data
    assert np.array_equal(crop, decode(small, data).pixels.data[30:150, 100:300])


def test_pixels_shown_are_those_that_a_file_decodes_to(small: Codec, page: Pixels) -> None:
    mask = np.zeros((3, 5), dtype=bool)
    mask[1:, 3:] = True
    section, latents = exact_plain(small, page, mask, small.level(4), tile=0, effort="quick")
    data, decoded = write_verified(small, latents, page, 4, exact=section)
    assert np.array_equal(shown(small, latents, data).data, decoded.data)
    assert np.array_equal(decoded.data[64:, 192:], page.data[64:, 192:])
    assert not np.array_equal(decoded.data[:64], page.data[:64])


def test_verification_compares_exact_blocks_with_the_picture(small: Codec, page: Pixels) -> None:
    mask = np.ones((3, 5), dtype=bool)
    other = Pixels(page.data ^ 1, grey=False)
    with pytest.raises(BitstreamError, match="other exact blocks"):
        write_verified(small, None, page, 4, exact=pack_exact(encode_exact(other, mask, "quick")))


def test_streams_beside_a_lossless_picture_are_refused(small: Codec) -> None:
    pixels = Pixels(DRAWINGS["flat"], grey=False)
    contents = unpack(encode(small, pixels, exact="never"))
    forged = pack(Contents(contents.header, contents.streams, whole_section(pixels)))
    for reader in (decode, read):
        with pytest.raises(BitstreamError, match="forged"):
            reader(small, forged)


def test_a_damaged_lossless_picture_cannot_be_salvaged(small: Codec) -> None:
    data = bytearray(encode(small, Pixels(DRAWINGS["flat"], grey=False), exact="all"))
    data[-6] ^= 1
    with pytest.raises(BitstreamError, match="exact section was altered or damaged: nothing is left of the picture"):
        decode(small, bytes(data))
    with pytest.raises(BitstreamError, match="nothing is left"):
        decode(small, bytes(data), salvage=True)


def test_salvage_keeps_the_networks_part_of_a_page(small: Codec, page: Pixels) -> None:
    data = bytearray(encode(small, page, 6))
    data[-6] ^= 1
    found = decode(small, bytes(data), salvage=True)
    assert found.damage == ("exact section",)
    assert np.array_equal(found.pixels.data[:64, :64], decode(small, encode(small, page, 6)).pixels.data[:64, :64])


def test_too_many_pixels_of_a_lossless_picture_are_refused_first(small: Codec) -> None:
    data = encode(small, Pixels(DRAWINGS["flat"], grey=False), exact="all")
    with pytest.raises(BitstreamError, match=r"over 0\.001 megapixels"):
        decode(small, data, crop=Rect(0, 0, 9, 9), pixels_max=1000)


def test_a_large_lossless_picture_has_tiles_but_no_words(tiny_codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coding, "TILE_PIXELS_MAX", 100)
    pixels = Pixels(DRAWINGS["screen"], grey=False)
    data = write(
        tiny_codec, None, width=192, height=128, quality=4, grey=False, tile=64, exact=whole_section(pixels, "quick")
    )
    assert len(unpack(data).streams) == 6
    assert np.array_equal(decode(tiny_codec, data).pixels.data, pixels.data)
