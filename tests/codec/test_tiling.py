"""Pictures of several tiles: exact files, crops that are cuts of the whole, bounded damage, the same on any threads."""

import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import codec.coding
import codec.tiling
from codec.bitstream.boxes import Box
from codec.bitstream.container import unpack
from codec.bitstream.exact import encode_exact, pack_exact
from codec.bitstream.tiles import Rect, tiles_of
from codec.coding import decode, encode, plain_latents, read, write, write_verified
from codec.errors import BitstreamError, ConfigError
from codec.images.mosaic import mask_shape
from codec.images.pixels import Pixels, to_tensor
from codec.interface import Latents
from codec.loading import load
from codec.model import Codec
from codec.tiling import GREY_LEVEL

WIDTH, HEIGHT, TILE = 330, 270, 128  # 3 x 2 tiles, the last ones 74 and 142 px
BOXES = (Box(b"EXIF", b"abc"),)


@pytest.fixture(scope="module")
def pixels(photo: Callable[..., NDArray[np.uint8]]) -> Pixels:
    return Pixels(photo(HEIGHT, WIDTH), grey=False)


@pytest.fixture(scope="module")
def file(tiny_codec: Codec, pixels: Pixels) -> bytes:
    return encode(tiny_codec, pixels, 5, tile=TILE, boxes=BOXES)


@pytest.fixture(scope="module")
def whole(tiny_codec: Codec, file: bytes) -> NDArray[np.uint8]:
    return decode(tiny_codec, file).pixels.data


def section_of(pixels: Pixels) -> bytes:
    """An exact section of two blocks."""
    mask = np.zeros(mask_shape(pixels.width, pixels.height), dtype=bool)
    mask[1, 2:4] = True
    return pack_exact(encode_exact(pixels, mask, "quick"))


def test_latents_and_pixels_are_nearly_those_of_one_tile(tiny_codec: Codec, pixels: Pixels, file: bytes) -> None:
    one = decode(tiny_codec, encode(tiny_codec, pixels, 5, tile=0))
    tiled = decode(tiny_codec, file)
    assert (unpack(file).header.tile, one.header.tile, len(unpack(file).streams)) == (TILE, 0, 6)
    assert (tiled.boxes, one.boxes) == (BOXES, ())
    assert float((one.latents.y != tiled.latents.y).float().mean()) < 1e-3 and len(one.latents.y.unique()) > 2
    assert float((one.pixels.data != tiled.pixels.data).mean()) < 1e-3


def test_written_latents_come_back(tiny_codec: Codec, pixels: Pixels) -> None:
    shapes = tiny_codec.latent_shapes(WIDTH, HEIGHT)
    latents = Latents(*((4 * torch.randn(shape)).round() for shape in shapes))
    exact = section_of(pixels)
    data = write(
        tiny_codec, latents, width=WIDTH, height=HEIGHT, quality=3, grey=False, tile=64, exact=exact, boxes=BOXES
    )
    header, back = read(tiny_codec, data)
    assert all(torch.equal(a, b) for a, b in zip(latents, back, strict=True))
    assert (header.width, header.height, header.tile) == (WIDTH, HEIGHT, 64) and unpack(data).exact == exact
    assert write_verified(tiny_codec, latents, pixels, 3, tile=64, exact=exact, boxes=BOXES).data == data


