"""A report's sentences and tables: what is noted, what Markdown and CSV say, never a NaN."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from jobs.comparing.anchors import load_anchors
from jobs.comparing.build import build_report
from jobs.comparing.classical import ClassicalRecord
from jobs.comparing.export import as_csv, as_markdown
from jobs.comparing.notes import Remark, merged
from jobs.comparing.report import Report

QUALITIES = (1, 3, 5, 7)


def jpeg(image: str, step: int, psnr_db: float | None = None, error: str | None = None) -> ClassicalRecord:
    if error:
        return ClassicalRecord(image, image, "JPEG", f"quality {step}", "", error=error)
    return ClassicalRecord(
        image, image, "JPEG", f"quality {step}", "", 900, 0.3 * step, psnr_db, None, 20.0 * step, 0.1
    )


def report(records: list[Any], classical: Sequence[ClassicalRecord] = (), **options: Any) -> Report:
    anchors = options.get("anchors")
    return build_report(records, classical=list(classical), splits=[], anchors=anchors, notes=[], settings={})


@pytest.fixture
def records(make_record: Any) -> list[Any]:
    return [make_record(image, q) for image in ("a", "b", "c") for q in QUALITIES]


def test_curves_of_small_overlap_are_noted(records: list[Any]) -> None:
    curve = [jpeg(image, step, 33 + 2 * step) for image in "abc" for step in (1, 2, 3, 4)]  # ours: 27.5 to 36.5 dB
    notes = report(records, curve).notes
    assert any(n.startswith("refined and plain against JPEG: they share only 25 %") for n in notes)


def test_curves_apart_have_a_note_and_no_figure(records: list[Any]) -> None:
    found = report(records, [jpeg(image, step, 50 + step) for image in "abc" for step in (1, 2)])
    assert any(n.startswith("refined and plain against JPEG: the curves share no quality") for n in found.notes)
    assert "| JPEG (3) | - | - | - | 0, 0, 0 | none | - |" in as_markdown(found)


def test_a_codec_that_failed_on_a_picture_is_compared_on_the_others(records: list[Any]) -> None:
    curve = [jpeg(image, step, 25 + 3 * step) for image in "ab" for step in (1, 2, 3)]
    found = report(records, curve + [jpeg("c", step, error="refused") for step in (1, 2, 3)])
    assert found.averaged_over == ["a", "b"] and [f.image for f in found.failures] == ["c"]
    assert any("leave out" in n and n.endswith("c.") for n in found.notes)
    assert next(c for c in found.comparisons if c.anchor == "JPEG").left_out == ["c"]
    assert found.comparisons[0].images == ["a", "b", "c"]


def test_published_curves_are_compared_with_the_averages(records: list[Any]) -> None:
    found = report(records, anchors=load_anchors("kodak"))
    assert [p.codec for p in found.published] == ["plain", "refined"]
    assert found.published[1].delta.pchip_percent < found.published[0].delta.pchip_percent
    assert "| VTM-18.0 (lossy-vae), published |" in as_markdown(found)


def test_targets_give_each_picture_its_own_quality_and_no_curves(make_record: Any) -> None:
    found = report([make_record(f"{i}.png", 2 + i) for i in range(4)])
    assert [note for note in found.notes if "a quality of its own, as a target gives it" in note]
    assert not [note for note in found.notes if "could not encode" in note]


def test_markdown_has_the_outcome(records: list[Any]) -> None:
    text = as_markdown(report(records))
    row = "| plain (3) | -5.0 % (-5.0 %) | -5.00 to -5.00 | -5.0 % | 3, 0, 0 | 27.5 to 36.5 (100 %) |  |"
    assert row in text.splitlines()
    assert "| 3 | 3 |" in text and "5.00 % (3)" in text and "3 pictures are few" in text


def test_csv_leaves_out_what_failed_and_is_empty_where_there_is_no_figure(records: list[Any]) -> None:
    lines = as_csv(report(records, [jpeg("a", 1, None), jpeg("a", 2, 30.0)])).splitlines()
    assert lines[0] == "image,codec,setting,bytes,bpp,psnr_db,ms_ssim,ssimulacra2,butteraugli,seconds"
    assert len(lines) == 1 + 3 * 4 * 2 + 2
    assert "a,JPEG,quality 1,900,0.3,,,20.0,,0.1" in lines


def test_a_curve_of_several_efforts_is_noted(make_record: Any, records: list[Any]) -> None:
    notes = report([make_record("a", 1, iters=40), make_record("a", 3, iters=160)]).notes
    assert "Refined points are of different efforts: steps at each quality are 40 at 1, 160 at 3." in notes
    assert not [note for note in report(records).notes if "efforts" in note]


def test_pictures_of_a_lesser_effort_alone_are_left_out_aloud(make_record: Any) -> None:
    found = report([make_record("a", 1, iters=40), make_record("a", 1, iters=0), make_record("b", 1, iters=0)])
    assert [p.image for p in found.pictures] == ["a"]
    assert "Left out, as their files are of a lesser effort than the others': b." in found.notes


@pytest.mark.parametrize(("count", "note"), [(1, "prove little"), (2, "prove little"), (3, "pictures are few")])
def test_the_fewer_pictures_the_louder_the_note(make_record: Any, count: int, note: str) -> None:
    found = report([make_record(image, q) for image in "abc"[:count] for q in QUALITIES])
    assert [text for text in found.notes if note in text]
    assert f"| plain ({count}) |" in as_markdown(found)


def test_remarks_alike_on_one_codec_are_one_note() -> None:
    def remark(subject: str, metric: str, text: str = "too few", against: str = "against JPEG") -> Remark:
        return Remark(subject, against, metric, text)

    ours = [remark(codec, metric) for codec in ("refined", "plain") for metric in ("PSNR", "MS-SSIM", "Butteraugli")]
    assert merged(ours) == ["refined and plain against JPEG on PSNR, MS-SSIM and Butteraugli: too few."]
    assert merged(ours[:-2]) == ["refined (PSNR, MS-SSIM and Butteraugli) and plain (PSNR) against JPEG: too few."]
    assert merged(ours[:1]) == ["refined against JPEG: too few."]
    others = [remark("refined", "PSNR", against="against WebP"), remark("refined", "PSNR", "they part")]
    assert len(merged([*ours, *others])) == 3 and merged([]) == []


def test_pictures_with_exact_blocks_are_told_from_photographs(make_record: Any) -> None:
    records = [make_record(image, q) for image in "abc" for q in QUALITIES]
    assert not any("stored exactly" in note for note in report(records).notes)
    drawn = [replace(r, outcome=replace(r.outcome, exact_blocks=2 * (r.input != "a"))) for r in records]
    [note] = [note for note in report(drawn).notes if "stored exactly" in note]
    assert note.startswith("Blocks of b, c are stored exactly, as those of screenshots, drawings and logos: ")


def test_each_row_counts_its_own_pictures(records: list[Any]) -> None:
    exact = [jpeg("a", quality, None if quality == 2 else 30.0 + quality) for quality in (1, 2)]
    others = [jpeg(image, quality, 30.0 + quality) for image in ("b", "c") for quality in (1, 2)]
    found = report(records, [*exact, *others])
    rows = as_markdown(found).partition("BD-rate on MS-SSIM")[0].splitlines()
    assert [row.split(" |")[0] for row in rows if row.startswith(("| plain (", "| JPEG ("))] == [
        "| plain (3)",
        "| JPEG (2)",
    ]
    assert any("or encoded exactly, at some setting: a." in note for note in found.notes)


def test_each_pictures_gain_has_the_key_that_the_page_asks_for(make_record: Any) -> None:
    """The page looks up qualities as JavaScript writes numbers."""
    found = report([make_record("a", quality) for quality in (2.0, 2.75, 4.12353515625)])
    assert list(found.pictures[0].gain_percent) == ["2", "2.75", "4.12353515625"]
    assert [repr(q.quality).removesuffix(".0") for q in found.qualities] == list(found.pictures[0].seconds)


def test_names_are_no_markup_no_formulas_and_no_orders_for_the_terminal(make_record: Any) -> None:
    odd = "=a<b>|\x1b[2J\udcff.png"
    found = report([make_record(odd, q) for q in (1, 3)], [jpeg("b", 1, error="refused")])
    text = replace(found, notes=[f"{odd} is left out."])
    assert as_markdown(text).splitlines()[-1] == "- =a&lt;b>\\|\\x1b[2J\\udcff.png is left out."
    assert as_csv(found).splitlines()[1].startswith("'=a<b>|\\x1b[2J\\udcff.png,")


def test_exact_files_and_zero_steps_leave_no_nan(make_record: Any) -> None:
    one = make_record("a", 4, saved=0.0, iters=0)
    plain, refined = (replace(score, psnr_db=None) for score in (one.outcome.plain, one.outcome.refined))
    exact = replace(one, outcome=replace(one.outcome, plain=plain, refined=refined))
    for records in ([exact], [], [replace(one, status="failed", outcome=None, error="x")]):
        found = report(records)
        assert "NaN" not in found.to_json() and json.loads(found.to_json())["schema"] == "rdo-report-1"
        assert as_markdown(found).strip() and as_csv(found)
