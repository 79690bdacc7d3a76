"""Pictures to files and back with a tiny random codec: exact latents, honest estimates, and every refusal."""

import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from codec.architecture import STRIDE, latent_shapes, on_header_grid
from codec.bitstream import symbols as transfer
from codec.bitstream.container import HEADER_BYTES, unpack
from codec.bitstream.probability_tables import GridPositions, positions
from codec.coding import decode, encode, read, write
from codec.errors import BitstreamError, ConfigError
from codec.identity import model_id
from codec.images.pixels import Pixels, crop, from_tensor, pad, to_tensor
from codec.interface import Latents
from codec.model import Codec
from codec.networks.likelihoods import StepMixture

Photo = Callable[..., NDArray[np.uint8]]
SIZES = [(1, 1), (1, 200), (65, 64), (100, 130)]


def picture(photo: Photo, height: int, width: int, grey: bool = False) -> Pixels:
    data = photo(height, width)
    return Pixels(np.repeat(data[..., :1], 3, 2) if grey else data, grey)


def plain(codec: Codec, pixels: Pixels, quality: float) -> Latents:
    with torch.no_grad():
        analysed = codec.analyse(pad(to_tensor(pixels), STRIDE), torch.tensor([on_header_grid(quality)]))
    return Latents(*(v.round() for v in analysed))


@pytest.fixture(scope="module")
def file(tiny_codec: Codec, photo: Photo) -> bytes:
    return encode(tiny_codec, picture(photo, 100, 130), 4.3)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("quality", [1, 4, 8])
def test_decode_gives_what_encode_rounded(
    tiny_codec: Codec, photo: Photo, height: int, width: int, grey: bool, quality: float
) -> None:
    pixels = picture(photo, height, width, grey)
    data = encode(tiny_codec, pixels, quality)
    decoded = decode(tiny_codec, data)
    rounded = plain(tiny_codec, pixels, quality)
    assert all(torch.equal(a, b) for a, b in zip(decoded.latents, rounded, strict=True))
    assert height * width < 1000 or min(len(t.unique()) for t in rounded) > 2, (
        "the latents say nothing: they hardly vary"
    )
    assert (decoded.header.width, decoded.header.height) == (width, height)
    assert (decoded.header.quality, decoded.header.grey) == (quality, grey)
    out = tiny_codec.evaluate(rounded, torch.tensor([float(quality)]))
    expected = from_tensor(crop(out.x_hat, height, width), grey)
    assert decoded.pixels.grey == grey and decoded.pixels.data.shape == (height, width, 3)
    assert np.array_equal(decoded.pixels.data, expected.data)
    bytes_est = float(out.y_bits + out.z_bits) / 8
    assert -0.01 * bytes_est <= len(data) - bytes_est <= 0.01 * bytes_est + 40


@pytest.mark.parametrize("quality", [1.0, 6.3])
@pytest.mark.parametrize("changes", [{}, {"order": "cfo", "skip_first": False}], ids=str)
def test_the_writer_codes_with_the_mixtures_that_evaluate_prices(
    make_codec: Callable[..., Codec],
    photo: Photo,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    quality: float,
) -> None:
    codec, used = make_codec(2, **changes), list[StepMixture]()

    def spy(mixture: StepMixture) -> GridPositions:
        used.append(mixture)
        return positions(mixture)

    monkeypatch.setattr(transfer, "positions", spy)
    pixels = picture(photo, 100, 130)
    rounded = plain(codec, pixels, quality)
    encode(codec, pixels, quality)
    priced = codec.mixture(rounded.y, rounded.z, torch.tensor([on_header_grid(quality)]))
    assert len(used) == 8
    for ours, theirs in zip(zip(*used, strict=True), priced, strict=True):
        torch.testing.assert_close(torch.cat(ours, 1), theirs.double(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"transform": "paper"},
        {"order": "cfo", "skip_first": False, "mixtures": 1},
        {"segments": 1, "levels": 1},
        {"segments": 8, "context_depth": 3, "order": "cfo"},
    ],
    ids=str,
)
def test_other_architectures_come_back_too(
    make_codec: Callable[..., Codec], photo: Photo, changes: dict[str, object]
) -> None:
    codec = make_codec(1, **changes)
    pixels = picture(photo, 70, 90)
    decoded = decode(codec, encode(codec, pixels, 6.5))
    rounded = plain(codec, pixels, 6.5)
    assert min(len(t.unique()) for t in rounded) > 2
    assert all(torch.equal(a, b) for a, b in zip(decoded.latents, rounded, strict=True))


