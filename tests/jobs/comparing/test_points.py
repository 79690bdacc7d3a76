"""Records of any origin as curves: efforts, settings, averages over the same pictures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codec.errors import ConfigError
from jobs.comparing.classical import ClassicalRecord
from jobs.comparing.points import complete_images, group_by_effort, load_records, series_of
from jobs.record import append_record


def jpeg(image: str, quality: int, bpp: float, psnr_db: float | None) -> ClassicalRecord:
    return ClassicalRecord(
        image, image, "JPEG", f"quality {quality}", "", int(bpp * 1000), bpp, psnr_db, 0.9, 50.0 * bpp, 0.1
    )


def test_a_series_has_an_entry_for_each_setting(make_record: Any) -> None:
    records = [make_record("a.png", 2), make_record("a.png", 6), make_record("b.png", 6)]
    series = series_of(records, [jpeg("a.png", 10, 0.3, 28.0), jpeg("b.png", 10, 0.5, 27.0)])
    assert list(series) == ["plain", "refined", "JPEG"]
    assert series["plain"].settings == ("quality 2", "quality 6")
    assert [p is None for p in series["plain"].points["b.png"]] == [True, False]
    assert complete_images(series["plain"]) == ["a.png"] and complete_images(series["JPEG"]) == ["a.png", "b.png"]
    means = series["JPEG"].means(["a.png", "b.png"])
    assert means.bpp == pytest.approx([0.4]) and means.psnr_db == pytest.approx([27.5]) and means.ms_ssim == [0.9]
    assert means.ssimulacra2 == pytest.approx([20.0])


def test_plain_encoding_may_have_more_qualities_than_refinement(make_record: Any) -> None:
    refined, plain = [make_record("a.png", 4)], [make_record("a.png", q, iters=0) for q in (2, 6)]
    series = series_of(refined, [], plain=[*plain, *refined])
    assert series["plain"].settings == ("quality 2", "quality 4", "quality 6")
    assert series["refined"].settings == ("quality 4",)
    assert [p.bytes for p in series["refined"].points["a.png"]] == [refined[0].outcome.refined.bytes]


def test_butteraugli_is_averaged_in_decibels() -> None:
    jpegs = [replace(jpeg(image, 10, 0.3, 28.0), butteraugli=norm) for image, norm in (("a.png", 1.0), ("b.png", 10.0))]
    assert series_of([], jpegs)["JPEG"].means(["a.png", "b.png"]).butteraugli_db == [pytest.approx(-10.0)]


def test_a_picture_without_a_score_leaves_the_average_without_one(make_record: Any) -> None:
    jpegs = [jpeg("a.png", 10, 0.3, 28.0), replace(jpeg("b.png", 10, 0.5, 27.0), ssimulacra2=None, ms_ssim=None)]
    means = series_of([], jpegs)["JPEG"].means(["a.png", "b.png"])
    assert means.psnr_db == pytest.approx([27.5]) and means.ms_ssim == means.ssimulacra2 == [None]


def test_an_exact_picture_is_in_no_average(make_record: Any) -> None:
    series = series_of([make_record("a.png", 2)], [jpeg("a.png", 10, 3.0, None), jpeg("a.png", 5, 1.0, 40.0)])
    assert series["JPEG"].complete() == set()
    assert np.array_equal(series["JPEG"].curve("a.png")[1], [40.0])


def test_efforts_are_ranked_within_each_quality(make_record: Any) -> None:
    records = [make_record("a.png", q, iters=i) for q, i in ((2, 10), (2, 50), (4, 48), (4, 11), (6, 50))]
    ranked = group_by_effort(records)
    assert [[(r.quality, r.outcome.iters) for r in group] for group in ranked] == [
        [(2, 10), (4, 11)],
        [(2, 50), (4, 48), (6, 50)],
    ]


def test_records_come_from_files_and_folders(make_record: Any, folder: Path) -> None:
    failed = replace(make_record("b.png", 2), status="failed", error="broken", outcome=None)
    for name, records in {"x": [make_record("a.png", 2)], "y/z": [make_record("a.png", 4), failed]}.items():
        Path(name).mkdir(parents=True)
        for record in records:
            append_record(Path(name) / "results.jsonl", record)
    assert len(load_records(["x/results.jsonl", "y"])) == 3
    append_record(Path("x/results.jsonl"), replace(make_record("b.png", 2)))
    found = {r.input: r for r in load_records(["y", "x"])}
    assert found["b.png"].status == "done"


def test_what_was_replaced_or_mended_later_does_not_count(make_record: Any, folder: Path) -> None:
    first = replace(make_record("a.png", 2), output="out/a.rdo")
    lost = replace(first, status="failed", error="its worker died", config_hash=None, outcome=None)
    other = replace(first, model_id="beef", config_hash="other")
    for record in (lost, first, lost, other):
        append_record(Path("results.jsonl"), record)
    assert load_records(["results.jsonl"]) == [other]


def test_pictures_and_files_are_told_apart_by_where_they_are(make_record: Any, folder: Path) -> None:
    """One file written from two folders counts once; two pictures of one name twice."""
    once = replace(make_record("photos/a.png", 2), output="out/a.rdo", cwd=str(folder))
    again = replace(make_record("a.png", 6), output="../out/a.rdo", cwd=str(folder / "photos"))
    (folder / "photos").mkdir()
    for record in (once, again):
        append_record(Path("results.jsonl"), record)
    assert [r.quality for r in load_records(["results.jsonl"])] == [6]

    for trip in ("x", "y"):
        Path(trip).mkdir()
        record = replace(make_record("photos/a.png", 2), output="out/a.rdo", cwd=str(folder / trip))
        append_record(Path(trip) / "results.jsonl", record)
    found = load_records(["x", "y"])
    assert [r.input for r in found] == [str(folder.resolve() / trip / "photos" / "a.png") for trip in ("x", "y")]
    assert set(series_of(found, [])["plain"].points) == {r.input for r in found}


def test_records_of_two_models_are_refused(make_record: Any, folder: Path) -> None:
    records = make_record("a.png", 2), replace(make_record("a.png", 4), model_id="beef")
    for i, record in enumerate(records):
        append_record(Path("results.jsonl"), replace(record, output=f"{i}.rdo"))
    with pytest.raises(ConfigError, match="2 models"):
        load_records(["results.jsonl"])


@pytest.mark.parametrize("name", ["missing.jsonl", "empty"])
def test_a_name_without_records_is_refused(name: str, folder: Path) -> None:
    Path("empty").mkdir()
    with pytest.raises(ConfigError, match="no records"):
        load_records([name])