@pytest.mark.parametrize("tile", [64, 128, 256])
def test_each_stream_is_that_of_a_picture_of_its_own(tiny_codec: Codec, pixels: Pixels, tile: int) -> None:
    latents = read(tiny_codec, encode(tiny_codec, pixels, 5, tile=tile))[1]
    contents = unpack(write(tiny_codec, latents, width=WIDTH, height=HEIGHT, quality=5, grey=False, tile=tile))
    for rect, stream in zip(tiles_of(WIDTH, HEIGHT, tile), contents.streams, strict=True):
        (left, top), (w, h) = (rect.left // 64, rect.top // 64), (-(-rect.width // 64), -(-rect.height // 64))
        y = latents.y[:, :, 4 * top : 4 * (top + h), 4 * left : 4 * (left + w)]
        own = Latents(y.contiguous(), latents.z[:, :, top : top + h, left : left + w].contiguous())
        [alone] = unpack(
            write(tiny_codec, own, width=rect.width, height=rect.height, quality=5, grey=False, tile=0)
        ).streams
        assert stream is not None and alone is not None and stream.symbols_crc == alone.symbols_crc
        assert np.array_equal(stream.words, alone.words)


@pytest.mark.parametrize(
    "crop",
    [
        Rect(0, 0, WIDTH, HEIGHT), Rect(0, 0, 1, 1), Rect(WIDTH - 1, HEIGHT - 1, WIDTH, HEIGHT),
        Rect(128, 128, 256, 256), Rect(127, 127, 129, 129), Rect(60, 0, 70, HEIGHT), Rect(0, 200, WIDTH, 203),
        Rect(300, 10, 330, 100),
    ],
)  # fmt: skip
@pytest.mark.parametrize("tile", [0, TILE])
def test_a_crop_is_a_cut_of_the_whole(tiny_codec: Codec, pixels: Pixels, crop: Rect, tile: int) -> None:
    data = encode(tiny_codec, pixels, 5, tile=tile)
    cut = decode(tiny_codec, data).pixels.data[crop.top : crop.bottom, crop.left : crop.right]
    assert np.array_equal(decode(tiny_codec, data, crop=crop).pixels.data, cut)


def test_decoding_holds_the_latents_of_three_bands(
    tiny_codec: Codec, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = encode(tiny_codec, pixels, 5, tile=64)  # 5 x 4 tiles
    expected = decode(tiny_codec, file)
    alive, most, own = weakref.WeakSet[torch.Tensor](), list[int](), codec.tiling.held

    def count(latents: Latents) -> Latents:
        latents = own(latents)
        assert latents.y.dtype == torch.int16
        alive.add(latents.y)
        most.append(len(alive))
        return latents

    monkeypatch.setattr(codec.tiling, "held", count)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found = decode(tiny_codec, file, keep_latents=False)
        assert found.latents is None and np.array_equal(found.pixels.data, expected.pixels.data)
    assert len(most) == 2 * 20 and max(most) == 3 * 5
    kept = decode(tiny_codec, file).latents
    assert kept is not None and all(torch.equal(a, b) for a, b in zip(kept, read(tiny_codec, file)[1], strict=True))


@pytest.mark.parametrize("tile", [0, 64])
def test_a_file_that_decodes_to_other_latents_is_reported(
    tiny_codec: Codec, pixels: Pixels, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    latents = read(tiny_codec, encode(tiny_codec, pixels, 5, tile=tile))[1]
    written = write(tiny_codec, latents, width=WIDTH, height=HEIGHT, quality=5, grey=False, tile=tile)
    monkeypatch.setattr(codec.coding, "write", lambda *_, **__: written)
    assert write_verified(tiny_codec, latents, pixels, 5, tile=tile).data == written
    other = Latents(latents.y.clone(), latents.z)
    other.y[0, 0, -1, -1] += 1
    with pytest.raises(BitstreamError, match="decodes to other symbols"):
        write_verified(tiny_codec, other, pixels, 5, tile=tile)


def test_a_crop_reads_the_tiles_that_it_needs_alone(
    tiny_codec: Codec, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = encode(tiny_codec, pixels, 5, tile=64)
    assert len(unpack(file).streams) == 20
    read_tiles, own = list[tuple[int, int]](), tiny_codec.from_words

    def count(words: NDArray[np.uint32], width: int, height: int, quality: torch.Tensor) -> Latents:
        read_tiles.append((width, height))
        return own(words, width, height, quality)

    monkeypatch.setattr(tiny_codec, "from_words", count)
    decode(tiny_codec, file, crop=Rect(0, 0, 64, 10))
    assert len(read_tiles) == 9, "its own and those within 128 px"
    decode(tiny_codec, file, crop=Rect(0, 0, 65, 10))
    assert len(read_tiles) == 9 + 12


@pytest.mark.parametrize(
    "crop", [Rect(0, 0, 331, 10), Rect(-1, 0, 10, 10), Rect(5, 5, 5, 9), Rect(9, 5, 8, 9), Rect(400, 400, 500, 500)]
)
def test_a_crop_beyond_the_picture_is_refused(tiny_codec: Codec, file: bytes, crop: Rect) -> None:
    with pytest.raises(ConfigError, match=r"crop .*: must lie within the picture, 330x270 pixels"):
        decode(tiny_codec, file, crop=crop)


def test_damage_costs_its_tile_alone(tiny_codec: Codec, file: bytes, whole: NDArray[np.uint8]) -> None:
    lost = tiles_of(WIDTH, HEIGHT, TILE)[4]
    contents = unpack(file)
    at = contents.header_bytes + 4 * sum(len(s.words) for s in contents.streams[:4] if s) + 3
    damaged = file[:at] + bytes([file[at] ^ 8]) + file[at + 1 :]
    with pytest.raises(BitstreamError, match=r"tile of columns 128\.\.256, rows 128\.\.270 was altered .* --salvage"):
        decode(tiny_codec, damaged)
    found = decode(tiny_codec, damaged, salvage=True)
    assert found.damage == ("tile of columns 128..256, rows 128..270",) and found.boxes == BOXES
    assert np.all(found.pixels.data[lost.top : lost.bottom, lost.left : lost.right] == GREY_LEVEL)
    far = np.ones((HEIGHT, WIDTH), bool)
    far[lost.top - 64 :, lost.left - 64 : lost.right + 64] = False
    assert far.sum() > HEIGHT * WIDTH / 3 and np.array_equal(found.pixels.data[far], whole[far])
    near = found.pixels.data[0:128].astype(float) - whole[0:128]
    assert np.abs(near).mean() < 2, "within the halo pixels are a guess, and near"
    assert decode(tiny_codec, file, salvage=True).damage == ()


def test_a_cut_file_shows_its_first_tiles(tiny_codec: Codec, file: bytes, whole: NDArray[np.uint8]) -> None:
    contents = unpack(file)
    end = contents.header_bytes + 4 * sum(len(s.words) for s in contents.streams[:3] if s)
    found = decode(tiny_codec, file[:end], salvage=True)
    assert len(found.damage) >= 3 and found.boxes == ()
    assert np.array_equal(found.pixels.data[:64], whole[:64])


def test_files_and_pixels_are_the_same_from_any_number_of_threads(
    tiny_codec: Codec, pixels: Pixels, file: bytes, whole: NDArray[np.uint8]
) -> None:
    for threads in (2, 3, 8):
        torch.set_num_threads(threads)
        assert encode(tiny_codec, pixels, 5, tile=TILE, boxes=BOXES) == file
        assert np.array_equal(decode(tiny_codec, file).pixels.data, whole)
        assert torch.get_num_threads() == threads


def test_an_error_of_one_tile_reaches_the_caller_from_any_thread(tiny_codec: Codec) -> None:
    latents = Latents(*(torch.zeros(shape) for shape in tiny_codec.latent_shapes(WIDTH, HEIGHT)))
    latents.y[0, 0, 0, -1] = float("nan")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        with pytest.raises(BitstreamError, match="not finite"):
            write(tiny_codec, latents, width=WIDTH, height=HEIGHT, quality=4, grey=False, tile=TILE)


@pytest.mark.parametrize("some_exact", [False, True])
@pytest.mark.parametrize("tile", [0, TILE])
def test_tiles_of_nothing_but_zeros_take_no_words(
    tiny_codec: Codec, pixels: Pixels, some_exact: bool, tile: int
) -> None:
    exact = section_of(pixels) if some_exact else b""
    latents = Latents(*(torch.zeros(shape) for shape in tiny_codec.latent_shapes(WIDTH, HEIGHT)))
    latents.y[0, 0, 0, 0] = 1
    data = write(tiny_codec, latents, width=WIDTH, height=HEIGHT, quality=4, grey=False, tile=tile, exact=exact)
    assert [len(s.words) > 0 for s in unpack(data).streams if s] == ([True, *[False] * 5] if tile else [True])
    assert all(torch.equal(a, b) for a, b in zip(read(tiny_codec, data)[1], latents, strict=True))
    latents.y.zero_()
    data = write(tiny_codec, latents, width=WIDTH, height=HEIGHT, quality=4, grey=False, tile=tile, exact=exact)
    assert (len(unpack(data).streams[0].words) == 0) == bool(exact or tile)
    assert all(torch.equal(a, b) for a, b in zip(read(tiny_codec, data)[1], latents, strict=True))


def test_files_of_one_tile_are_of_version_3(tiny_codec: Codec, pixels: Pixels) -> None:
    assert (
        encode(tiny_codec, pixels, 5)
        == encode(tiny_codec, pixels, 5, tile=0)
        == encode(tiny_codec, pixels, 5, tile=256)
    )
    assert encode(tiny_codec, pixels, 5)[3] >> 4 == 3


def test_the_callers_limit_of_pixels_holds_for_the_tiles_that_are_read(tiny_codec: Codec, file: bytes) -> None:
    limit = WIDTH * HEIGHT - 1
    for attempt in (lambda: decode(tiny_codec, file, pixels_max=limit), lambda: read(tiny_codec, file, limit)):
        with pytest.raises(BitstreamError, match=r"330x270 pixels: over 0\.089099 megapixels: raise --max-megapixels"):
            attempt()
    decode(tiny_codec, file, crop=Rect(0, 0, 1, 1), pixels_max=limit)


def test_a_codec_without_tiles_writes_one(make_codec: Callable[..., Codec], pixels: Pixels, file: bytes) -> None:
    class Whole(Codec):
        tile_halo = 0

    codec = make_codec()
    codec.__class__ = Whole
    data = encode(codec, pixels, 5, tile=TILE, boxes=BOXES)
    assert len(unpack(data).streams) == 1 and decode(codec, data).boxes == BOXES
    with pytest.raises(BitstreamError, match="forged header: tiny has no tiles"):
        decode(codec, file)


@pytest.mark.parametrize("quality", [1.0, 8.0])
def test_pixels_beyond_the_halo_change_a_tile_by_rounding_errors(
    quality: float, photo: Callable[..., NDArray[np.uint8]]
) -> None:
    codec = load("small")
    level = codec.level(quality)
    latents = plain_latents(codec, to_tensor(Pixels(photo(320, 320), grey=False)), level)
    with torch.no_grad():
        whole = codec.synthesise(latents, level)[..., 128:192, 128:192]
        parts = Latents(latents.y[..., 4:16, 4:16], latents.z[..., 1:4, 1:4])
        part = codec.synthesise(parts, level)[..., 64:128, 64:128]
    assert float((255 * (whole - part)).abs().max()) < 0.01


@pytest.mark.parametrize("transform", ["klt", "paper", "skip"])
@pytest.mark.parametrize("blocks", [1, 6])
def test_twice_the_halo_away_nothing_has_an_influence(
    transform: str, blocks: int, make_codec: Callable[..., Codec]
) -> None:
    codec = make_codec(transform=transform, synthesis_blocks=blocks)
    reach = 2 * codec.tile_halo // 16
    y_shape, z_shape = codec.latent_shapes(16 * 12, 16 * (reach + 20))
    y, z = torch.randn(y_shape), torch.zeros(z_shape)
    level = codec.level(4.0)
    before = codec.synthesise(Latents(y, z), level)
    y[:, :, reach + 10 :] = 0
    after = codec.synthesise(Latents(y, z), level)
    assert torch.equal(before[:, :, :160], after[:, :, :160]) and not torch.equal(before, after)
    if blocks == 6:
        assert not torch.equal(before[:, :, : 160 + 64], after[:, :, : 160 + 64]), (
            "and the halo is not wider than need be"
        )
