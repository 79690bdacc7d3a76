"""Gain profiles: other quantisation steps for the same weights, told apart by the header of a file."""

import math

import pytest
import torch

from codec.architecture import LINEAR_PROFILE
from codec.bitstream.container import VERSION, VERSION_PROFILES
from codec.coding import decode, encode, read
from codec.errors import BitstreamError, ConfigError
from codec.gain_profiles import GRID, PEAK, PEAK_RANKS, PROFILES, TAIL, TAIL_RANKS, log_gain_offsets
from codec.identity import model_id
from codec.images.pixels import Pixels, to_tensor
from codec.latents import same_symbols


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


def test_the_linear_profile_has_the_models_own_steps_and_no_networks(tiny_codec, make_codec, pixels) -> None:
    linear = tiny_codec.with_gain_profile(tiny_codec.linear_profile)
    level, x = linear.level(5.0), to_tensor(pixels)[..., :64, :64]
    assert linear.gain_profile == LINEAR_PROFILE and torch.equal(linear.gains(level), tiny_codec.gains(level))
    latents = linear.analyse(x, level)
    gains = tiny_codec.gains(level)[..., None, None]
    assert torch.equal(latents.y, tiny_codec.g_a.linear_latents(x) * gains)
    assert torch.equal(latents.z, tiny_codec.analyse(x, level).z)
    picture = linear.synthesise(latents, level)
    assert torch.equal(picture, tiny_codec.g_s.linear_picture(latents.y / gains))
    assert not torch.allclose(picture, tiny_codec.synthesise(latents, level))
    paper = make_codec(transform="paper")
    with pytest.raises(ConfigError, match=r"gain profile 7: must lie in 0\.\.6"):
        paper.with_gain_profile(LINEAR_PROFILE)


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
