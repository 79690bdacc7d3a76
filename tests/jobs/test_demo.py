"""`rdo-demo`: a report from photographs that a package brings, or a plain word that it is missing."""

import json
import sys
from pathlib import Path

import pytest

from jobs.demo import HEIGHT, NAMES, WIDTH, main, save_photographs


def test_the_demo_ends_in_a_report(model: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("skimage", reason="the extra `demo` brings it")
    monkeypatch.setattr("jobs.demo.NAMES", NAMES[:1])
    assert main(["--model", model, "--iters", "1", "--qualities", "3,6"]) == 0
    found = json.loads(Path("rdo-demo/report.json").read_text())
    assert [(p["width"], p["height"]) for p in found["pictures"]] == [(WIDTH, HEIGHT)]
    command = "rdo-compare rdo-demo/pictures -o rdo-demo --iters 1 --pictures 1 --qualities 3,6 --model"
    assert found["settings"]["command"].startswith(command)
    assert "JPEG" in {c["codec"] for c in found["curves"]} and Path("rdo-demo/report.html").stat().st_size > 50_000


def test_photographs_are_the_middles(folder: Path) -> None:
    pytest.importorskip("skimage", reason="the extra `demo` brings it")
    save_photographs(folder / "p")
    assert {p.stem for p in (folder / "p").iterdir()} == set(NAMES)


def test_without_the_package_it_says_what_to_install(
    model: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert main(["--model", model]) == 2
    assert 'pip install ".[demo]"' in capsys.readouterr().err
