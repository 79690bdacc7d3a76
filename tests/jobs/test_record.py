"""Records: a contract others parse, and scores against arithmetic by hand."""

import json
import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytorch_msssim import ms_ssim

from codec.images.pixels import Pixels, to_tensor
from codec.metrics.butteraugli import butteraugli
from codec.metrics.ssimulacra2 import ssimulacra2
from jobs.record import SCHEMA, Outcome, Record, Score, append_record, read_records, score

CONTRACT = {
    "schema", "status", "input", "output", "width", "height", "model", "model_id", "config_hash", "quality", "lmbda",
    "iters", "seconds", "device", "plain", "refined", "gain_percent", "verified", "error",
}  # fmt: skip
SCORES = {"bytes", "bpp", "psnr_db", "ms_ssim", "ssimulacra2", "cost", "butteraugli"}
FAILED = Record(SCHEMA, "failed", "a.png", "out/a.png.rdo", error="truncated: copy it again")
PLAIN, BEST = Score(120, 1.5, 30.25, None, None, 2.5), Score(100, 1.25, 30.0, 0.97, 61.5, 2.0, 0.75)
OUTCOME = Outcome("ff00", 32, 20, PLAIN, BEST, 20.0, True, 8)
DONE = Record(
    SCHEMA, "done", "é \u2603/a.png", "out/a.png.rdo", "00ff", "tiny", "01020304", "aa", 4.0, 0.01, 0.5, "cpu",
    outcome=OUTCOME,
)  # fmt: skip
FLAT = {
    "schema": "rdo-record-1", "status": "done", "input": "é \u2603/a.png", "output": "out/a.png.rdo",
    "input_sha256": "00ff", "output_sha256": "ff00", "width": 32, "height": 20, "model": "tiny",
    "model_id": "01020304", "config_hash": "aa", "quality": 4.0, "lmbda": 0.01, "iters": 8, "seconds": 0.5,
    "device": "cpu",
    "plain": {"bytes": 120, "bpp": 1.5, "psnr_db": 30.25, "ms_ssim": None, "ssimulacra2": None, "cost": 2.5,
        "butteraugli": None,
    },
    "refined": {"bytes": 100, "bpp": 1.25, "psnr_db": 30.0, "ms_ssim": 0.97, "ssimulacra2": 61.5, "cost": 2.0,
        "butteraugli": 0.75,
    },
    "gain_percent": 20.0, "verified": True, "error": None, "refine_seconds": None, "input_stamp": None,
    "method": None, "cwd": None, "aim_hash": None, "iters_asked": None, "policy": None,
    "tune": None, "gain_profile": 0, "metadata_bytes": 0, "notes": None, "resumed_step": None,
    "output_stamp": None,
}  # fmt: skip


def noisy(pixels: Pixels, seed: int = 0) -> Pixels:
    noise = np.random.default_rng(seed).integers(-9, 10, pixels.data.shape)
    return Pixels((pixels.data.astype(int) + noise).clip(0, 255).astype(np.uint8), pixels.grey)


@pytest.mark.parametrize("record", [FAILED, DONE])
def test_json_has_every_field_of_the_contract_in_one_line(record: Record) -> None:
    line = record.to_json()
    found = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert "\n" not in line and set(found) >= CONTRACT
    for name in ("plain", "refined"):
        assert found[name] is None or set(found[name]) == SCORES


