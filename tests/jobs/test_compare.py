"""`rdo-compare`: from a folder, from finished records, and from what goes wrong."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jobs.comparing.classical
import jobs.comparing.measurements
from codec.bitstream.container import unpack
from codec.images.read import read_image
from jobs.cli import numbers
from jobs.compare import main
from jobs.comparing.anchors import AnchorCurve, AnchorSet, pixels_hash
from jobs.comparing.ladders import LADDERS
from jobs.comparing.views import choose_records
from jobs.running.refine_settings import RefineFlags

LADDER = ("--qualities", "2,5,8", "--iters", 2, "--codecs", "jpeg,webp", "--pictures", 1)


def report(folder: str = "rdo-compare") -> Any:
    return json.loads(Path(folder, "report.json").read_text())


@pytest.fixture
def photos(save_photo: Any) -> str:
    for index, name in enumerate("abc"):
        save_photo(f"in/{name}.png", 48, 64, seed=index)
    return "in"


def test_a_folder_becomes_a_report_from_real_files(photos: str, rdo_compare: Any, capsys: Any) -> None:
    assert rdo_compare(*LADDER, photos) == 0
    found, table = report(), capsys.readouterr().out
    assert [c["codec"] for c in found["curves"]] == ["plain", "refined", "JPEG", "WebP"]
    assert found["averaged_over"] == ["in/a.png", "in/b.png", "in/c.png"]
    for quality in (2, 5, 8):
        for name in "abc":
            data = Path(f"rdo-compare/q{quality}-i2/{name}.png.rdo").read_bytes()
            assert unpack(data)[0].quality == quality
            refined = next(c for c in found["curves"] if c["codec"] == "refined")
            at = refined["settings"].index(f"quality {quality}")
            assert refined["points"][f"in/{name}.png"][at][4] == len(data)
    assert found["comparisons"][0]["codec"] == "refined" and found["comparisons"][0]["anchor"] == "plain"
    assert found["settings"]["command"].startswith("rdo-compare --model") and "subsampling" in found["settings"]["JPEG"]
    assert found["versions"]["torch"] and found["failures"] == [] and "| plain |" in table
    assert Path("rdo-compare/report.md").read_text() == table
    with open("rdo-compare/report.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * (3 + 3 + 7 + 8) and {r["image"] for r in rows} == {"in/a.png", "in/b.png", "in/c.png"}
    assert all(float(r["bpp"]) == pytest.approx(8 * int(r["bytes"]) / (48 * 64)) for r in rows)


def test_bits_add_up_to_the_file(photos: str, rdo_compare: Any) -> None:
    assert rdo_compare(*LADDER, photos) == 0
    splits = report()["splits"]
    assert len(splits) == 9
    for s in splits:
        for side in ("plain", "refined"):
            estimate = s[f"{side}_y_bytes_est"] + s[f"{side}_z_bytes_est"]
            assert 0 < s[f"{side}_bytes"] - estimate < 0.1 * estimate + 40


def test_a_second_run_encodes_nothing(
    photos: str, rdo_compare: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert rdo_compare(*LADDER, photos) == 0
    first, told = report(), capsys.readouterr()
    assert "9 files to encode, of 3 pictures, each with 3 qualities and steps; then classical codecs" in told.err
    assert first["settings"]["exact blocks"].startswith("none, ")
    assert told.out.startswith(first["verdict"]) and "This is with 2 steps: the default" in first["verdict"]
    for module, name in (
        (jobs.comparing.classical, "encode_setting"),
        (jobs.comparing.measurements, "measure_split"),
        (jobs.comparing.measurements, "make_view"),
    ):
        monkeypatch.setattr(module, name, None)
    before = {p: p.stat().st_mtime_ns for p in Path("rdo-compare").rglob("*.rdo")}
    assert rdo_compare(*LADDER, photos) == 0
    assert {p: p.stat().st_mtime_ns for p in Path("rdo-compare").rglob("*.rdo")} == before
    assert report() == first and "files to encode" not in capsys.readouterr().err


def test_records_of_a_finished_run_are_reported_where_they_lie(photos: str, rdo_encode: Any, rdo_compare: Any) -> None:
    for quality in (3, 6):
        assert rdo_encode("--iters", 1, "--quality", quality, "-o", f"out/{quality}", photos) == 0
    assert rdo_compare("--records", "out", "--pictures", 1) == 0
    found = report("out")
    assert [c["codec"] for c in found["curves"]] == ["plain", "refined"] and len(found["splits"]) == 1
    assert rdo_compare("--records", "out/3/results.jsonl", "out/6/results.jsonl", "--codecs", "jpeg", "-o", "new") == 0
    assert [c["codec"] for c in report("new")["curves"]] == ["plain", "refined", "JPEG"]


def test_efforts_are_points_of_gain_against_time(photos: str, rdo_compare: Any) -> None:
    assert rdo_compare("--qualities", "3,6", "--iters", "0,2", "--codecs", "none", "--pictures", 0, photos) == 0
    found = report()
    assert [(e["quality"], e["iters"]) for e in found["efforts"]] == [(3, 0), (6, 0), (3, 2), (6, 2)]
    assert found["iters"] == 2


@pytest.mark.usefixtures("one_start")
def test_plain_encoding_has_more_qualities_where_asked_for(photos: str, rdo_compare: Any) -> None:
    flags = ("--qualities", "3,6", "--plain-qualities", "2,3,7", "--iters", 1, "--codecs", "none", "--pictures", 0)
    assert rdo_compare(*flags, photos) == 0
    plain, refined = report()["curves"]
    assert plain["settings"] == [f"quality {q}" for q in (2, 3, 6, 7)]
    assert refined["settings"] == ["quality 3", "quality 6"]
    assert [q["quality"] for q in report()["qualities"]] == [3, 6]


def test_pictures_of_a_known_set_bring_their_published_curves(
    photos: str, rdo_compare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codec.networks.lapped.CORRECTION_MAX", float("inf"))  # within it, untrained curves fall more
    hashes = {pixels_hash(read_image(Path(f"in/{name}.png"))): name for name in "abc"}
    curves = {"VTM": AnchorCurve("traditional", "a paper", (0.1, 1.0, 20.0), (5.0, 30.0, 60.0))}
    own = AnchorSet("own", "Own", "note", "VTM", ("VTM",), {**hashes, "else": "d"}, curves)
    monkeypatch.setattr("jobs.comparing.anchors.installed_anchors", lambda: {"own": Path()})
    monkeypatch.setattr("jobs.comparing.anchors.load_anchors", lambda name: own)
    assert rdo_compare(*LADDER, photos) == 0
    found = report()
    assert found["anchors"]["title"] == "Own" and [p["codec"] for p in found["published"]][:2] == ["plain", "refined"]
    plain, refined = (p["delta"] for p in found["published"][:2])
    assert (refined["pchip_percent"] is None) == bool(refined["reason"])
    assert "plain is not monotone" in plain["reason"], "the plain curve of an untrained codec falls"
    assert any("3 of the 4 pictures of Own" in note for note in found["notes"])
    assert rdo_compare(*LADDER, "--anchors", "own", photos) == 0
    assert any("3 of the 4 pictures of Own" in note for note in report()["notes"])
    assert rdo_compare(*LADDER, "--anchors", "none", photos) == 0
    assert report()["anchors"] is None and not any("pictures of Own" in note for note in report()["notes"])

    stranger = replace(own, name="other", title="Others")
    monkeypatch.setattr("jobs.comparing.anchors.load_anchors", lambda name: stranger if name == "other" else own)
    assert rdo_compare(*LADDER, "--anchors", "other", photos) == 0
    assert any("of Others, and these are not known to be its pictures" in note for note in report()["notes"])


def test_a_picture_that_needs_a_decision_is_of_the_same_run(photos: str, rdo_compare: Any) -> None:
    from PIL import Image

    Image.fromarray(np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 20).save("in/deep.png")
    flags = ("--depth", 8, "--qualities", "2,4", "--iters", 1, "--codecs", "none", "--pictures", 0)
    assert rdo_compare(*flags, photos) == 0
    found = report()
    assert len(found["averaged_over"]) == 4 and not any("lesser effort" in note for note in found["notes"])


# What goes wrong


def test_a_picture_that_fails_is_named_and_the_rest_reported(photos: str, rdo_compare: Any, folder: Path) -> None:
    (folder / "in/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    assert rdo_compare(*LADDER, photos) == 1
    found = report()
    assert {f["image"] for f in found["failures"]} == {"in/broken.png"} and len(found["averaged_over"]) == 3


def test_nothing_but_failures_is_still_a_report(rdo_compare: Any, folder: Path) -> None:
    (folder / "in").mkdir()
    (folder / "in/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    assert rdo_compare(*LADDER, "in") == 1
    assert report()["curves"] == [] and "nothing to compare" in report()["notes"][0]


def test_one_quality_says_what_it_cannot_have(photos: str, rdo_compare: Any) -> None:
    assert rdo_compare("--qualities", 4, "--iters", 1, "--codecs", "jpeg", "--pictures", 1, photos) == 0
    found = report()
    assert found["comparisons"][0]["averaged"]["pchip_percent"] is None
    assert any("One quality only" in note for note in found["notes"])
    assert found["qualities"][0]["gain_percent"] >= 0


def test_one_picture_of_one_colour_has_no_curve(rdo_compare: Any, folder: Path) -> None:
    from PIL import Image

    Image.new("RGB", (40, 24), (9, 90, 200)).save("flat.png")
    assert rdo_compare("--qualities", "3,6", "--iters", 1, "--codecs", "jpeg,webp", "flat.png") == 0
    assert "NaN" not in Path("rdo-compare/report.json").read_text()


def test_pictures_of_different_sizes_are_noted(photos: str, save_photo: Any, rdo_compare: Any) -> None:
    save_photo("in/d.png", 20, 30)
    assert rdo_compare("--qualities", "3,6", "--iters", 0, "--codecs", "none", photos) == 0
    assert any("differ in size" in note for note in report()["notes"])


def test_a_missing_codec_is_noted(photos: str, rdo_compare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JPEG XL effort 7", "JPEG XL effort 9"):
        monkeypatch.setitem(LADDERS, name, LADDERS[name]._replace(plugin="no_such_module"))
    assert rdo_compare("--qualities", "3,6", "--iters", 0, "--codecs", "jpegxl", photos) == 0
    assert any("JPEG XL is left out: not installed" in note for note in report()["notes"])


def test_files_that_moved_away_are_noted(photos: str, rdo_encode: Any, rdo_compare: Any, other_model: str) -> None:
    assert rdo_encode("--iters", 0, photos) == 0
    assert main(["--model", other_model, "--records", "rdo-out"]) == 0
    assert any("records are of model tiny" in note for note in report("rdo-out")["notes"])
    Path("in").rename("elsewhere")
    assert rdo_compare("--records", "rdo-out", "--codecs", "jpeg") == 0
    assert any("No pictures to look at" in note for note in report("rdo-out")["notes"])
    assert any("Classical codecs did not get in/a.png" in note for note in report("rdo-out")["notes"])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "name pictures or folders"),
        (["in", "--records", "x"], "not both"),
        (["in", "--qualities", "a"], "numbers between commas"),
        (["in", "--qualities", "9"], "between 1"),
        (["in", "--iters", "1.5"], "whole"),
        (["in", "--effort", "3", "--config", "my.yaml"], "--config and --effort"),
        (["in", "--codecs", "jpg"], "jpeg2000"),
        (["in", "--anchors", "kodac"], "kodak"),
        (["--records", "missing.jsonl"], "no records"),
        (["missing"], "no such file"),
    ],
)
def test_bad_arguments_are_one_line(photos: str, rdo_compare: Any, capsys: Any, arguments: Any, text: str) -> None:
    assert rdo_compare(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 1 and text in lines[-1]


def test_numbers_are_sorted_and_each_once() -> None:
    assert numbers("8,2,2,4.5", "--qualities") == [2, 4.5, 8]


def test_pictures_are_spread_from_most_gain_to_least(make_record: Any) -> None:
    records = [make_record(f"{i}.png", q, saved=i / 100) for i in range(9) for q in (2, 4, 6)]
    assert [r.input for r in choose_records(records, 3)] == ["8.png", "4.png", "0.png"]
    assert {r.quality for r in choose_records(records, 3)} == {4} and choose_records(
        records, 0
    ) == [] == choose_records([], 3)
    assert len(choose_records(records, 50)) == 9


def test_classical_points_of_a_finished_run_are_of_its_pictures(
    save_photo: Any, rdo_encode: Any, rdo_compare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sizes() -> dict[str, list[int]]:
        curve = next((c for c in report("rdo-out")["curves"] if c["codec"] == "JPEG"), {"points": {}})
        return {image: [point[4] for point in row] for image, row in curve["points"].items()}

    save_photo("in/a.png", 48, 64, seed=1)
    assert rdo_encode("--iters", 0, "in") == rdo_compare("--records", "rdo-out", "--codecs", "jpeg") == 0
    first = sizes()
    save_photo("in/a.png", 48, 64, seed=2)
    assert rdo_encode("--iters", 0, "in") == rdo_compare("--records", "rdo-out") == 0
    assert sizes() == {}, "they were of the picture that was there before"
    Path("in/a.png").rename("in/b.png")
    Path("rdo-out/a.png.rdo").unlink()
    save_photo("in/b.png", 48, 64, seed=1)
    assert rdo_encode("--iters", 0, "-o", "again", "in") == 0
    Path("again/classical.jsonl").write_bytes(Path("rdo-out/classical.jsonl").read_bytes())
    assert rdo_compare("--records", "again") == 0
    curve = next(c for c in report("again")["curves"] if c["codec"] == "JPEG")
    assert [point[4] for point in curve["points"]["in/b.png"]] == first["in/a.png"]


def test_an_effort_is_a_preset() -> None:
    from jobs.compare import build_parser
    from jobs.comparing.run import parse_recipes
    from rdo import effort

    flags = RefineFlags(effort=3)
    assert parse_recipes(None, flags, "small") == (effort(3),)
    assert [recipe.iters for recipe in parse_recipes("10,20", RefineFlags(), "small")] == [10, 20]
    assert build_parser().parse_args(["--effort", "3", "in"]).effort == 3
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--effort", "3", "--iters", "10", "in"])
