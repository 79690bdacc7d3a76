"""Metrics: their scale, and what has no value."""

from dataclasses import replace

import pytest

from jobs.comparing.metrics import METRICS, MS_SSIM, PSNR, SSIMULACRA2
from jobs.record import Score

FILE = Score(1000, 1.0, 31.5, 0.99, 72.25, 2.0)


def test_values_rise_with_quality_on_their_scales() -> None:
    assert [metric.of(FILE) for metric in METRICS] == [31.5, pytest.approx(20.0), 72.25]
    assert [metric.unit for metric in METRICS] == ["dB", "dB", "points"]
    better = replace(FILE, psnr_db=32.0, ms_ssim=0.995, ssimulacra2=75.0)
    assert all(metric.of(better) > metric.of(FILE) for metric in METRICS)


def test_an_exact_file_has_no_value() -> None:
    assert [metric.of(replace(FILE, psnr_db=None, ms_ssim=1.0, ssimulacra2=100.0)) for metric in METRICS] == [None] * 3
    assert MS_SSIM.of(replace(FILE, ms_ssim=1.0)) is None, "its decibels are infinite"


def test_a_file_without_a_score_has_no_value() -> None:
    file = replace(FILE, ms_ssim=None, ssimulacra2=None)
    assert (PSNR.of(file), MS_SSIM.of(file), SSIMULACRA2.of(file)) == (31.5, None, None)
