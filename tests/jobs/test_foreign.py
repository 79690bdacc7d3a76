"""CompressAI's models from the command line: encoded, decoded, looked into and compared."""

import json
from pathlib import Path

import pytest
import torch

from codec.images.formats import write_png
from codec.images.pixels import Pixels
from codec.images.read import read_image
from jobs import compare, decode, encode, info
from jobs.comparing import LADDER


@pytest.fixture(scope="module")
def model(make_zoo_codec, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("weights") / "mean.pth.tar"
    torch.save(make_zoo_codec("mbt2018-mean").model.state_dict(), path)
    return f"compressai:mbt2018-mean:3:{path}"


@pytest.fixture(scope="module")
def variable(make_zoo_codec, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("weights") / "variable.pth.tar"
    torch.save(make_zoo_codec("mbt2018-mean-vbr", step_varies=True).model.state_dict(), path)
    return f"compressai:mbt2018-mean-vbr:{path}"


@pytest.fixture
def photos(photo, tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for seed in (1, 2):
        (tmp_path / "photos" / f"{seed}.png").write_bytes(write_png(Pixels(photo(70, 90, seed), grey=False)))
    return tmp_path / "photos"


def test_files_are_verified_decoded_and_explained(model, photos, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert encode.main(["--model", model, "--exact", "never", "--iters", "6", "-o", str(out), str(photos)]) == 0
    records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [r["verified"] for r in records] == [True, True]
    assert {(r["model"], r["quality"], r["lmbda"]) for r in records} == {("compressai:mbt2018-mean:3", 3.0, 0.0067)}
    for record in records:
        assert record["refined"]["bytes"] == Path(record["output"]).stat().st_size
        assert record["gain_percent"] >= 0
    assert decode.main(["--model", model, "-o", str(tmp_path / "back"), str(out)]) == 0
    assert len([read_image(path) for path in (tmp_path / "back").rglob("*.png")]) == 2
    capsys.readouterr()
    assert info.main(["--model", model, "--json", str(out / "1.png.rdo")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "compressai:mbt2018-mean:3" and found["z_bytes_est"] > 0
    assert info.main([str(out / "1.png.rdo")]) == 0
    assert "another model" in capsys.readouterr().out


def test_any_quality_of_a_variable_rate(variable, photos, tmp_path: Path, capsys) -> None:
    sizes = []
    for quality in ("1.5", "4", "7.25"):
        out = tmp_path / quality
        assert (
            encode.main(["--model", variable, "--iters", "3", "--quality", quality, "-o", str(out), str(photos)]) == 0
        )
        records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
        assert [r["verified"] for r in records] == [True, True] and min(r["gain_percent"] for r in records) >= 0
        assert {(r["model"], r["quality"]) for r in records} == {("compressai:mbt2018-mean-vbr", float(quality))}
        sizes.append(sum(r["plain"]["bytes"] for r in records))
    assert sizes == sorted(sizes)
    assert decode.main(["--model", variable, "-o", str(tmp_path / "back"), str(tmp_path / "7.25")]) == 0
    capsys.readouterr()
    assert info.main(["--model", variable, "--json", str(tmp_path / "1.5" / "1.png.rdo")]) == 0
    assert json.loads(capsys.readouterr().out)["quality"] == 1.5


def test_a_target_is_taken_by_a_variable_rate(variable, photos, tmp_path: Path) -> None:
    """An untrained model has no order of sizes: so a ceiling above them all, which asks for the best quality."""
    line = ["--model", variable, "--iters", "0", "--target-bytes", "9999", "-o", str(tmp_path / "out"), str(photos)]
    assert encode.main(line) == 0
    records = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [(r["quality"], r["verified"]) for r in records] == [(8.0, True), (8.0, True)]


def test_a_second_run_does_nothing(model, photos, tmp_path: Path) -> None:
    line = ["--model", model, "--iters", "0", "-o", str(tmp_path / "out"), str(photos)]
    assert encode.main(line) == 0
    before = [path.stat().st_mtime_ns for path in sorted((tmp_path / "out").rglob("*.rdo"))]
    assert encode.main(line) == 0
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "out").rglob("*.rdo"))] == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--quality", "4"], "has quality 3 alone: leave --quality and targets out"),
        (["--target-bytes", "900"], "has quality 3 alone: leave --quality and targets out"),
        (["--memory-limit", "4"], "only our own models are refined in strips"),
    ],
)
def test_what_they_do_not_have_is_refused_before_anything_is_made(
    model, photos, tmp_path: Path, capsys, flags: list[str], message: str
) -> None:
    status = encode.main(["--model", model, *flags, "-o", str(tmp_path / "out"), str(photos)])
    assert status == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_compare_reports_on_the_one_quality(model, photos, tmp_path: Path, capsys) -> None:
    line = ["--model", model, "--iters", "4", "--codecs", "jpeg", "-o", str(tmp_path / "report"), str(photos)]
    assert compare.main(line) == 0
    shown = capsys.readouterr().out
    assert "One quality only" in shown and "has one quality" in shown
    assert (tmp_path / "report" / "report.html").is_file()


def test_compare_has_a_ladder_and_pictures_of_a_variable_rate(variable, photos, tmp_path: Path, capsys) -> None:
    line = ["--model", variable, "--iters", "2", "--codecs", "none", "--pictures", "1", str(photos)]
    assert compare.main([*line, "-o", str(tmp_path / "report")]) == 0
    shown = capsys.readouterr().out
    assert "One quality only" not in shown and "No pictures to look at" not in shown
    assert len([*(tmp_path / "report").rglob("results.jsonl")]) == len(LADDER)