def test_the_same_picture_gives_the_same_bytes(tiny_codec: Codec, photo: Photo, file: bytes) -> None:
    pixels = picture(photo, 100, 130)
    assert encode(tiny_codec, pixels, 4.3) == file
    assert encode(tiny_codec, pixels, on_header_grid(4.3)) == file
    assert encode(tiny_codec, pixels, 4.4) != file


def test_higher_quality_costs_more(tiny_codec: Codec, photo: Photo) -> None:
    sizes = [len(encode(tiny_codec, picture(photo, 100, 130), quality)) for quality in (1, 4, 8)]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (100, 130)])
def test_latents_of_any_size_come_back(tiny_codec: Codec, height: int, width: int) -> None:
    rng = np.random.default_rng(height)

    def draw(shape: tuple[int, ...]) -> torch.Tensor:
        values = (rng.normal(0, 2, shape) * 10.0 ** rng.integers(0, 6, shape)).round()
        values[rng.random(shape) < 0.01] = 2**30
        values[rng.random(shape) < 0.01] = -(2**30)
        return torch.from_numpy(values).float()

    latents = Latents(*map(draw, latent_shapes(tiny_codec.config, width, height)))
    header, back = read(tiny_codec, write(tiny_codec, latents, width=width, height=height, quality=3.7, grey=True))
    assert all(torch.equal(a, b) for a, b in zip(back, latents, strict=True))
    assert header.grey and (header.width, header.height) == (width, height)


def test_latents_beyond_the_format_are_clamped_and_fractions_rounded(tiny_codec: Codec) -> None:
    y_shape, z_shape = latent_shapes(tiny_codec.config, 9, 9)
    latents = Latents(torch.full(y_shape, 1e12), torch.full(z_shape, -2.6))
    _, back = read(tiny_codec, write(tiny_codec, latents, width=9, height=9, quality=1, grey=False))
    assert bool((back.y == 2**30).all()) and bool((back.z == -3).all())


@pytest.mark.parametrize(("height", "width"), [*SIZES, (64, 64), (128, 129)])
def test_shapes_are_those_of_the_networks(tiny_codec: Codec, photo: Photo, height: int, width: int) -> None:
    y, z = plain(tiny_codec, picture(photo, height, width), 4)
    assert (y.shape, z.shape) == latent_shapes(tiny_codec.config, width, height)


def test_another_model_is_refused_by_id(tiny_codec: Codec, make_codec: Callable[..., Codec], file: bytes) -> None:
    other = make_codec(seed=1)
    with pytest.raises(BitstreamError, match=f"written by model {model_id(tiny_codec).hex()}, this is tiny .*--model"):
        decode(other, file)


@pytest.mark.parametrize("quality", [0.999, 8.001, 0, -1, float("nan"), float("inf")])
def test_quality_outside_its_range_is_refused(tiny_codec: Codec, photo: Photo, quality: float) -> None:
    with pytest.raises(ConfigError, match=f"quality {quality}: must lie between 1"):
        encode(tiny_codec, picture(photo, 8, 8), quality)
    latents = Latents(*map(torch.zeros, latent_shapes(tiny_codec.config, 8, 8)))
    with pytest.raises(ConfigError, match="quality"):
        write(tiny_codec, latents, width=8, height=8, quality=quality, grey=False)


def test_a_flipped_byte_is_refused(tiny_codec: Codec, file: bytes) -> None:
    rng = np.random.default_rng(0)
    for at in {*range(HEADER_BYTES), *rng.choice(len(file), 60, replace=False).tolist()}:
        with pytest.raises(BitstreamError):
            decode(tiny_codec, file[:at] + bytes([file[at] ^ 1 << int(rng.integers(8))]) + file[at + 1 :])


@pytest.mark.parametrize("length", [0, 3, 23, 24, 28, -4, -1])
def test_a_truncated_file_is_refused(tiny_codec: Codec, file: bytes, length: int) -> None:
    with pytest.raises(BitstreamError):
        decode(tiny_codec, file[:length])


