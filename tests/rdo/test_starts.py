"""Starts: photographs begin with plain encoding, pictures that the networks spoil with the linear path."""

import math

import numpy as np
import pytest
import torch

from codec.bitstream.container import unpack
from codec.coding import decode
from codec.images.pixels import Pixels, to_tensor
from rdo.config import RefineConfig
from rdo.encoded import EncodedPicture
from rdo.encoding import encode_pictures
from rdo.refinement import begin
from rdo.starts import are_hard, choose_start
from rdo.tune import tune_of

PLAIN = RefineConfig(iters=0)
RNG = np.random.default_rng(0)
HARD = {  # pictures, and the least PSNR of their files at qualities 1, 4 and 8
    "magenta": (np.full((192, 192, 3), (255, 0, 255), np.uint8), (37, 45, 45)),
    "green": (np.full((192, 192, 3), (0, 255, 0), np.uint8), (38, 44, 45)),
    "noisy magenta": (np.clip(RNG.normal((250, 20, 240), 2.5, (192, 192, 3)), 0, 255).astype(np.uint8), (35, 36, 36)),
}


def encoded(small, pictures: list[np.ndarray], quality: float, iters: int = 0, tune=None) -> list[EncodedPicture]:
    pixels = [Pixels(picture, grey=False) for picture in pictures]
    return encode_pictures(small, pixels, tune=tune_of(tune, small), quality=quality, config=RefineConfig(iters=iters))


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * math.log10(255**2 / np.square(a.astype(float) - b).mean())


@pytest.mark.parametrize("name", HARD)
def test_saturated_colours_keep_their_quality(small, name: str) -> None:
    picture, least = HARD[name]
    for quality, psnr_min in zip((1, 4, 8), least, strict=True):
        [found] = encoded(small, [picture], quality)
        assert psnr_db(found.file.pixels.data, picture) > psnr_min and len(found.file.data) < 3000
        assert (decode(small, found.file.data).pixels.data == found.file.pixels.data).all()


def test_what_the_networks_spoil_is_coded_along_the_linear_path(strayed, photo) -> None:
    picture = photo(128, 192)
    [found] = encoded(strayed, [picture], 8)
    assert unpack(found.file.data)[0].gain_profile == strayed.linear_profile
    _, networks = begin(strayed, to_tensor(Pixels(picture, False)), 8, config=PLAIN)
    alone = strayed.synthesise(networks.plain.latents, strayed.level(8)).clamp(0, 1)[0].permute(1, 2, 0).numpy()
    assert psnr_db(found.file.pixels.data, picture) > psnr_db(alone * 255, picture) + 3


def test_a_photograph_begins_with_its_plain_encoding(small, photo) -> None:
    for quality in (1, 4.5, 8):
        x = to_tensor(Pixels(photo(128, 192), False))
        problem, start = begin(small, x, quality, config=PLAIN)
        chosen = choose_start(small, problem, start, lambda other: other)
        assert chosen.start is start and chosen.profiles == [0]


def test_each_picture_of_a_batch_has_a_start_of_its_own(small, photo, monkeypatch) -> None:
    monkeypatch.setattr("rdo.starts.are_hard", lambda codec, problem, latents, plain: torch.ones(len(plain)).bool())
    pictures = [photo(192, 192), np.full((192, 192, 3), 128, np.uint8), HARD["noisy magenta"][0]]
    together = encoded(small, pictures, 8)
    profiles = [unpack(each.file.data)[0].gain_profile for each in together]
    assert profiles[:2] == [0, 7], "the linear path is tried for all, and taken where it is cheaper"
    for each, picture in zip(together, pictures, strict=True):
        [alone] = encoded(small, [picture], 8)
        assert alone.file.data == each.file.data == each.plain.data


@pytest.mark.parametrize("tune", [None, "visual"])
def test_refinement_goes_on_from_the_start_and_is_never_worse(strayed, tune) -> None:
    [found] = encoded(strayed, [HARD["noisy magenta"][0]], 8, iters=3, tune=tune)
    assert unpack(found.plain.data)[0].gain_profile == strayed.linear_profile
    assert found.file.cost(found.lmbda) <= found.plain.cost(found.lmbda)
    assert psnr_db(found.file.pixels.data, HARD["noisy magenta"][0]) > 36


def test_hard_is_a_matter_of_each_codec(small, strayed, photo) -> None:
    x = torch.cat([to_tensor(Pixels(p, False)) for p in (photo(192, 192), HARD["magenta"][0])])
    for codec, hard in ((small, False), (strayed, True)):
        problem, start = begin(codec, x, 8, config=PLAIN)
        assert are_hard(codec, problem, start.plain.latents, start.plain.cost.distortion).tolist() == [hard, hard]
    some = start.of_images([1])
    assert torch.equal(some.plain.cost.total, start.plain.cost.total[1:]) and len(some.analysed.y) == 1


def test_a_codec_without_a_linear_path_has_one_start(make_codec, photo) -> None:
    codec = make_codec(transform="paper")
    assert codec.linear_profile is None and codec.gain_profiles == 7
    problem, start = begin(codec, to_tensor(Pixels(photo(64, 64), False)), 4, config=PLAIN)
    assert choose_start(codec, problem, start, lambda other: other).start is start
