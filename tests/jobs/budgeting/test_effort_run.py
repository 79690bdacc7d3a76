"""`rdo-encode --time-budget-total` on files: all of them there in the time, whatever the workers, kills and clocks."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.budgeting import rounds
from jobs.running import progress

ROOT = Path(__file__).parents[3]
NAMES = [f"{index}.png" for index in range(5)]


@pytest.fixture
def photos(save_photo: Callable[..., Path]) -> list[str]:
    """Pictures below `in`, of which two are larger than what is looked at."""
    for index, name in enumerate(NAMES):
        save_photo(f"in/{name}", 190, 150 + 20 * index, seed=index)
    return NAMES


@pytest.fixture(autouse=True)
def clock_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the seconds that this process computes, whatever else the machine does."""
    monkeypatch.setattr("jobs.running.encoding.time", SimpleNamespace(monotonic=time.process_time))


def files(folder: str = "rdo-out") -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*.rdo"))}


def plans(folder: str = "rdo-out") -> dict[str, Any]:
    return json.loads(Path(folder, "budget.json").read_text())["plans"]


def test_all_pictures_get_files_of_the_steps_that_were_planned(
    photos: list[str], rdo_encode: Any, capsys: Any, records: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_S", 0)
    assert rdo_encode("--time-budget-total", "6s", "in") == 0
    told, shown = capsys.readouterr()
    assert f"looks at 1 of {len(photos)} pictures: 3/3 encodings, " in shown and "group 1 of at most 6: 1/1" in shown
    left = [int(minutes) * 60 + int(seconds) for minutes, seconds in re.findall(r"(\d\d):(\d\d) left", shown)]
    assert len(left) >= len(photos) + 3 and max(left) <= 6, "what the budget leaves"
    assert "time budget 6 s: " in told and "steps a picture, median" in told
    assert {p.name for p in Path("rdo-out").iterdir()} == {
        *(f"{name}.rdo" for name in photos), "results.jsonl", "budget.json", "budget-points.jsonl",
    }  # fmt: skip
    found, planned = records(), plans()
    assert len(found) == len(planned) == len(photos)
    for record in found.values():
        assert record["iters"] == planned[record["input"]]["iters"] and record["gain_percent"] >= 0
        assert record["width"] == 150 + 20 * int(Path(record["input"]).stem), "the whole picture is written"
    assert sum(plan["iters"] > 0 for plan in planned.values()) > len(photos) // 2
    name = photos[3]
    assert rdo_encode("--iters", planned[f"in/{name}"]["iters"], "-o", "alone", f"in/{name}") == 0
    assert files("alone")[f"{name}.rdo"] == files()[f"{name}.rdo"]

    before = {name: Path("rdo-out", name).stat().st_mtime_ns for name in files()}
    assert rdo_encode("--time-budget-total", "6", "--json", "in") == 0
    again = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert {record["status"] for record in again} == {"skipped"} and plans() == planned
    assert {name: Path("rdo-out", name).stat().st_mtime_ns for name in files()} == before


def test_a_run_cut_in_any_group_keeps_its_plans(
    photos: list[str], rdo_encode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, cuts = rounds.run_tasks, list[int]()

    def cut(tasks: Any, *rest: Any, **named: Any) -> Any:
        """Interrupt the first two calls after their first record."""
        for record in honest(tasks, *rest, **named):
            yield record
            if len(cuts) < 2 and record.status == "done":
                cuts.append(1)
                raise KeyboardInterrupt

    monkeypatch.setattr(rounds, "run_tasks", cut)
    known: dict[str, Any] = {}
    statuses = []
    for _ in range(4):
        statuses.append(rdo_encode("--time-budget-total", "2s", "in"))
        assert known.items() <= plans().items(), "what was decided stays"
        known = plans()
    assert statuses == [130, 130, 0, 0] and len(files()) == len(photos)
    done = [json.loads(line) for line in Path("rdo-out/results.jsonl").read_text().splitlines()]
    assert sorted(record["input"] for record in done) == sorted(known), "no picture is made twice"


def test_a_budget_too_small_is_plain_encoding_and_is_told(photos: list[str], rdo_encode: Any, capsys: Any) -> None:
    assert rdo_encode("--time-budget-total", "0.01s", "in") == 0
    told = capsys.readouterr().err
    assert f"rdo-out: the time budget is too small to refine {len(photos)} of {len(photos)} pictures" in told
    assert rdo_encode("--iters", 0, "-o", "plain", "in") == 0
    assert files() == files("plain") and len(files()) == len(photos)


def test_clocks_that_run_backwards_do_not_break_it(
    photos: list[str], rdo_encode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count()
    monkeypatch.setattr("jobs.running.encoding.time.monotonic", lambda: 1e6 - 0.5 * next(ticks))
    monkeypatch.setattr("rdo.step_allocation.STEPS_MAX", 3)  # as time seems to cost nothing
    assert rdo_encode("--time-budget-total", "2s", "in") == 0
    assert len(files()) == len(photos) and {plan["iters"] for plan in plans().values()} == {3}


def test_pictures_that_cannot_be_read_are_told_and_the_others_encoded(
    photos: list[str], rdo_encode: Any, capsys: Any
) -> None:
    Path("in/torn.png").write_bytes(Path("in/0.png").read_bytes()[:300])
    assert rdo_encode("--time-budget-total", "2s", "--json", "in") == 1
    told = capsys.readouterr()
    assert told.err.count("in/torn.png: ") == 1 and len(files()) == len(photos)
    statuses = {r["input"]: r["status"] for r in map(json.loads, told.out.splitlines())}
    assert statuses.pop("in/torn.png") == "failed" and set(statuses.values()) == {"done"}


@pytest.mark.parametrize("budget", [("--time-budget-total", "0.1s"), ("--target-total", "2kB")])
def test_times_of_pictures_are_kept_where_asked_for(save_photo: Any, rdo_encode: Any, budget: tuple[str, str]) -> None:
    os.utime(save_photo("in/a.png", 64, 90), (1e9, 1e9))
    assert rdo_encode("--iters" if "2kB" in budget else "--seed", 0, *budget, "--preserve-times", "in") == 0
    assert Path("rdo-out/a.png.rdo").stat().st_mtime == 1e9


def test_one_picture_for_the_eye_or_to_a_size_or_by_a_mask(save_photo: Any, rdo_encode: Any, records: Any) -> None:
    save_photo("in/a.png", 64, 90)
    save_photo("mask.png", 64, 90, mode="L")
    assert rdo_encode("--time-budget-total", "2s", "--roi", "mask.png", "-o", "weighed", "in") == 0
    looks = [json.loads(line) for line in Path("weighed/budget-points.jsonl").read_text().splitlines()]
    assert {look["status"] for look in looks} == {"done"} and files("weighed")
    assert rdo_encode("--time-budget-total", "2s", "--tune", "visual", "in") == 0
    assert records()["rdo-out/a.png.rdo"]["tune"] == "visual"
    assert rdo_encode("--time-budget-total", "2s", "--target-bytes", 150, "-o", "sized", "in") == 0
    assert 130 <= len(files("sized")["a.png.rdo"]) <= 150


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--time-budget-total", ""), "--time-budget-total : write a time"),
        (("--time-budget-total", "soon"), "--time-budget-total soon: write a time such as 2h"),
        (
            ("--time-budget-total", "2h", "--iters", "3"),
            "--iters and --time-budget-total: the budget settles",
        ),
        (("--time-budget-total", "2h", "--effort", "3"), "--effort and --time-budget-total"),
        (("--time-budget-total", "2h", "--time-budget", "3"), "--time-budget and --time-budget-total"),
        (("--time-budget-total", "2h", "--target-total", "5MB"), "--target-total and --time-budget-total: give one"),
        (("--time-budget-total", "2h", "-o", "a.rdo"), "--time-budget-total: of a folder of files"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    save_photo: Any, rdo_encode: Any, flags: tuple[str, ...], message: str, capsys: Any
) -> None:
    save_photo("in/a.png", 64, 64)
    assert rdo_encode(*flags, "in") == 2
    assert message in capsys.readouterr().err and not list(Path().rglob("*.rdo"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["processes", "cluster"])
def test_a_killed_driver_of_workers_keeps_its_plans(
    photos: list[str], model: str, kind: str, workers_of: Callable[[str], AbstractContextManager[list[str]]]
) -> None:
    environment, known = {**os.environ, "PYTHONPATH": str(ROOT)}, dict[str, Any]()
    with workers_of(kind) as workers:
        program = "import sys; from jobs.encode import main; sys.exit(main())"
        line = [sys.executable, "-W", "ignore", "-c", program, "--threads", "1", "--model", model, *workers]
        line += ["--time-budget-total", "6s", "in"]
        cut_short = []
        for count in (1, 2, 4):
            started = subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while records_of_files() < count and started.poll() is None:
                time.sleep(0.02)
            started.send_signal(signal.SIGKILL)
            cut_short.append(started.wait() == -signal.SIGKILL)
            assert known.items() <= plans().items()
            known = plans()
        done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and any(cut_short), done.stderr
    assert known.items() <= plans().items() and len(files()) == len(photos)
    records = map(json.loads, Path("rdo-out/results.jsonl").read_text().splitlines())
    assert sorted(r["input"] for r in records if r["status"] == "done") == sorted(plans())


def records_of_files() -> int:
    log = Path("rdo-out/results.jsonl")
    return log.read_bytes().count(b"\n") if log.exists() else 0
