"""Files that other arithmetic must read: the margin holds, whatever the drift within it, and beyond it is told."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from codec.bitstream import rounding as portable
from codec.bitstream import symbols as transfer
from codec.bitstream.probability_tables import GridPositions, on_grid, positions
from codec.bitstream.range_coder import SymbolReader, SymbolWriter
from codec.bitstream.rounding import (
    MARGIN,
    SHIFT_BLOCK,
    SHIFT_STEP,
    SHIFTS,
    in_double,
    margin,
    safe_shift,
    transfer_shift,
)
from codec.coding import encode, read
from codec.errors import BitstreamError
from codec.images.pixels import Pixels
from codec.model import Codec
from codec.networks.likelihoods import StepMixture

Photo = Callable[..., NDArray[np.uint8]]
Drift = Callable[[NDArray[np.float64]], NDArray[np.float64]]
DRIFTS: dict[str, Drift] = {
    "up": lambda p: 0.999 * margin(p),
    "down": lambda p: -0.999 * margin(p),
    "towards the boundary": lambda p: 0.999 * margin(p) * np.sign(np.floor(p) + 0.5 - p),
    "any": lambda p: margin(p) * np.random.default_rng(0).uniform(-0.999, 0.999, p.shape),
}


def drifted(at: GridPositions, drift: Drift) -> GridPositions:
    """Positions of another machine; the last cumulative weight is exact on every one."""
    moved = GridPositions(*(p + drift(p) for p in at))
    moved.weights[:, -1] = at.weights[:, -1]
    return moved


def drift_in_the_reader(monkeypatch: pytest.MonkeyPatch, drift: Drift) -> None:
    monkeypatch.setattr(transfer, "positions", lambda mixture: drifted(positions(mixture), drift))


def risky(count: int, seed: int) -> GridPositions:
    """Positions of which many lie within a margin of a boundary, at any of the first shifts."""
    rng = np.random.default_rng(seed)
    shape, steps = (count, 3), rng.integers(0, 6, (count, 3)) * SHIFT_STEP
    at = rng.integers(0, 60, shape) + 0.5 - steps + rng.uniform(-2, 2, shape) * MARGIN
    far = rng.random(shape) < 0.5
    at[far] = rng.uniform(0, 60, far.sum())
    weights = np.sort(at, 1)
    weights[:, -1] = 64
    return GridPositions(weights, at - 30, at[::-1])


@given(st.integers(1, 40), st.integers(0, 10**6), st.sampled_from(sorted(DRIFTS)))
def test_drift_within_the_margin_rounds_alike(count: int, seed: int, drift: str) -> None:
    at = risky(count, seed)
    shift = safe_shift(at) * SHIFT_STEP
    ours, theirs = on_grid(at, shift), on_grid(drifted(at, DRIFTS[drift]), shift)
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_drift_without_a_shift_does_not() -> None:
    at = risky(40, 0)
    ours, theirs = on_grid(at), on_grid(drifted(at, DRIFTS["towards the boundary"]))
    assert not all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("size", [0.0, 1.0, 64.0, 10_281.0, 2.0**24])
def test_the_margin_grows_with_the_parameter_and_leaves_room(size: float) -> None:
    (needed,) = margin(np.array([-size]))
    assert needed == MARGIN * (1 + size / 64)
    assert needed < (SHIFT_STEP / 2 if size <= 2**13 else 0.25)


def test_the_first_safe_shift_is_taken() -> None:
    def alone(value: float) -> GridPositions:
        return GridPositions(np.array([[64.0]]), np.array([[value]]), np.array([[3.0]]))

    assert safe_shift(alone(7.25)) == 0
    assert safe_shift(alone(7.5)) == safe_shift(alone(-7.5)) == 1
    assert safe_shift(alone(7.5 - SHIFT_STEP)) == 0
    blocked = np.array([[0.5 - i * SHIFT_STEP] for i in range(SHIFTS - 1)])
    at = GridPositions(np.full_like(blocked, 64), blocked, np.zeros_like(blocked))
    assert safe_shift(at) == SHIFTS - 1


def test_where_no_shift_is_safe_the_widest_margin_is_taken() -> None:
    blocked = np.array([[0.5 - i * SHIFT_STEP + MARGIN * (0.6 if i == 5 else 0.3)] for i in range(SHIFTS)])
    assert safe_shift(GridPositions(np.full_like(blocked, 64), blocked, np.zeros_like(blocked))) == 5


def test_no_symbols_need_no_shift() -> None:
    assert safe_shift(GridPositions(*(np.zeros((0, 3)) for _ in range(3)))) == 0


def test_shifts_come_back_and_the_first_costs_half_a_bit() -> None:
    indices = [0] * 1000 + list(range(SHIFTS))
    writer = SymbolWriter()
    for index in indices:
        assert transfer_shift(writer, index) == index
    words = writer.finish()
    reader = SymbolReader(words)
    assert [transfer_shift(reader, None) for _ in indices] == indices
    assert 32 * len(words) < 0.5 * 1000 + 22 * SHIFTS


def test_in_double_keeps_the_weights_and_the_original(tiny_codec: Codec) -> None:
    double = in_double(tiny_codec)
    weights = dict(tiny_codec.named_parameters())
    for name, theirs in double.named_parameters():
        ours = weights[name]
        assert ours.dtype == torch.float32 and theirs.dtype == torch.float64 and torch.equal(ours.double(), theirs)


def test_every_network_before_the_coder_computes_in_double(
    tiny_codec: Codec, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[StepMixture]()
    monkeypatch.setattr(transfer, "positions", lambda mixture: seen.append(mixture) or positions(mixture))
    encode(tiny_codec, Pixels(photo(30, 40), False), 4)
    assert len(seen) == 8
    for tensor in (t for mixture in seen for t in mixture):
        assert tensor.dtype == torch.float64
        assert not torch.equal(tensor, tensor.float().double()), "these numbers went through single precision"


@pytest.mark.parametrize("drift", DRIFTS)
@pytest.mark.parametrize("quality", [1, 4.5, 8])
def test_a_reader_that_drifts_within_the_margin_finds_the_same_symbols(
    make_codec: Callable[..., Codec], photo: Photo, monkeypatch: pytest.MonkeyPatch, drift: str, quality: float
) -> None:
    monkeypatch.setattr(portable, "MARGIN", 2.0**-12)  # so wide that many blocks of this small picture need a shift
    for module in (portable, transfer):
        monkeypatch.setattr(module, "SHIFT_STEP", 2.0**-9)
    codec, shifts = make_codec(3), list[int]()
    monkeypatch.setattr(transfer, "safe_shift", lambda at: shifts.append(safe_shift(at)) or shifts[-1])
    data = encode(codec, Pixels(photo(150, 200), False), quality)
    header, expected = read(codec, data)
    assert any(shifts), "no parameter was at risk: the test shows nothing"
    drift_in_the_reader(monkeypatch, DRIFTS[drift])
    again, found = read(codec, data)
    assert again == header and all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("times", [1e5, 1e7])
def test_a_reader_that_drifts_far_is_told_so(
    tiny_codec: Codec, photo: Photo, monkeypatch: pytest.MonkeyPatch, times: float
) -> None:
    data = encode(tiny_codec, Pixels(photo(100, 130), False), 4.5)
    drift_in_the_reader(monkeypatch, lambda p: times * DRIFTS["any"](p))
    with pytest.raises(BitstreamError, match="the file is intact, but this machine computes other entropy parameters"):
        read(tiny_codec, data)


def test_each_block_has_a_shift_of_its_own(tiny_codec: Codec, photo: Photo, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = list[int]()
    monkeypatch.setattr(transfer, "safe_shift", lambda at: blocks.append(len(at.means)) or safe_shift(at))
    monkeypatch.setattr(transfer, "SHIFT_BLOCK", 100)
    data = encode(tiny_codec, Pixels(photo(64, 64), False), 4)
    assert SHIFT_BLOCK == 65536 and blocks == [32] * 8  # 4 x 2 positions of 4 channels
    data = encode(tiny_codec, Pixels(photo(128, 64), False), 4)
    assert blocks[8:] == [64] * 8
    data = encode(tiny_codec, Pixels(photo(128, 192), False), 4)
    assert blocks[16:] == [100, 92] * 8
    read(tiny_codec, data)
