"""`rdo-bench refine`: a row for each way, from files, resumed, and refusals."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jobs import bench


@pytest.fixture
def rdo_bench(model: str, save_photo, capsys) -> Any:
    save_photo("in/a.png", 70, 90)
    save_photo("in/b.png", 64, 64, seed=1)

    def run(*flags: object) -> tuple[int, list[dict[str, Any]]]:
        capsys.readouterr()
        status = bench.main(["refine", "in", "--model", model, "--json", *map(str, flags)])
        return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def test_a_row_for_each_way_from_written_files(rdo_bench) -> None:
    flags = ("--methods", "rdoq,ste", "--iters", "2,4", "--qualities", "3,5")
    status, rows = rdo_bench(*flags)
    assert status == 0 and len(rows) == 8
    assert {(r["name"], r["iters"], r["quality"]) for r in rows} == {
        (m, n, q) for m in ("rdoq", "ste") for n in (2, 4) for q in (3.0, 5.0)
    }
    for row in rows:
        found = Path("rdo-bench", f"q{row['quality']:g}", f"{row['name']}-i{row['iters']}", "results.jsonl")
        gains = [json.loads(text)["gain_percent"] for text in found.read_text().splitlines()]
        assert row["gain_percent"] == pytest.approx(sum(gains) / 2) and row["pictures"] == 2
        assert 0 < row["step_seconds"] <= row["seconds"]
    assert rdo_bench(*flags) == (0, rows)  # nothing is encoded again, nothing changes


def test_a_plot_has_a_line_for_each_way_and_quality(rdo_bench) -> None:
    pytest.importorskip("matplotlib", reason="the extra `plot` brings it")
    flags = ("--methods", "rdoq,ste", "--iters", "1,2", "--qualities", "3,5")
    assert rdo_bench(*flags, "--plot", "front.svg")[0] == 0
    svg = Path("front.svg").read_text()
    assert all(f">{method}, quality {quality}</text>" in svg for method in ("rdoq", "ste") for quality in (3, 5))


def test_a_picture_that_is_refused_is_one_failure(rdo_bench, folder: Path, capsys) -> None:
    Image.new("RGBA", (100, 100), (1, 2, 3, 4)).save("in/largest.png")
    flags = ("--methods", "rdoq", "--iters", 2, "--qualities", 4)
    status, (row,) = rdo_bench(*flags)
    assert status == 1 and row["pictures"] == 2
    status, (row,) = rdo_bench(*flags, "--alpha", "blend")
    assert status == 0 and row["pictures"] == 3


def test_one_setting_is_varied(rdo_bench) -> None:
    _, rows = rdo_bench("--methods", "rdoq", "--iters", 2, "--qualities", 4, "--vary", "heat=0,2")
    assert [row["name"] for row in rows] == ["rdoq-heat0", "rdoq-heat2"]


def test_a_yaml_is_a_method(rdo_bench) -> None:
    Path("mine.yaml").write_text("method: sga\nlr_y: 0.1\n")
    _, rows = rdo_bench("--methods", "mine.yaml", "--iters", 3, "--qualities", 4)
    assert [(row["name"], row["iters"]) for row in rows] == [("mine", 3)]


def test_pictures_of_one_shape_go_together(rdo_bench, save_photo) -> None:
    save_photo("in/c.png", 64, 64, seed=2)
    flags = ("--methods", "rdoq", "--iters", 4, "--qualities", 4)
    (alone,), (together,) = rdo_bench(*flags)[1], rdo_bench(*flags, "--batch", 2, "-o", "batched")[1]
    assert together["pictures"] == 3
    assert together["gain_percent"] == pytest.approx(alone["gain_percent"], abs=0.2)
    found = Path("batched/q4/rdoq-i4/results.jsonl").read_text().splitlines()
    shares = {json.loads(text)["input"]: json.loads(text)["refine_seconds"] for text in found}
    assert shares["in/b.png"] == shares["in/c.png"] != shares["in/a.png"]  # evenly


@pytest.mark.parametrize(
    "flags",
    [
        ("--methods", "nonesuch"),
        ("--vary", "heat"),
        ("--vary", "hat=1"),
        ("--iters", "1.5"),
        ("--iters", "0"),
        ("--methods", "rdoq,sga,rdoq"),
        ("--iters", "inf"),
        ("--qualities", "x"),
        ("--qualities", "9"),
    ],
)
def test_nonsense_is_a_usage_error(rdo_bench, flags: tuple[str, str]) -> None:
    assert rdo_bench(*flags)[0] == 2
