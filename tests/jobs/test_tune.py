"""`rdo-tune`: what it leaves in its folder, killed and resumed, and what it refuses."""

import csv
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest

import jobs.pools.in_process
import rdo.encoding
from jobs.record import read_records
from jobs.running.encode_settings import EncodeConfig
from jobs.running.record_log import sole_writer
from jobs.tune import main
from jobs.tuning.evaluator import Case
from jobs.tuning.held_out import compare_with_preset
from jobs.tuning.photos import Photo
from rdo.presets import recipe

ROWS = "study/trials.csv"
STUDY = """\
search:
  lr_y: {low: 0.1, high: 1, log: true}
  beta1: [0.5, 0.9]
fixed: {method: sga, iters: 2}
qualities: [6]
crop: 24
holdout: 0.5
trials: 4
"""
Tune = Callable[..., int]


@pytest.fixture
def tune(model: str, save_photo: Any, folder: Path) -> Tune:
    """`rdo-tune mine.yaml in -o study` with the tiny codec, on four photos."""
    for seed in range(4):
        save_photo(f"in/{seed}.png", 32, 40, seed)
    (folder / "mine.yaml").write_text(STUDY)
    return lambda *flags: main(["mine.yaml", "in", "-o", "study", "--threads", "1", "--model", model, *map(str, flags)])


def test_what_fails_on_held_out_photos_is_told_and_counted(make_record: Any, capsys: Any) -> None:
    good, bad = make_record("a.png", 6), replace(make_record("b.png", 6), outcome=None, error="stopped")
    evaluator = SimpleNamespace(
        config=EncodeConfig(),
        codec=SimpleNamespace(distortion="mse"),
        evaluate=lambda recipe, cases: [good, bad][: len(cases)],
    )
    cases = [Case(Photo(Path(name), name, 100), 6.0) for name in ("a.png", "b.png")]
    outcome, failures = compare_with_preset(evaluator, recipe(10), cases)
    assert failures == 2 and outcome is not None and outcome.photos == 1  # the recipe's and the preset's
    assert capsys.readouterr().err.count("b.png: stopped") == 2


@pytest.mark.parametrize(
    ("name", "trained_for", "presets"),
    [(None, "mse", ""), ("visual", "mse", "visual-"), ("visual:0.5", "mse", "visual-"), (None, "ms_ssim", "ms-ssim-")],
)
def test_a_recipe_is_compared_with_the_preset_of_its_tuning(
    name: str | None, trained_for: str, presets: str, make_record: Any
) -> None:
    tried = []
    evaluator = SimpleNamespace(
        config=EncodeConfig(tune=name),
        codec=SimpleNamespace(distortion=trained_for),
        evaluate=lambda refine, cases: tried.append(refine) or [make_record("a.png", 6)],
    )
    mine = recipe(10, "sga")
    compare_with_preset(evaluator, mine, [Case(Photo(Path("a.png"), "a.png", 100), 6.0)])
    assert tried == [mine, recipe(10, presets=presets)]


def test_a_study_whose_held_out_photos_fail_is_no_success(tune: Tune, save_photo: Any, monkeypatch: Any) -> None:
    Path("mine.yaml").write_text(STUDY.replace("crop: 24\n", ""))
    save_photo("held/a.png", 48, 40, 9)
    honest = rdo.encoding.refine

    def refine(codec: Any, x: Any, *args: Any, **settings: Any) -> Any:
        if x.shape[-2] == 48:
            raise RuntimeError("no luck")
        return honest(codec, x, *args, **settings)

    monkeypatch.setattr(rdo.encoding, "refine", refine)
    assert tune("--trials", 1, "--holdout", "held") == 1
    [best] = json.loads(Path("study/summary.json").read_text())["best"]
    assert best["failures"] == 2 and best["held_out"] is None


def test_records_of_another_device_are_measured_again(tune: Tune) -> None:
    assert tune("--trials", 1, "--holdout", 0) == 0
    before = encoded()
    log = Path("study/results.jsonl")
    log.write_text(log.read_text().replace('"device": "cpu"', '"device": "cuda:0"'))
    assert tune("--trials", 1, "--holdout", 0, "--name", "again") == 0
    assert encoded() == 2 * before
    assert tune("--trials", 2, "--holdout", 0, "--name", "again", "--batch", 2) == 2


@pytest.mark.parametrize(("flag", "name"), [("--batch", "batch"), ("--threads", "threads")])
def test_a_study_goes_on_as_it_was_begun(tune: Tune, capsys: Any, flag: str, name: str) -> None:
    assert tune("--trials", 1, "--holdout", 0) == 0
    assert tune("--trials", 2, "--holdout", 0, flag, 2) == 2
    assert f"{name}" in capsys.readouterr().err.splitlines()[-1]


def rows(file: str = ROWS) -> list[dict[str, str]]:
    with open(file, newline="") as lines:
        return list(csv.DictReader(lines))


