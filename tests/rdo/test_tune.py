"""Tunings by name, and files that are better for what they were tuned for."""

import numpy as np
import pytest
import torch

from codec.coding import decode, encode
from codec.errors import ConfigError
from codec.images.pixels import Pixels, to_tensor
from codec.loading import load
from codec.metrics import butteraugli
from codec.metrics.ssimulacra2 import prepare, raw, ssimulacra2
from codec.metrics.visual import VISUAL_WEIGHT, WITNESS_SHARE
from rdo.distortion import Distortion
from rdo.one_picture import encode as encode_refined
from rdo.presets import EFFORTS, effort, recipe
from rdo.tune import VISUAL_PROFILES, VISUAL_SHARE, presets_of, tune_of


def test_names_are_distortions_profiles_and_presets(tiny_codec) -> None:
    assert tune_of(None, tiny_codec).distortion == tune_of("mse", tiny_codec).distortion == Distortion()
    assert tune_of("ms-ssim", tiny_codec).distortion.ms_ssim_share == 1
    visual = tune_of("visual", tiny_codec)
    assert visual.distortion.visual_share == VISUAL_SHARE and visual.gain_profiles == VISUAL_PROFILES
    assert tune_of("visual:0.25", tiny_codec).distortion.visual_share == 0.25
    assert presets_of("visual:0.25") == presets_of("visual") == visual.presets == "visual-"
    assert presets_of(None) == presets_of("mse") == presets_of("mse", "ms_ssim") == ""
    assert presets_of(None, "ms_ssim") == presets_of("ms-ssim", "ms_ssim") == "ms-ssim-"
    assert tune_of("ms-ssim", tiny_codec).presets == "", "it was trained for the mse"


@pytest.mark.parametrize("name", ["eyes", "visual:2", "visual:-0.1", "visual:x", "mse:0.5", "visual:nan", ""])
def test_other_names_are_refused(tiny_codec, name: str) -> None:
    with pytest.raises(ConfigError, match=r"must be one of|share of 0 to 1"):
        tune_of(name, tiny_codec)


@pytest.mark.parametrize("presets", ["visual-", "ms-ssim-"])
def test_every_effort_has_a_preset_of_as_many_steps(presets: str) -> None:
    for level in EFFORTS:
        assert effort(level, presets).iters == effort(level).iters
        assert effort(level, presets).method != "rdoq"
    assert recipe(50, presets=presets).method == effort(5, presets).method


def test_shares_must_fit_together() -> None:
    with pytest.raises(ConfigError, match="in sum"):
        Distortion(ms_ssim_share=0.6, visual_share=0.5)
    assert Distortion(ms_ssim_share=0.1, visual_share=0.9).mse_share == pytest.approx(0)


def test_visual_distortion_is_the_mix_it_says(photo) -> None:
    x = to_tensor(Pixels(photo(40, 56), False))
    plain, other = ((x + scale * torch.randn_like(x)).clamp(0, 1) for scale in (0.05, 0.02))
    fitted = Distortion(visual_share=0.75).fitted(x, plain)
    mse_of = Distortion()
    errors = [lambda v: raw(v, prepare(x)), lambda v: butteraugli.norm(v, butteraugli.prepare(x, halvings=(1,)))]
    seen, witnessed = (VISUAL_WEIGHT * mse_of(plain, x) * error(other) / error(plain) for error in errors)
    by_hand = 0.25 * mse_of(other, x) + 0.75 * ((1 - WITNESS_SHARE) * seen + WITNESS_SHARE * witnessed)
    assert torch.allclose(fitted(other, x), by_hand)
    assert float(fitted(x, x)) == 0
    pair = Distortion(visual_share=0.75).fitted(torch.cat([x, x]), torch.cat([plain, other]))
    assert torch.allclose(pair.of_images([0])(other, x), by_hand)


def test_pictures_too_small_for_the_eye_are_refused(tiny_codec) -> None:
    tiny = Pixels(np.zeros((7, 20, 3), np.uint8), False)
    with pytest.raises(ConfigError, match="sides of 8 pixels or more"):
        encode_refined(tiny_codec, tiny, quality=3, iters=2, tune="visual")


@pytest.mark.slow
def test_tuned_for_the_eye_a_file_beats_plain_ones_of_its_size(photo) -> None:
    codec, pixels = load("small"), Pixels(photo(128, 192), False)
    data = encode_refined(codec, pixels, quality=4, iters=20, tune="visual")
    score = ssimulacra2(pixels, decode(codec, data).pixels)
    smaller = [encode(codec, pixels, quality) for quality in np.arange(1, 8.1, 0.5)]
    scores = [ssimulacra2(pixels, decode(codec, file).pixels) for file in smaller if len(file) <= len(data)]
    assert score is not None and score > max(s for s in scores if s is not None) + 1


def test_a_score_can_be_asked_for(photo) -> None:
    codec, pixels = load("small"), Pixels(photo(64, 96), False)
    data = encode_refined(codec, pixels, iters=4, tune="visual", target_ssimulacra2=60)
    assert ssimulacra2(pixels, decode(codec, data).pixels) == pytest.approx(60, abs=0.5)
