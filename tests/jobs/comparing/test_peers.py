"""The best ladder of each codec for each metric."""

import json
from dataclasses import replace
from typing import Any

import pytest

from jobs.comparing.build import build_report
from jobs.comparing.classical import ClassicalRecord
from jobs.comparing.export import as_csv, as_markdown
from jobs.comparing.metrics import METRICS, PSNR, SSIMULACRA2
from jobs.comparing.peers import best_ladders
from jobs.comparing.points import series_of
from jobs.comparing.report import Report

QUALITIES = (1, 3, 5, 7)
METRIC_NAMES = ("psnr", "ms_ssim", "ssimulacra2", "butteraugli")
SSIM, IQ = "AVIF tune=ssim", "AVIF tune=iq"


def ladder(name: str, rate: float, ssimulacra2_more: float = 0.0, images: str = "abc") -> list[ClassicalRecord]:
    """Points of the plain curve of `make_record` at `rate` times its bits, with some points of SSIMULACRA 2 more."""
    return [
        ClassicalRecord(
            image, image, name, f"quality {q}", "", 900, rate * 0.2 * 1.25**q, 26 + 1.5 * q, 1 - 10 ** (-1 - q / 10),
            20 + 8 * q + ssimulacra2_more, 0.1, butteraugli=10 ** (-q / 20),
        )
        for image in images
        for q in QUALITIES
    ]  # fmt: skip


@pytest.fixture
def records(make_record: Any) -> list[Any]:
    return [make_record(image, q) for image in "abc" for q in QUALITIES]


def report(records: list[Any], points: list[ClassicalRecord]) -> Report:
    return build_report(records, classical=points, splits=[], anchors=None, notes=[], settings={})


def test_each_metric_has_its_own_best(records: list[Any]) -> None:
    points = [*ladder(SSIM, 1.0), *ladder(IQ, 1.1, ssimulacra2_more=8.0), *ladder("JPEG", 2.0)]
    series = series_of(records, points)
    for metric, expected in zip(METRICS, (SSIM, SSIM, IQ, SSIM), strict=True):
        best, remarks = best_ladders(series, metric)
        assert {codec: found.codec for codec, found in best.items()} == {"AVIF": expected, "JPEG": "JPEG"}
        assert remarks == []


def test_figures_are_of_the_best_ladder_and_name_it(records: list[Any]) -> None:
    found = report(records, [*ladder(SSIM, 1.0), *ladder(IQ, 1.1, ssimulacra2_more=8.0)])
    assert found.best == {m: {"AVIF": t} for m, t in zip(METRIC_NAMES, (SSIM, SSIM, IQ, SSIM), strict=True)}
    against = {(c.codec, c.metric): c for c in found.comparisons if c.anchor == "AVIF"}
    assert len(against) == 8 and len(found.comparisons) == 12
    assert against["refined", "psnr"].ladder == SSIM and against["refined", "ssimulacra2"].ladder == IQ
    assert against["refined", "psnr"].averaged.pchip_percent == pytest.approx(-5.0)
    assert against["refined", "ms_ssim"].averaged.pchip_percent == pytest.approx(-5.0)
    dearer = 100 * (0.95 * 1.25 / 1.1 - 1)  # 8 points are a step of quality, which costs a quarter
    assert against["refined", "ssimulacra2"].averaged.pchip_percent == pytest.approx(dearer, abs=0.01)
    delta = against["plain", "ssimulacra2"].averaged
    assert (delta.metric_low, delta.metric_high, delta.psnr_low_db) == (36.0, 76.0, None)
    middle = next(q for q in found.qualities if q.quality == 5)
    assert middle.against["AVIF"].saving_percent == pytest.approx(5.0)
    assert middle.against_on["ssimulacra2"]["AVIF"].saving_percent == pytest.approx(-dearer, abs=0.01)
    assert (
        middle.saved["ssimulacra2"] == (pytest.approx(5.0), 3, pytest.approx((5.0, 5.0)), pytest.approx(5.0))
        and middle.change["ssimulacra2"] == 0
    )