def encoded() -> list[tuple[str | None, str | None]]:
    return [(record.input_sha256, record.config_hash) for record in read_records(Path("study/results.jsonl"))]


def test_a_study_leaves_its_best_recipe_and_what_it_is_worth(tune: Tune, rdo_encode: Any, capsys: Any) -> None:
    Path("mine.yaml").write_text(STUDY.replace("[6]", "[4, 6]"))
    assert tune("--trials", 2) == 0
    told = capsys.readouterr().out
    summary = json.loads(Path("study/summary.json").read_text())
    [best] = summary["best"]
    assert summary["states"]["done"] + summary["states"]["pruned"] == 2 == len(rows())
    whole = {int(row["trial"]): row for row in rows() if row["state"] == "done"}
    assert best["gain_percent"] == max(float(row["gain_percent"]) for row in whole.values())
    assert all(row["cases"] == "4" for row in whole.values())  # two photos at two qualities
    assert best["recipe"]["lr_y"] == pytest.approx(float(whole[best["trial"]]["lr_y"]), rel=1e-3)

    # what is in the file is what was measured, and on photos that no trial saw
    records = read_records(Path("study/results.jsonl"))
    assert all(record.measured.verified and record.output == "" for record in records)
    assert Path("study/best.yaml").read_text().startswith("# 2 steps: rdo-encode --config study/best.yaml photos/\n")
    assert rdo_encode("--config", "study/best.yaml", "--threads", 1, "--quality", 4, "study/crops") == 0
    again = {r.input_sha256: r for r in read_records(Path("rdo-out/results.jsonl"))}
    ours = [r for r in records if r.config_hash == again[r.input_sha256].config_hash]
    assert len(ours) == 4 and all(r.measured.gain_percent == again[r.input_sha256].measured.gain_percent for r in ours)
    tuned_on = {r.input_sha256 for r in records[:4]}
    recipe = {r.config_hash for r in records if r.input_sha256 in tuned_on}
    gains = [r.measured.gain_percent for r in records if r.input_sha256 not in tuned_on and r.config_hash in recipe]
    held = best["held_out"]
    assert held["photos"] == 2 and len(gains) == 4 and held["gain_percent"] == pytest.approx(sum(gains) / 4)
    assert held["difference_percent"] == pytest.approx(held["gain_percent"] - held["preset_gain_percent"])
    assert f"{held['gain_percent']:.2f} %" in told and not list(Path("study").glob("**/*.rdo"))


def test_a_killed_study_goes_on_and_encodes_nothing_twice(tune: Tune, monkeypatch: Any, capsys: Any) -> None:
    honest, calls = jobs.pools.in_process.encode, list[int]()

    def encode(*args: Any) -> Any:
        calls.append(1)
        if len(calls) in (4, 7):
            raise KeyboardInterrupt
        return honest(*args)

    monkeypatch.setattr(jobs.pools.in_process, "encode", encode)
    assert [tune(), tune(), tune()] == [130, 130, 0]
    finished = rows()
    assert sum(row["state"] in ("done", "pruned") for row in finished) == 4
    retired = [row for row in finished if row["state"] == "failed"]
    assert len(retired) == 2 and all(row["lr_y"] in [r["lr_y"] for r in finished if r != row] for row in retired)
    assert len(encoded()) == len(set(encoded())) == len(calls) - 2

    capsys.readouterr()
    assert tune("--json") == 0  # a finished one only reports
    assert json.loads(capsys.readouterr().out) == json.loads(Path("study/summary.json").read_text())
    assert len(calls) == len(encoded()) + 2 and rows() == finished
    assert tune("--trials", 5) == 0
    assert len(rows()) == len(finished) + 1


def test_the_same_study_twice_is_the_same(tune: Tune) -> None:
    assert tune("--trials", 2, "--holdout", 0) == 0
    first = [(row["lr_y"], row["gain_percent"]) for row in rows()]
    assert tune("--trials", 2, "--holdout", 0, "-o", "again") == 0
    assert [(row["lr_y"], row["gain_percent"]) for row in rows("again/trials.csv")] == first
    assert tune("--trials", 1, "--holdout", 0, "-o", "other", "--seed", 7) == 0
    assert [(row["lr_y"], row["gain_percent"]) for row in rows("other/trials.csv")] != first[:1]


def test_a_front_has_a_recipe_for_every_point(tune: Tune) -> None:
    text = STUDY.replace("fixed: {method: sga, iters: 2}", "fixed: {method: sga}\nobjectives: [gain_percent, seconds]")
    Path("mine.yaml").write_text(text.replace("search:", "search:\n  iters: {low: 1, high: 9, log: true}"))
    assert tune("--holdout", 0) == 0
    best = json.loads(Path("study/summary.json").read_text())["best"]
    gains, seconds = [b["gain_percent"] for b in best], [b["seconds"] for b in best]
    assert best and gains == sorted(gains, reverse=True) and seconds == sorted(seconds, reverse=True)
    assert all(row["state"] == "done" for row in rows())  # nothing is pruned
    for point in best:
        assert point["held_out"] is None
        assert f"iters: {point['recipe']['iters']}\n" in Path(point["file"]).read_text()