def test_a_forged_checksum_gives_no_wrong_symbols(tiny_codec: Codec, photo: Photo) -> None:
    """Bytes altered and the CRC made to fit: the symbols' own checksum must notice, and nothing else may be raised."""
    pixels = picture(photo, 40, 60)
    file = encode(tiny_codec, pixels, 4)
    expected = read(tiny_codec, file)[1]
    rng = np.random.default_rng(1)
    refused = 0
    positions = [*range(8, 14), *range(17, 20), *rng.integers(HEADER_BYTES, len(file), 12)]
    for at in positions:
        head = bytearray(file)
        head[at] ^= 1 << int(rng.integers(8)) if at >= HEADER_BYTES else 1
        head[20:24] = zlib.crc32(head[24:], zlib.crc32(head[:20])).to_bytes(4, "little")
        try:
            header, latents = read(tiny_codec, bytes(head))
        except BitstreamError:
            refused += 1
        else:  # a bit that no symbol hangs on, or a side within the same padding
            assert all(torch.equal(a, b) for a, b in zip(latents, expected, strict=True))
            assert at < 12 or at >= len(file) - 8 or header.quality != 4
    assert refused > len(positions) // 2


@pytest.mark.parametrize("words", [0, 1, 3])
def test_a_stream_cut_short_with_a_forged_checksum_is_refused(tiny_codec: Codec, file: bytes, words: int) -> None:
    head = bytearray(file[: HEADER_BYTES + 4 * words])
    head[14:17] = words.to_bytes(3, "little")
    head[20:24] = zlib.crc32(head[24:], zlib.crc32(head[:20])).to_bytes(4, "little")
    assert [len(stream.words) for stream in unpack(bytes(head)).streams] == [words]
    with pytest.raises(BitstreamError):
        decode(tiny_codec, bytes(head))


def test_latents_of_another_size_are_refused(tiny_codec: Codec) -> None:
    y, z = map(torch.zeros, latent_shapes(tiny_codec.config, 65, 64))
    write(tiny_codec, Latents(y, z), width=65, height=64, quality=4, grey=False)
    for latents in (Latents(y.mT, z), Latents(y, z.mT), Latents(y[:, :-1], z), Latents(y.repeat(2, 1, 1, 1), z)):
        with pytest.raises(ConfigError, match=r"latents \(.*\) for an image that needs"):
            write(tiny_codec, latents, width=65, height=64, quality=4, grey=False)


def test_a_prior_without_rows_is_refused(make_codec: Callable[..., Codec], photo: Photo, file: bytes) -> None:
    codec = make_codec()
    codec.prior.rows.zero_()
    with pytest.raises(ConfigError, match=r"no rows for p\(z\) yet: call codec\.prior\.freeze"):
        encode(codec, picture(photo, 8, 8))
    with pytest.raises(ConfigError, match=r"call codec\.prior\.freeze"):
        decode(codec, file)


def test_quality_tensor_is_on_the_header_grid(tiny_codec: Codec) -> None:
    for quality in (1.0, np.pi, 8.0):
        level = tiny_codec.level(quality)
        assert level.shape == (1,) and level.dtype == torch.float32
        assert float(level * 4096) == round(quality * 4096)


def test_gradients_and_autocast_around_a_call_change_no_byte(
    make_codec: Callable[..., Codec], photo: Photo, file: bytes
) -> None:
    codec = make_codec().requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16):
        assert encode(codec, picture(photo, 100, 130), 4.3) == file
        assert not decode(codec, file).latents.y.requires_grad


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_latents_that_are_no_numbers_are_refused(tiny_codec: Codec, value: float) -> None:
    y, z = map(torch.zeros, latent_shapes(tiny_codec.config, 8, 8))
    y[0, 0, 0, 0] = value
    with pytest.raises(BitstreamError, match="not finite"):
        write(tiny_codec, Latents(y, z), width=8, height=8, quality=4.0, grey=False)


def test_entropy_parameters_that_are_no_numbers_are_refused(make_codec: Callable[..., Codec]) -> None:
    codec = make_codec()
    with torch.no_grad():
        codec.context.head.out.weight[0, 0, 0] = float("nan")
    with pytest.raises(BitstreamError, match="entropy parameters are not finite"):
        write(
            codec,
            Latents(*map(torch.zeros, latent_shapes(codec.config, 8, 8))),
            width=8,
            height=8,
            quality=4.0,
            grey=False,
        )
