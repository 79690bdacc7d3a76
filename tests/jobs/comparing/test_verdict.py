"""The verdict: a sentence on what readers would use instead, true where it wins, loses, or cannot tell."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from jobs.comparing.build import build_report
from jobs.comparing.classical import ClassicalRecord
from jobs.comparing.export import as_markdown
from jobs.comparing.page import render
from jobs.comparing.report import Report

QUALITIES = (1, 3, 5, 7)
SAVED = {"a": 0.4, "b": 0.2, "c": -0.2, "d": -0.5}  # of a picture's bits


def ladder(name: str, rate: float, more: float = 0.0, images: str = "abc") -> list[ClassicalRecord]:
    """Points of the plain curve of `make_record` at `rate` times its bits, with more PSNR and SSIMULACRA 2."""
    return [
        ClassicalRecord(
            image, image, name, f"quality {q}", "", 900, rate * 0.2 * 1.25**q, 26 + 1.5 * q + more,
            1 - 10 ** (-1 - q / 10), 20 + 8 * q + more, 0.1, butteraugli=10 ** (-q / 20),
        )
        for image in images
        for q in QUALITIES
    ]  # fmt: skip


def report(records: list[Any], points: Sequence[ClassicalRecord] = ()) -> Report:
    return build_report(records, classical=list(points), splits=[], anchors=None, notes=[], settings={})


def records_of(make_record: Any, images: str = "abc", qualities: Sequence[int] = QUALITIES, **more: Any) -> list[Any]:
    return [make_record(image, q, **more) for image in images for q in qualities]


def for_pixels(records: list[Any]) -> list[Any]:
    """Return records of files that Butteraugli was not taken of."""

    def without(score: Any) -> Any:
        return replace(score, butteraugli=None)

    return [
        replace(r, outcome=replace(r.outcome, plain=without(r.outcome.plain), refined=without(r.outcome.refined)))
        for r in records
    ]


def test_the_hardest_codec_to_beat_comes_first(make_record: Any) -> None:
    found = report(
        records_of(make_record), [*ladder("JPEG", 1.9), *ladder("AVIF tune=iq", 0.76), *ladder("WebP", 0.953)]
    )
    assert found.verdict == (
        "At equal SSIMULACRA 2, refined files are 25 % larger than AVIF's (25 to 25), as large as WebP's (0 to 0) and "
        "50 % smaller than JPEG's (50 to 50) on these 3 pictures."
    )
    assert found.lead == "ssimulacra2"
    assert as_markdown(found).startswith(found.verdict) and found.verdict in render(found, [])


def test_files_for_pixels_are_judged_by_psnr(make_record: Any) -> None:
    found = report(for_pixels(records_of(make_record)), ladder("WebP", 1.9))
    assert found.verdict == "At equal PSNR, refined files are 50 % smaller than WebP's (50 to 50) on these 3 pictures."
    assert found.lead == "psnr"


def test_what_may_be_smaller_or_larger_is_undecided(make_record: Any) -> None:
    records = [make_record(image, q, saved) for image, saved in SAVED.items() for q in QUALITIES]
    text = report(records, ladder("WebP", 1.0, images="abcd")).verdict
    assert "larger than WebP's (undecided: " in text or "smaller than WebP's (undecided: " in text
    assert "% smaller to " in text and text.endswith("% larger) on these 4 pictures.")


def test_curves_that_meet_nowhere_or_hardly_are_said_to(make_record: Any) -> None:
    records = records_of(make_record)
    apart = report(records, [*ladder("JPEG", 1.0, more=500.0), *ladder("WebP", 1.0, more=40.0)])
    assert "than WebP's (" in apart.verdict and "over only 17 % of the narrower curve)" in apart.verdict
    assert "Against JPEG's there is no figure: the notes say why." in apart.verdict
    assert any("against JPEG" in note and "share no quality" in note for note in apart.notes)
    alone = report(records, ladder("JPEG", 1.0, more=500.0))
    assert alone.verdict == "There is no verdict at equal SSIMULACRA 2: the notes say why."


@pytest.mark.parametrize("asked", [None, 10])
def test_few_steps_are_said_to_gain_less(make_record: Any, asked: int | None) -> None:
    """The steps asked for count where a record has them: patience and time budgets may end the default's sooner."""
    few = [replace(r, iters_asked=asked) for r in records_of(make_record, iters=10)]
    text = report(few, ladder("JPEG", 1.9)).verdict
    assert text.endswith("pictures. This is with 10 steps: the default effort, 40 steps, gains more.")
    enough = [replace(r, iters_asked=40) for r in few]
    assert "default effort" not in report(enough, ladder("JPEG", 1.9)).verdict


def test_one_quality_is_judged_by_what_it_saves(make_record: Any) -> None:
    records = records_of(make_record, qualities=[4])
    text = report(records, [*ladder("JPEG", 1.9), *ladder("WebP", 1.0, more=500.0)]).verdict
    assert text == (
        "At equal SSIMULACRA 2, refined files are 50 % smaller than JPEG's (50 to 50) on these 3 pictures. Against "
        "WebP's there is no figure: their curves do not reach it, or fall."
    )


def test_pictures_are_counted_where_codecs_have_different_ones(make_record: Any) -> None:
    text = report(records_of(make_record), [*ladder("JPEG", 1.9), *ladder("WebP", 0.95, images="ab")]).verdict
    assert (
        "as large as WebP's (too few to be sure) on 2 pictures and 50 % smaller than JPEG's (50 to 50) on 3 pictures."
        in text
    )


def test_plain_files_are_what_is_left_to_compare_with(make_record: Any) -> None:
    text = report(records_of(make_record)).verdict
    assert text == "At equal SSIMULACRA 2, refined files are 5 % smaller than plain ones (5 to 5) on these 3 pictures."
    plain = records_of(make_record, saved=0.0, iters=0)
    assert report(plain).verdict == "" == report([]).verdict
    assert report(plain, ladder("JPEG", 2.0)).verdict == (
        "At equal SSIMULACRA 2, plain files are 50 % smaller than JPEG's (50 to 50) on these 3 pictures. This is with "
        "no refinement: the default effort, 40 steps, gains more."
    )
