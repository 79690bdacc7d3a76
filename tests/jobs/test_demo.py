"""`rdo-demo`: a report from photographs that a package brings, or from drawings where it is missing."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.demo import DRAWINGS, HEIGHT, PHOTOGRAPHS, WIDTH, main, save_pictures

QUICK = ["--iters", "1", "--qualities", "3,6"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the demo have one small picture of each kind, and one setting of one classical codec."""
    from jobs.comparing import ladders

    monkeypatch.setattr("jobs.demo.PHOTOGRAPHS", PHOTOGRAPHS[:1])
    monkeypatch.setattr("jobs.demo.DRAWINGS", DRAWINGS[:1])
    monkeypatch.setattr("jobs.demo.WIDTH", 96)
    monkeypatch.setattr("jobs.demo.HEIGHT", 64)
    for name, ladder in ladders.LADDERS.items():
        monkeypatch.setitem(ladders.LADDERS, name, ladder._replace(values=ladder.values[2:4]))


def report() -> dict:
    assert Path("rdo-demo/report.html").stat().st_size > 50_000
    return json.loads(Path("rdo-demo/report.json").read_text())


@pytest.mark.usefixtures("small")
def test_the_demo_ends_in_a_report_for_the_eye(model: str, folder: Path) -> None:
    pytest.importorskip("skimage", reason="the extra `demo` brings it")
    assert main(["--model", model, *QUICK]) == 0
    found = report()
    assert [(p["width"], p["height"]) for p in found["pictures"]] == [(96, 64)]
    command = "rdo-compare rdo-demo/photographs -o rdo-demo --tune visual --iters 1 --pictures 1 --codecs jpeg"
    assert found["settings"]["command"].startswith(command)
    codecs = {c["codec"] for c in found["curves"]}
    assert {"JPEG", "WebP", "AVIF tune=iq"} <= codecs and not codecs & {"AVIF tune=psnr", "JPEG 2000", "HEIC"}
    assert any("the demo leaves out AVIF tune=ssim" in note for note in found["notes"])


@pytest.mark.usefixtures("small")
def test_without_scikit_image_pictures_are_drawn(
    model: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = list[Path]()
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setattr("jobs.cli.open_file", opened.append)
    assert main(["--model", model, *QUICK, "--tune", "mse", "--open"]) == 0
    assert 'pip install ".[demo]"' in capsys.readouterr().err
    found = report()
    assert [p["image"] for p in found["pictures"]] == ["rdo-demo/drawings/noon.png"]
    codecs = {c["codec"] for c in found["curves"]}
    assert "AVIF tune=psnr" in codecs and "AVIF tune=iq" not in codecs
    assert opened == [Path("rdo-demo/report.html")]


def test_photographs_are_the_middles(folder: Path) -> None:
    data = pytest.importorskip("skimage.data", reason="the extra `demo` brings it")
    found = save_pictures(folder)
    assert found.name == "photographs" and {p.stem for p in found.iterdir()} == set(PHOTOGRAPHS)
    with Image.open(found / "coffee.png") as image:
        shown = np.asarray(image)
    middle = data.coffee()[72 : 72 + HEIGHT, 108 : 108 + WIDTH]  # of 600 x 400
    assert np.array_equal(shown, middle)
