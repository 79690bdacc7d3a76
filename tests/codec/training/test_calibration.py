"""Calibration: rate levels move to the qualities at which rounded latents cost least."""

import numpy as np
import pytest
import torch

from codec.architecture import lmbda_of
from codec.coding import plain_latents
from codec.interface import rate
from codec.loading import load
from codec.metrics.distortion import image_distortion
from codec.networks.transforms import RateTable
from codec.training import calibration
from codec.training.calibration import _centre_crop, _cost, calibrate


def tables(codec) -> list[torch.Tensor]:
    return [m.table.clone() for m in codec.modules() if isinstance(m, RateTable)]


@pytest.mark.parametrize("shift", [-0.6, 0.9])
def test_finds_where_the_cost_is_least(make_codec, monkeypatch, shift: float) -> None:
    """Return a stand-in cost with its minimum at a known offset from each level."""
    codec = make_codec()
    before = tables(codec)
    levels = np.linspace(1, 8, codec.config.levels)

    def cost(codec, crops, quality, lmbda) -> float:
        level = levels[np.argmin([abs(lmbda_of(x) - lmbda) for x in levels])]
        return 1 + (quality - level - shift) ** 2

    monkeypatch.setattr(calibration, "_cost", cost)
    monkeypatch.setattr(calibration, "QUALITY_OFFSETS", (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5))
    meant = calibrate(codec, [np.zeros((64, 64, 3), np.uint8)])
    assert np.allclose(meant, levels + shift)
    for old, new in zip(before, tables(codec), strict=True):
        assert torch.allclose(
            new[3], torch.lerp(old[2], old[3], 1 + shift) if shift < 0 else torch.lerp(old[3], old[4], shift)
        )
        straight = old[0] + shift * (old[1] - old[0]) if shift < 0 else old[-1] + shift * (old[-1] - old[-2])
        assert torch.allclose(new[0 if shift < 0 else -1], straight, atol=1e-5)


def test_the_embedded_model_is_calibrated(photo) -> None:
    small = load("small")
    crops = [_centre_crop(photo(256, 256, seed)) for seed in (1, 2)]
    low, middle, high = (_cost(small, crops, quality, lmbda_of(5.0)) for quality in (2.0, 5.0, 8.0))
    assert middle < min(low, high), "these pictures are no photographs, so a rough look will do"


def test_the_cost_is_of_what_the_model_was_trained_for(make_codec, photo) -> None:
    codec, crops = make_codec(distortion="ms_ssim"), [_centre_crop(photo(200, 220))]
    x = crops[0]
    assert x.shape[2:] == (192, 192)
    level = torch.tensor([3.0])
    rounded = plain_latents(codec, x, level)
    y_bits, z_bits = rate(codec, rounded, level)
    error = image_distortion(codec.synthesise(rounded, level).clamp(0, 1), x, "ms_ssim")
    expected = float((y_bits + z_bits) / 192**2 + 0.5 * error)
    assert _cost(codec, crops, 3.0, 0.5) == pytest.approx(expected, rel=1e-5)
    before = tables(codec)
    calibrate(codec, [photo(160, 300)])  # too small for MS-SSIM
    assert all(torch.equal(old, new) for old, new in zip(before, tables(codec), strict=True))


def test_nothing_moves_where_nothing_can_be_told(make_codec, monkeypatch) -> None:
    codec = make_codec()
    before = tables(codec)
    monkeypatch.setattr(calibration, "_cost", lambda codec, crops, quality, lmbda: quality)  # least at the edge
    for photos in ([], [np.zeros((64, 64, 3), np.uint8)], [np.zeros((63, 99, 3), np.uint8)]):
        assert calibrate(codec, photos) == np.linspace(1, 8, codec.config.levels).tolist()
    assert all(torch.equal(a, b) for a, b in zip(before, tables(codec), strict=True))


def test_one_level_is_left_alone(make_codec, photo) -> None:
    codec = make_codec(levels=1)
    assert calibrate(codec, [photo(100, 80)]) == [1.0]