def test_tables_name_the_best_and_files_hold_them_all(records: list[Any]) -> None:
    found = report(records, [*ladder(SSIM, 1.0), *ladder(IQ, 1.1, ssimulacra2_more=8.0)])
    text = as_markdown(found)
    psnr, ms_ssim, ssimulacra2, butteraugli = (text.index(f"BD-rate on {metric.title}") for metric in METRICS)
    assert f"| {SSIM} (3) |" in text[psnr:ms_ssim] and f"| {SSIM} (3) |" in text[ms_ssim:ssimulacra2]
    assert f"| {IQ} (3) |" in text[ssimulacra2:butteraugli] and "| 36.0 to 76.0 (" in text[ssimulacra2:]
    assert "| shared range, points |" in text[ssimulacra2:].replace("ties, losses ", "")
    assert "BD-rate on Butteraugli, as -20 log10(3-norm)" in text and f"| {SSIM} (3) |" in text[butteraugli:]
    assert f"| quality | SSIMULACRA 2 | saved at equal SSIMULACRA 2 | {IQ} |" in text
    dearer = f"{100 * (0.95 * 1.25 / 1.1 - 1):.1f}"
    cells = f"5.00 % (3), 5.00 to 5.00 | +{dearer} % (3), {dearer} to {dearer}, most +{dearer} % |"
    assert f"| 5 | +0.00 points | {cells}" in text
    assert {row.split(",")[1] for row in as_csv(found).splitlines()[1:]} == {"plain", "refined", SSIM, IQ}
    assert [(c["codec"], c["family"]) for c in json.loads(found.to_json())["curves"]][2:] == [
        (SSIM, "AVIF"),
        (IQ, "AVIF"),
    ]


def test_a_ladder_that_falls_is_named_and_not_chosen(records: list[Any]) -> None:
    falling = [
        replace(p, ssimulacra2=70.0) if p.setting == "quality 3" else p for p in ladder(IQ, 0.5)
    ]  # far cheaper, but 70 points at quality 3 and 60 at quality 5
    found = report(records, [*ladder(SSIM, 1.0), *falling])
    assert found.best["psnr"] == {"AVIF": IQ} and found.best["ssimulacra2"] == {"AVIF": SSIM}
    note = next(note for note in found.notes if note.startswith(f"{IQ} without a rank among the ladders of AVIF"))
    assert "on SSIMULACRA 2: AVIF tune=iq is not monotone: 70.0 points at 0.1953 bpp, 60.0 points at 0.3052" in note


def test_a_codec_that_cannot_be_ranked_says_so(records: list[Any]) -> None:
    points = [*ladder(SSIM, 1.0, images="a"), *ladder(IQ, 1.1, images="b")]
    assert best_ladders(series_of(records, points), PSNR).best["AVIF"].codec == SSIM
    [note] = [note for note in report(records, points).notes if note.startswith(f"{SSIM} stands for AVIF")]
    assert note == (
        f"{SSIM} stands for AVIF, of which no ladder could be ranked on PSNR, MS-SSIM, SSIMULACRA 2 and Butteraugli: "
        "no picture has all of them and the plain curve at every setting."
    )


def test_points_of_earlier_releases_are_a_ladder_of_their_codec(records: list[Any]) -> None:
    found = report(records, ladder("AVIF", 1.0))
    assert found.best["psnr"] == {"AVIF": "AVIF"} and found.curves[-1].family == "AVIF"


def test_records_of_earlier_releases_have_no_figures_for_the_eye(records: list[Any]) -> None:
    old = [
        replace(
            record,
            outcome=replace(
                record.outcome,
                plain=replace(record.outcome.plain, ssimulacra2=None, butteraugli=None),
                refined=replace(record.outcome.refined, ssimulacra2=None, butteraugli=None),
            ),
        )
        for record in records
    ]
    found = report(old, [])
    assert {c.metric for c in found.comparisons} == {"psnr", "ms_ssim"}
    assert any(note.startswith("No figures on SSIMULACRA 2: ") for note in found.notes)
    assert not any(f"BD-rate on {name}" in as_markdown(found) for name in ("SSIMULACRA 2", "Butteraugli"))
    assert best_ladders(series_of(old, ladder("JPEG", 1.0)), SSIMULACRA2).best["JPEG"].codec == "JPEG"