def test_json_is_flat_and_in_order() -> None:
    assert DONE.to_json() == json.dumps(FLAT)
    found = json.loads(FAILED.to_json())
    assert list(found) == list(FLAT) and found["verified"] is False and found["gain_profile"] is None
    assert found["error"] == FAILED.error and found["width"] is found["plain"] is found["refine_seconds"] is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_json_never_holds_what_json_has_not(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        replace(DONE, outcome=replace(OUTCOME, gain_percent=value)).to_json()


def test_records_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    assert read_records(path) == []
    for record in (FAILED, DONE):
        append_record(path, record)
    assert read_records(path) == [FAILED, DONE]
    assert path.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("cut", [1, 20, 200, 400])
def test_a_line_cut_short_is_passed_over(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "results.jsonl"
    append_record(path, DONE)
    path.write_bytes(path.read_bytes() + replace(DONE, input="a.png").to_json().encode()[:cut])
    assert read_records(path) == [DONE]


@pytest.mark.parametrize("line", ["", "null", "3", "[]", '"text"', "{", "{}", '{"plain": 3}', '{"plain": {"size": 3}}'])
def test_lines_that_are_no_records_are_passed_over(tmp_path: Path, line: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(f"{line}\n{DONE.to_json()}\n", encoding="utf-8")
    assert read_records(path) == [DONE]


def test_a_field_that_a_later_version_adds_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps({**json.loads(DONE.to_json()), "joules": 3}) + "\n")
    assert read_records(path) == [DONE]


def test_records_of_earlier_releases_have_no_ssimulacra2(tmp_path: Path) -> None:
    found = json.loads(DONE.to_json())
    for name in ("plain", "refined"):
        del found[name]["ssimulacra2"]
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(found) + "\n")
    assert read_records(path) == [replace(DONE, outcome=replace(OUTCOME, refined=replace(BEST, ssimulacra2=None)))]


def test_a_record_after_a_line_cut_short_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(DONE.to_json()[:50])
    append_record(path, DONE)
    assert read_records(path) == [DONE]


@pytest.mark.parametrize("name", ["a\u2028b.png", "a\x85b.png"])
def test_names_with_line_separators_survive(tmp_path: Path, name: str) -> None:
    path = tmp_path / "results.jsonl"
    append_record(path, replace(DONE, input=name))
    assert read_records(path) == [replace(DONE, input=name)]


def test_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    append_record(path, replace(DONE, input="caf\udce9.png"))  # how Python spells the byte E9
    assert read_records(path) == [replace(DONE, input="caf\udce9.png")]


def test_a_line_cut_within_a_letter_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(DONE.to_json().encode() + b"\n" + '{"input": "é'.encode()[:-1])
    assert read_records(path) == [DONE]


@pytest.mark.parametrize(("height", "width"), [(20, 32), (1, 1), (7, 300)])
def test_score_by_hand(photo: Callable[..., Any], height: int, width: int) -> None:
    original = Pixels(photo(height, width), grey=False)
    decoded = noisy(original)
    found = score(original, decoded, 77, lmbda=0.02)
    mse = sum((int(a) - int(b)) ** 2 for a, b in zip(original.data.flat, decoded.data.flat, strict=True))
    mse /= 3 * height * width
    assert found.bytes == 77 and found.bpp == pytest.approx(77 * 8 / (height * width))
    assert found.psnr_db == pytest.approx(20 * math.log10(255 / math.sqrt(mse)))
    assert found.cost == pytest.approx(found.bpp + 0.02 * mse)
    assert found.ms_ssim is None


def test_identical_pictures_have_no_psnr(photo: Callable[..., Any]) -> None:
    original = Pixels(photo(8, 8), grey=False)
    found = score(original, original, 10, lmbda=0.02)
    assert found.psnr_db is None and found.cost == found.bpp == 10 * 8 / 64


@pytest.mark.parametrize(("height", "width", "given"), [(160, 300, False), (161, 161, True), (300, 160, False)])
def test_ms_ssim_needs_161_pixels_a_side(photo: Callable[..., Any], height: int, width: int, given: bool) -> None:
    original = Pixels(photo(height, width), grey=False)
    found = score(original, noisy(original), 10, lmbda=0.02).ms_ssim
    assert (found is not None) == given
    assert found is None or 0.5 < found < 1


def test_ms_ssim_is_that_of_all_channels_together(photo: Callable[..., Any]) -> None:
    original = Pixels(photo(176, 200), grey=False)
    decoded = noisy(original)
    whole = ms_ssim(to_tensor(original), to_tensor(decoded), data_range=1.0)
    assert score(original, decoded, 10, lmbda=0.02).ms_ssim == pytest.approx(float(whole), abs=1e-6)


@pytest.mark.parametrize(("height", "width", "given"), [(7, 300, False), (8, 8, True), (300, 7, False), (40, 33, True)])
def test_ssimulacra2_needs_8_pixels_a_side(photo: Callable[..., Any], height: int, width: int, given: bool) -> None:
    original = Pixels(photo(height, width), grey=False)
    decoded = noisy(original)
    found = score(original, decoded, 10, lmbda=0.02).ssimulacra2
    assert found == ssimulacra2(original, decoded) and (found is not None) == given
    assert found is None or 0 < found < 100
    assert score(original, original, 10, lmbda=0.02).ssimulacra2 == (100 if given else None)


@pytest.mark.parametrize(("height", "width", "given"), [(7, 300, False), (8, 8, True), (40, 33, True)])
def test_butteraugli_is_taken_where_it_is_asked_for(
    photo: Callable[..., Any], height: int, width: int, given: bool
) -> None:
    original = Pixels(photo(height, width), grey=False)
    decoded = noisy(original)
    assert score(original, decoded, 10, lmbda=0.02).butteraugli is None
    found = score(original, decoded, 10, lmbda=0.02, with_butteraugli=True).butteraugli
    assert found == butteraugli(original, decoded) and (found is not None) == given


def test_scores_are_finite_or_null(photo: Callable[..., Any]) -> None:
    original = Pixels(photo(161, 161), grey=True)
    for decoded in (original, noisy(original), Pixels(255 - original.data, True)):
        found = score(original, decoded, 24, lmbda=1e-9)
        values = [getattr(found, f.name) for f in fields(Score)]
        assert all(v is None or math.isfinite(v) for v in values)
