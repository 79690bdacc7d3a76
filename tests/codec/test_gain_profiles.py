"""Gain profiles: other quantisation steps for the same weights, told apart by the header of a file."""

import math

import pytest
import torch

from codec.bitstream.container import VERSION, VERSION_PROFILES
from codec.coding import decode, encode, read, same_symbols
from codec.errors import BitstreamError, ConfigError
from codec.gain_profiles import GRID, PEAK, PEAK_RANKS, PROFILES, TAIL, TAIL_RANKS, log_gain_offsets
from codec.identity import model_id
from codec.images.pixels import Pixels


@pytest.fixture
def pixels(photo) -> Pixels:
    return Pixels(photo(80, 112), False)


def test_offsets_follow_the_formula_by_rank() -> None:
    gains = torch.tensor([[0.0, 3.0, 1.0], [0.0, 3.5, 2.0]])  # ranks 2, 0, 1
    found = log_gain_offsets(6, gains)
    for channel, rank in enumerate((2, 0, 1)):
        formula = 1.5 * (PEAK * math.exp(-rank / PEAK_RANKS) - TAIL * (1 - math.exp(-rank / TAIL_RANKS)))
        assert float(found[channel]) == pytest.approx(formula, abs=0.5 / GRID)
    assert not log_gain_offsets(0, gains).any()


def test_offsets_are_on_a_grid_that_no_rounding_reaches() -> None:
    for profile in range(PROFILES):
        steps = log_gain_offsets(profile, torch.randn(8, 320)).double() * GRID
        assert torch.equal(steps, steps.round())


def test_files_of_every_profile_decode_and_tell_it(tiny_codec, pixels) -> None:
    sizes = []
    for profile in range(PROFILES):
        writer = tiny_codec.with_gain_profile(profile)
        data = encode(writer, pixels, quality=5)
        assert data[3] >> 4 == (VERSION_PROFILES if profile else VERSION)
        found = decode(tiny_codec, data)
        assert found.header.gain_profile == profile
        again = decode(tiny_codec.with_gain_profile(3), data)  # whatever profile the reader has
        assert (again.pixels.data == found.pixels.data).all() and same_symbols(again.latents, found.latents)
        sizes.append(len(data))
    assert len(set(sizes)) > 1


def test_profiles_share_weights_and_id_and_are_made_once(tiny_codec) -> None:
    other = tiny_codec.with_gain_profile(4)
    assert other is tiny_codec.with_gain_profile(4) and other is not tiny_codec
    assert other.log_gain is tiny_codec.log_gain and model_id(other) == model_id(tiny_codec)
    assert other.with_gain_profile(0).gain_offsets.abs().max() == 0 and tiny_codec.gain_profile == 0
    level = tiny_codec.level(3.0)
    ratio = (other.gains(level) / tiny_codec.gains(level)).log()[0]
    assert torch.allclose(ratio, log_gain_offsets(4, tiny_codec.log_gain.table), atol=1e-5)


def test_a_profile_that_is_not_there_is_refused(tiny_codec, pixels) -> None:
    for profile in (-1, PROFILES):
        with pytest.raises(ConfigError, match=f"gain profile {profile}: must lie in 0..7"):
            tiny_codec.with_gain_profile(profile)


def test_a_codec_without_profiles_refuses_a_file_that_has_one(tiny_codec, pixels, monkeypatch) -> None:
    data = encode(tiny_codec.with_gain_profile(2), pixels, quality=5)

    def refuse(self, profile: int):
        raise ConfigError(f"gain profile {profile}: tiny has none")

    monkeypatch.setattr(type(tiny_codec), "with_gain_profile", refuse)
    with pytest.raises(BitstreamError, match="forged header: gain profile 2: tiny has none"):
        read(tiny_codec, data)
