"""Classical codecs: their ladders rise, their figures are of real files, a second run does the rest only."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import jobs.comparing.classical
from codec.images.pixels import Pixels
from codec.images.read import STRICT
from codec.metrics.ssimulacra2 import ssimulacra2
from jobs.comparing.classical import ClassicalRecord, append_point, encode_ladders, read_points
from jobs.comparing.ladders import LADDERS
from jobs.comparing.measurements import encode_classical


def ladders(name: str, pixels: Pixels, codecs: list[str], done: dict[Any, ClassicalRecord]) -> list[ClassicalRecord]:
    return list(encode_ladders(name=name, pixels=pixels, pixels_sha256="hash", ladders=codecs, done=done))


@pytest.fixture
def pixels(photo: Any) -> Pixels:
    return Pixels(photo(96, 128), grey=False)


@pytest.mark.parametrize("name", LADDERS)
def test_a_ladder_rises_in_rate_and_quality(name: str, pixels: Pixels, need_ladder: Any) -> None:
    need_ladder(name)
    found = ladders("a.png", pixels, [name], {})
    assert [r.error for r in found] == [None] * len(LADDERS[name].values)
    assert len({r.options for r in found}) == len(found)
    bpp, psnr = [r.bpp for r in found], [r.psnr_db for r in found]
    assert bpp == sorted(bpp) and psnr == sorted(psnr) and bpp[-1] > 1.5 * bpp[0]
    scores = [r.ssimulacra2 for r in found]
    assert scores == sorted(scores) and scores[-1] > 65
    assert all(r.bpp == 8 * r.bytes / (96 * 128) and r.seconds > 0 and r.ms_ssim is None for r in found)


def test_figures_are_of_the_file(pixels: Pixels) -> None:
    found = ladders("a.png", pixels, ["JPEG"], {})[0]
    file = io.BytesIO()
    Image.fromarray(pixels.data).save(file, "JPEG", quality=8, subsampling=0, optimize=True, progressive=True)
    decoded = np.asarray(Image.open(file)).astype(float)
    mse = ((decoded - pixels.data) ** 2).mean()
    assert found.bytes == len(file.getvalue()) and found.psnr_db == pytest.approx(10 * np.log10(255**2 / mse))
    assert found.ssimulacra2 == ssimulacra2(pixels, Pixels(decoded.astype(np.uint8), False))


@pytest.mark.parametrize("name", ["JPEG", "AVIF tune=ssim", "AVIF tune=iq", "JPEG XL effort 9", "HEIC"])
def test_chroma_keeps_its_resolution(name: str, need_ladder: Any) -> None:
    need_ladder(name)
    stripes = np.zeros((64, 64, 3), np.uint8) + np.array([120, 60, 60], np.uint8)
    stripes[:, ::2] = (60, 90, 120)  # of one brightness, about: half the chroma would lose them
    best = ladders("a.png", Pixels(stripes, False), [name], {})[-1]
    assert best.psnr_db is not None and best.psnr_db > 30


def test_what_is_done_is_not_encoded_again(pixels: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "classical.jsonl"
    first = ladders("a.png", pixels, ["JPEG"], {})
    for record in first[:4]:
        append_point(path, record)
    path.write_bytes(path.read_bytes() + b'{"input": "a.p')  # a killed run
    done = {r.key: r for r in read_points(path)}
    assert len(done) == 4
    worked = []
    honest = jobs.comparing.classical.encode_setting
    monkeypatch.setattr(
        jobs.comparing.classical,
        "encode_setting",
        lambda task, pixels, **settings: worked.append(task.setting) or honest(task, pixels, **settings),
    )
    again = ladders("renamed.png", pixels, ["JPEG"], done)
    assert sorted(worked) == ["quality 70", "quality 88", "quality 95"]
    assert {r.input for r in again} == {"renamed.png"} and [r.bytes for r in again] == [r.bytes for r in first]


def test_a_picture_that_a_codec_refuses_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = Pixels(np.zeros((1, 20_000, 3), np.uint8), False)  # WebP ends at 16383
    found = ladders("a.png", wide, ["WebP"], {})
    assert all(r.error and r.bytes is None for r in found)


def test_a_record_is_a_line_of_json(tmp_path: Path) -> None:
    record = ClassicalRecord("a.png", "hash", "JPEG", "quality 8", "{}", error="broken")
    append_point(tmp_path / "c.jsonl", record)
    assert json.loads((tmp_path / "c.jsonl").read_text())["error"] == "broken"
    assert read_points(tmp_path / "c.jsonl") == [record]


def test_butteraugli_is_measured_where_files_are_tuned_for_eyes(save_photo: Any, make_record: Any) -> None:
    save_photo("a.png", 48, 64)
    record, path = replace(make_record("a.png", 4), input_sha256=None), Path("classical.jsonl")
    plain = encode_classical([record], ["JPEG"], STRICT, path).points
    assert all(p.butteraugli is None for p in plain)
    tuned = encode_classical([replace(record, tune="visual:0.5")], ["JPEG"], STRICT, path).points
    distances = [p.butteraugli for p in sorted(tuned, key=lambda p: p.bytes or 0)]
    assert len(distances) == len(plain) and all(distances)
    assert distances[0] > 3 * distances[-1], "larger files are nearer"


def test_points_of_earlier_releases_are_measured_again(pixels: Pixels, save_photo: Any, make_record: Any) -> None:
    save_photo("a.png", 48, 64)
    record = replace(make_record("a.png", 4), input_sha256=None)
    path = Path("classical.jsonl")
    first = encode_classical([record], ["JPEG"], STRICT, path).points
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines[:2]:
        del line["ssimulacra2"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [p.ssimulacra2 for p in read_points(path)[:2]] == [None, None]
    again = encode_classical([record], ["JPEG"], STRICT, path).points
    assert {(p.setting, p.bytes, p.ssimulacra2) for p in again} == {(p.setting, p.bytes, p.ssimulacra2) for p in first}
    assert len(read_points(path)) == len(first) + 2, "the others are kept"
