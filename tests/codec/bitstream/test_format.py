"""The format, held from outside: a reader written from its specification, and files kept from before.

`golden/` holds a small checkpoint and files that it wrote. Every later release that reads this version must decode
them. To renew them on purpose, raise `codec.bitstream.container.VERSION` and run this file as a program from the root
of the repository: `python -m tests.codec.bitstream.test_format`.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from codec.architecture import ModelConfig, latent_shapes
from codec.bitstream import symbols
from codec.bitstream.boxes import Box
from codec.bitstream.container import VERSION, VERSION_TILES, unpack
from codec.bitstream.tiles import Rect
from codec.checkpoint import publish
from codec.coding import decode, encode, read, write
from codec.images.formats import write_png
from codec.images.pixels import Pixels
from codec.images.read import read_image
from codec.interface import AnyCodec, Latents
from codec.loading import load
from codec.model import Codec

GOLDEN = Path(__file__).parent / "golden"
TILES_SIZE, TILE = (150, 200, 4.75, False), 64  # of tiles.rdo, of version 5
BOXES = (Box(b"EXIF", bytes(range(40))), Box(b"????", b""))
PICTURES = {"photo": (40, 70, 5.5, False), "grey": (65, 17, 2.0, True), "pixel": (1, 1, 8.0, False)}


class PlainReader:
    """The range decoder of the docstring, in Python's integers: slow, and shares nothing with the library in use."""

    def __init__(self, words: NDArray[np.uint32]) -> None:
        self._words = iter(words.tolist())
        self._low, self._range = 0, 2**64 - 1
        self._point = next(self._words, 0) << 32 | next(self._words, 0)

    def code(self, indices: None, table: NDArray[np.float32]) -> NDArray[np.int32]:
        return np.array([self._column(row) for row in table], dtype=np.int32)

    def number(self, value: None) -> int:
        length = self._equal(32)
        folded = 1 << length
        for shift in range(0, length, 16):
            folded |= self._equal(1 << min(16, length - shift)) << shift
        return -folded // 2 if folded % 2 == 0 else folded // 2

    def exhausted(self) -> bool:
        return next(self._words, None) is None

    def _column(self, row: NDArray[np.float32]) -> int:
        frequencies = [int(f) for f in row]
        factor = np.float32(2**24 - len(row)) / np.float32(sum(frequencies))
        before = [0, *np.cumsum(frequencies)[:-1]]
        starts = [int(np.float32(c) * factor) + i for i, c in enumerate(before)]
        return self._take([*starts, 2**24])

    def _equal(self, columns: int) -> int:
        return self._take([2**24 // columns * i for i in range(columns)] + [2**24])

    def _take(self, starts: list[int]) -> int:
        step = self._range >> 24
        at = (self._point - self._low) % 2**64 // step
        column = next(i for i in range(len(starts) - 1) if at < starts[i + 1])
        self._low = (self._low + step * starts[column]) % 2**64
        self._range = step * (starts[column + 1] - starts[column])
        if self._range < 2**32:
            self._low, self._range = (self._low << 32) % 2**64, self._range << 32
            self._point = (self._point << 32 | next(self._words, 0)) % 2**64
        return column


def drawn_latents(codec: Codec, width: int, height: int) -> Latents:
    """Small integers with a few large ones, so that escapes occur; from a generator that never changes."""
    rng = np.random.RandomState(width)

    def draw(shape: tuple[int, ...]) -> torch.Tensor:
        values = rng.randint(-2, 3, shape) * np.where(rng.random_sample(shape) < 0.02, 5000, 1)
        return torch.from_numpy(values).float()

    return Latents(*map(draw, latent_shapes(codec.config, width, height)))


def test_a_reader_written_from_the_docstring_reads_our_files(
    tiny_codec: Codec, photo: Callable[..., NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    latents = drawn_latents(tiny_codec, 70, 60)
    files = [
        encode(tiny_codec, Pixels(photo(50, 70), False), 4.5),
        write(tiny_codec, latents, width=70, height=60, quality=8, grey=False),
    ]
    ours = [read(tiny_codec, file) for file in files]
    assert all(torch.equal(a, b) for a, b in zip(ours[1][1], latents, strict=True))
    monkeypatch.setattr(symbols, "SymbolReader", PlainReader)
    for file, (header, expected) in zip(files, ours, strict=True):
        again, found = read(tiny_codec, file)
        assert again == header and all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_golden_files_are_of_these_versions() -> None:
    versions = {file.stem: file.read_bytes()[3] >> 4 for file in GOLDEN.glob("*.rdo")}
    assert versions == {**dict.fromkeys([*PICTURES, "symbols"], VERSION), "tiles": VERSION_TILES}


@pytest.mark.parametrize("name", [*PICTURES, "tiles"])
def test_golden_files_decode_to_their_pictures(name: str) -> None:
    """To one level: the synthesis is in floating point."""
    codec = load(GOLDEN / "tiny.safetensors")
    height, width, quality, grey = PICTURES.get(name, TILES_SIZE)
    decoded = decode(codec, (GOLDEN / f"{name}.rdo").read_bytes())
    assert (decoded.header.height, decoded.header.width, decoded.header.quality) == (height, width, quality)
    expected = read_image(GOLDEN / f"{name}.png")
    assert decoded.pixels.grey == expected.grey == grey
    assert np.abs(decoded.pixels.data.astype(int) - expected.data).max() <= 1


def test_golden_symbols_come_back_and_are_written_to_the_same_bytes() -> None:
    codec = load(GOLDEN / "tiny.safetensors")
    latents, file = drawn_latents(codec, 90, 66), (GOLDEN / "symbols.rdo").read_bytes()
    assert all(torch.equal(a, b) for a, b in zip(read(codec, file)[1], latents, strict=True))
    assert write(codec, latents, width=90, height=66, quality=3.25, grey=False) == file


def test_golden_tiles_and_boxes_come_back_and_are_written_to_the_same_bytes() -> None:
    codec, file = load(GOLDEN / "tiny.safetensors"), (GOLDEN / "tiles.rdo").read_bytes()
    contents, decoded = unpack(file), decode(codec, file)
    assert (contents.header.tile, len(contents.streams), decoded.boxes) == (TILE, 6, BOXES)
    height, width, quality, grey = TILES_SIZE
    settings = {"width": width, "height": height, "quality": quality, "grey": grey, "tile": TILE, "boxes": BOXES}
    assert write(codec, decoded.latents, **settings) == file
    assert decode(codec, file, crop=Rect(70, 10, 75, 12)).pixels.data.tolist() == (
        decoded.pixels.data[10:12, 70:75].tolist()
    )  # fmt: skip


def renew() -> None:
    """Write `golden/` anew, with a new model."""
    from tests.conftest import make_photo, perturb

    config = ModelConfig(
        name="golden", transform="paper", width=4, latent=8, hyper_width=4, hyper_features=8, context_width=8,
        context_depth=2, heads=2, head_width=8, window=4, mlp_ratio=1, levels=2,
    )  # fmt: skip
    torch.manual_seed(0)
    codec = Codec(config)
    perturb(codec)
    GOLDEN.mkdir(exist_ok=True)
    publish(codec, GOLDEN / "tiny.safetensors")
    codec = load(GOLDEN / "tiny.safetensors")
    (GOLDEN / "symbols.rdo").write_bytes(
        write(codec, drawn_latents(codec, 90, 66), width=90, height=66, quality=3.25, grey=False)
    )
    for name, (height, width, quality, grey) in PICTURES.items():
        samples = make_photo(height, width)
        data = encode(codec, Pixels(np.repeat(samples[..., :1], 3, 2) if grey else samples, grey), quality)
        (GOLDEN / f"{name}.rdo").write_bytes(data)
        (GOLDEN / f"{name}.png").write_bytes(write_png(decode(codec, data).pixels))
    renew_tiles(codec)


def renew_tiles(codec: AnyCodec) -> None:
    """Write the file of version 5."""
    from tests.conftest import make_photo

    height, width, quality, grey = TILES_SIZE
    data = encode(codec, Pixels(make_photo(height, width), grey), quality, tile=TILE, boxes=BOXES)
    (GOLDEN / "tiles.rdo").write_bytes(data)
    (GOLDEN / "tiles.png").write_bytes(write_png(decode(codec, data).pixels))


if __name__ == "__main__":
    sys.exit(renew())
