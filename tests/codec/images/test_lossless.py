"""Lossless WebP streams: what is read is what was written, and forged headers are refused before they are decoded."""

import io

import numpy as np
import pytest
from PIL import Image

from codec.errors import BitstreamError
from codec.images.lossless import Effort, lossless_size, read_lossless, write_lossless

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (37, 50, 3), dtype=np.uint8)
DRAWING = RNG.integers(0, 3, (37, 50, 1), dtype=np.uint8).repeat(3, -1) * 100


@pytest.mark.parametrize("effort", ["quick", "good", "best"])
@pytest.mark.parametrize("samples", [NOISE, DRAWING, NOISE[:1, :1]], ids=["noise", "drawing", "one pixel"])
def test_samples_come_back(samples: np.ndarray, effort: Effort) -> None:
    stream = write_lossless(samples, grey=False, effort=effort)
    height, width = samples.shape[:2]
    assert lossless_size(stream) == (width, height)
    assert np.array_equal(read_lossless(stream, width, height), samples)


def test_grey_samples_come_back_and_take_no_more() -> None:
    assert np.array_equal(read_lossless(write_lossless(DRAWING, grey=True), 50, 37), DRAWING)
    assert len(write_lossless(DRAWING, grey=True)) <= len(write_lossless(DRAWING, grey=False))


@pytest.mark.parametrize("samples", [NOISE, DRAWING])
def test_a_stream_is_20_bytes_shorter_than_pillows_best_file(samples: np.ndarray) -> None:
    file = io.BytesIO()
    Image.fromarray(samples).save(file, "WEBP", lossless=True, quality=100, method=6)
    assert len(write_lossless(samples, grey=False)) <= len(file.getvalue()) - 20


def forged(stream: bytes, width: int, height: int, top_bits: int = 0) -> bytes:
    """A stream whose header has other fields."""
    return stream[:1] + (width - 1 | height - 1 << 14 | top_bits << 28).to_bytes(4, "little") + stream[5:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: forged(s, 16384, 16384), "16384x16384 pixels instead of 50x37"),
        (lambda s: forged(s, 50, 37, top_bits=1), "opaque"),
        (lambda s: forged(s, 50, 37, top_bits=2), "opaque"),
        (lambda s: b"\x2e" + s[1:], "opaque"),
        (lambda s: b"", "opaque"),
        (lambda s: s[:4], "opaque"),
        (lambda s: s[: len(s) // 2], "truncated"),
        (lambda s: s[:5], "truncated"),
    ],
)
def test_forged_streams_are_refused(change, message: str) -> None:
    with pytest.raises(BitstreamError, match=message):
        read_lossless(change(write_lossless(NOISE, grey=False)), 50, 37)


def test_no_damage_goes_beyond_a_refusal() -> None:
    stream = write_lossless(DRAWING, grey=False)
    for at in range(len(stream)):
        damaged = stream[:at] + bytes([stream[at] ^ 0x55]) + stream[at + 1 :]
        try:
            assert read_lossless(damaged, 50, 37).shape == (37, 50, 3)
        except BitstreamError as error:
            assert "exact blocks" in str(error)
