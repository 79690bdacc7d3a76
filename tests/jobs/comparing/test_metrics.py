"""Metrics: their scale, and what has no value."""

from dataclasses import replace

import pytest

from jobs.comparing.metrics import METRICS, MS_SSIM
from jobs.record import Score

FILE = Score(1000, 1.0, 31.5, 0.99, 72.25, 2.0, 0.5)


def test_values_rise_with_quality_on_their_scales() -> None:
    assert [metric.of(FILE) for metric in METRICS] == [
        31.5,
        pytest.approx(20.0),
        72.25,
        pytest.approx(6.0206, abs=1e-4),
    ]
    assert [metric.unit for metric in METRICS] == ["dB", "dB", "points", "dB"]
    better = replace(FILE, psnr_db=32.0, ms_ssim=0.995, ssimulacra2=75.0, butteraugli=0.4)
    assert all(metric.of(better) > metric.of(FILE) for metric in METRICS)


def test_an_exact_file_has_no_value() -> None:
    exact = replace(FILE, psnr_db=None, ms_ssim=1.0, ssimulacra2=100.0, butteraugli=0.0)
    assert [metric.of(exact) for metric in METRICS] == [None] * 4
    assert MS_SSIM.of(replace(FILE, ms_ssim=1.0)) is None, "its decibels are infinite"


def test_a_file_without_a_score_has_no_value() -> None:
    file = replace(FILE, ms_ssim=None, ssimulacra2=None, butteraugli=None)
    assert [metric.of(file) for metric in METRICS] == [31.5, None, None, None]