def test_studies_share_a_database(tune: Tune) -> None:
    flags = ("--trials", 1, "--holdout", 0, "--storage", "sqlite:///all.db")
    assert tune(*flags) == 0 and tune(*flags, "--name", "other", "-o", "second") == 0
    assert set(optuna.get_all_study_names("sqlite:///all.db")) == {"mine", "other"}
    assert not list(Path("study").glob("*.journal"))


def test_a_time_budget_ends_the_search_not_the_comparison(tune: Tune) -> None:
    assert tune("--time-budget", 1e-9) == 0
    assert rows() == [] and json.loads(Path("study/summary.json").read_text())["best"] == []
    assert tune("--time-budget", 1000) == 0
    assert len(rows()) == 4


def test_a_hold_out_folder(tune: Tune, save_photo: Any, capsys: Any) -> None:
    save_photo("held/a.png", 32, 32, 9)
    assert tune("--trials", 1, "--holdout", "held") == 0
    [best] = json.loads(Path("study/summary.json").read_text())["best"]
    assert best["held_out"]["photos"] == 1 and rows()[0]["cases"] == "4"
    assert tune("--holdout", "in", "-o", "other") == 2
    assert "is among the photos to tune on" in capsys.readouterr().err


def test_a_photo_that_cannot_be_read_is_told_and_the_others_are_tuned_on(tune: Tune, capsys: Any) -> None:
    Path("in/bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert tune("--trials", 1) == 1
    assert "in/bad.png: " in capsys.readouterr().err and rows()[0]["state"] == "done"


def test_where_every_trial_fails_the_study_stops(tune: Tune, monkeypatch: Any, capsys: Any) -> None:
    def refine(*args: Any, **settings: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr("rdo.encoding.refine", refine)
    assert tune() == 2
    told = capsys.readouterr().err
    assert "3 trials in a row failed, the last on study/crops/" in told and "out of memory" in told


def test_a_changed_space_is_refused_and_nothing_is_touched(tune: Tune, capsys: Any) -> None:
    assert tune("--trials", 1) == 0
    before = {path: path.read_bytes() for path in Path("study").rglob("*") if path.is_file()}
    Path("mine.yaml").write_text(STUDY.replace("high: 1,", "high: 2,"))
    assert tune() == 2
    told = capsys.readouterr().err
    assert "study/study.journal: study mine: was begun with search.lr_y.high 1.0, not 2.0" in told
    assert {path: path.read_bytes() for path in Path("study").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("--holdout", "1.5"), "--holdout 1.5: a share must lie in"),
        (("--holdout", "nowhere"), "nowhere: no such file or folder"),
        (("--storage", "sqlite:///no/where.db"), "--storage sqlite:///no/where.db: cannot be used"),
        (("--trials", "0"), "trials 0: must be at least 1"),
        (("--model", "nonesuch"), "nonesuch: no such model"),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_nonsense_is_one_line_and_status_2(tune: Tune, flags: tuple[str, str], text: str, capsys: Any) -> None:
    assert tune(*flags) == 2
    told = capsys.readouterr().err
    assert text in told and told.count("\n") == 1 and not Path("study/trials.csv").exists()


def test_a_folder_without_photos(tune: Tune, folder: Path, capsys: Any) -> None:
    (folder / "empty").mkdir()
    assert main(["mine.yaml", "empty", "-o", "study"]) == 2
    assert "empty: no pictures found" in capsys.readouterr().err


def test_one_driver_a_folder(tune: Tune, folder: Path, capsys: Any) -> None:
    (folder / "study").mkdir()
    with sole_writer(Path("study/results.jsonl")):  # locks of one process exclude each other, too
        assert tune() == 2
    assert "study: another run writes here" in capsys.readouterr().err


@pytest.mark.slow
def test_worker_processes_measure_the_same(tune: Tune) -> None:
    assert tune("--trials", 2, "--holdout", 0) == 0
    assert tune("--trials", 2, "--holdout", 0, "-o", "two", "-j", 2) == 0
    one, two = ({r["lr_y"]: (r["beta1"], r["gain_percent"]) for r in rows(f)} for f in (ROWS, "two/trials.csv"))
    shared = one.keys() & two.keys()  # with two at work the second is asked for before the first is told
    assert shared and all(one[key] == two[key] for key in shared)


def test_without_optuna_it_says_how_to_get_it(tune: Tune, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert tune() == 2
    assert 'pip install ".[tune]"' in capsys.readouterr().err
