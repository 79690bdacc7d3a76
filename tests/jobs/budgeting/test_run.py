"""`rdo-encode --target-total` on files: the total fits, whatever the workers, the kills and the odd pictures."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.budgeting import rounds
from jobs.encode import main
from jobs.running import progress

ROOT = Path(__file__).parents[3]
SIZES = {"a": (64, 128), "b/c": (64, 64), "d": (60, 100), "e": (120, 64), "f": (90, 90)}
LIMIT = 6500


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, `in`, and their finished run to LIMIT, `rdo-out`: measured once for all tests."""
    folder = tmp_path_factory.mktemp("budget")
    for seed, (name, (height, width)) in enumerate(SIZES.items()):
        path = folder / "in" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        grain = np.random.default_rng(seed).integers(20, 235, (height // (4 + seed), width // 5, 3), dtype=np.uint8)
        Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert encode("--target-total", LIMIT) == 0
    return folder


@pytest.fixture
def photos(finished: Path, folder: Path) -> Path:
    """A copy of the pictures, and what was measured of them."""
    shutil.copytree(finished / "in", folder / "in")
    Path("rdo-out").mkdir()
    shutil.copy(finished / "rdo-out/budget-points.jsonl", "rdo-out")
    return folder


def encode(*flags: object) -> int:
    return main(["--threads", "1", "--iters", "1", *map(str, flags), "in"])


def files(folder: str = "rdo-out") -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*.rdo"))}


def total(folder: str = "rdo-out") -> int:
    return sum(map(len, files(folder).values()))


def fits(limit: int, folder: str = "rdo-out") -> bool:
    """Above 0.5 % below, or a few words: one latent of a small picture is worth several."""
    return 0.995 * limit - 8 * len(files(folder)) <= total(folder) <= limit


def decision(folder: str = "rdo-out") -> Any:
    return json.loads(Path(folder, "budget.json").read_text())


def test_all_files_together_meet_the_budget(photos: Path, capsys: Any) -> None:
    assert encode("--target-total", LIMIT) == 0
    told = capsys.readouterr().out
    assert fits(LIMIT) and len(files()) == len(SIZES)
    assert f"budget {LIMIT:,} bytes: {total():,} written" in told and "against one quality for all" in told
    assert "the operating curve is in rdo-out/budget.svg" in told and Path("rdo-out/budget.svg").is_file()
    assert decision()["limit_bytes"] == LIMIT and len(decision()["plans"]) == len(SIZES)

    before = {name: Path("rdo-out", name).stat().st_mtime_ns for name in files()}
    points = Path("rdo-out/budget-points.jsonl").read_bytes()
    assert points.count(b"\n") == 4 * len(SIZES)
    assert encode("--target-total", LIMIT, "--json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {record["status"] for record in records} == {"skipped"} and len(records) == len(SIZES)
    assert sum(record["refined"]["bytes"] for record in records) == total()
    assert {name: Path("rdo-out", name).stat().st_mtime_ns for name in files()} == before

    assert encode("--target-total-bpp", 1.3, "--json") == 0, "another budget takes the same measurements"
    pixels = sum(height * width for height, width in SIZES.values())
    assert fits(int(1.3 * pixels / 8)) and Path("rdo-out/budget-points.jsonl").read_bytes() == points


def test_without_matplotlib_the_curve_is_text(photos: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert encode("--target-total", LIMIT) == 0
    told = capsys.readouterr().out
    assert not Path("rdo-out/budget.svg").exists()
    [own] = [line for line in told.splitlines() if line.startswith(">")]
    assert f"{total():,}" in own and own.count("#") > 1 and "mean SSIMULACRA 2" in told


def test_a_run_cut_at_any_round_goes_on_to_the_same_files(
    photos: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, calls = rounds.run_tasks, list[int]()

    def cut(tasks: Any, *rest: Any, **named: Any) -> Any:
        """Interrupt the first five calls after their first record, and go on then."""
        for index, record in enumerate(honest(tasks, *rest, **named)):
            if index == 1 and len(calls) < 5 and record.status == "done":
                calls.append(1)
                raise KeyboardInterrupt
            yield record

    monkeypatch.setattr(rounds, "run_tasks", cut)
    statuses = [encode("--target-total", LIMIT, "-o", "cut") for _ in range(8)]
    assert 130 in statuses and statuses[-1] == 0
    assert files("cut") == files(str(finished / "rdo-out"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["processes", "cluster"])
def test_a_killed_driver_goes_on_to_the_same_files(
    photos: Path, finished: Path, workers: str, workers_of: Callable[[str], AbstractContextManager[list[str]]]
) -> None:
    Path("cut").mkdir()
    with workers_of(workers) as flags:
        program = "import sys; from jobs.encode import main; sys.exit(main())"
        line = [sys.executable, "-W", "ignore", "-c", program, "--threads", "1", "--iters", "1", "--target-total"]
        line += [str(LIMIT), *flags, "-o", "cut", "in"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        killed = []
        for count in (3, 11, 20, 22, 25):  # records, of which the first 20 are measurements
            started = subprocess.Popen(line, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment)
            while records_in("cut") < count and started.poll() is None:
                time.sleep(0.02)
            started.kill()
            killed.append(started.wait() == -signal.SIGKILL)
        assert sum(killed) >= 4
        done = subprocess.run(line, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
    assert files("cut") == files(str(finished / "rdo-out"))


def records_in(folder: str) -> int:
    """Return the number of lines in the logs of measurements and of files."""
    logs = (Path(folder, name) for name in ("budget-points.jsonl", "results.jsonl"))
    return sum(log.read_bytes().count(b"\n") for log in logs if log.exists())


def test_a_floor_is_kept_by_every_picture(photos: Path, finished: Path, capsys: Any) -> None:
    records = map(json.loads, (finished / "rdo-out/results.jsonl").read_text().splitlines())
    scores = {record["output"]: record["refined"]["ssimulacra2"] for record in records}.values()
    floor = sorted(scores)[0] + 1
    assert encode("--target-total", LIMIT + 500, "--floor-ssimulacra2", floor, "--json") == 0
    held = [json.loads(line)["refined"]["ssimulacra2"] for line in capsys.readouterr().out.splitlines()]
    assert min(held) >= floor > min(scores) and fits(LIMIT + 500)


def test_pictures_that_cannot_be_read_are_told_and_leave_their_bytes(
    photos: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("in/torn.png").write_bytes(Path("in/a.png").read_bytes()[:300])
    monkeypatch.setattr(progress, "LINE_S", 0)
    assert encode("--target-total", LIMIT, "--json") == 1
    told = capsys.readouterr()
    passes = ("1 of 3, measuring: 4/4 encodings", "2 of 3, some files first: 1/1 images", "3 of 3, files: 4/4 images")
    places = [told.err.index(f"pass {text}") for text in passes]
    assert places == sorted(places), "of the torn picture alone measurements are made again"
    assert told.err.count("in/torn.png: ") == 1 and fits(LIMIT)
    statuses = {r["input"]: r["status"] for r in map(json.loads, told.out.splitlines())}
    assert statuses.pop("in/torn.png") == "failed" and set(statuses.values()) == {"done"}


def test_a_foreign_file_is_not_overwritten(photos: Path, capsys: Any) -> None:
    Path("rdo-out/a.png.rdo").write_bytes(b"mine")
    assert encode("--target-total", LIMIT) == 1
    assert Path("rdo-out/a.png.rdo").read_bytes() == b"mine" and "pass --overwrite" in capsys.readouterr().err
    assert encode("--target-total", LIMIT, "--overwrite") == 0
    assert fits(LIMIT) and files()["a.png.rdo"][:3] == b"RDO"


def test_a_damaged_decision_is_made_again(photos: Path) -> None:
    assert encode("--target-total", LIMIT) == 0
    before = files()
    for text in ('{"schema": "rdo-budget-2", "plans": {}}', '{"schema": 3'):
        Path("rdo-out/budget.json").write_text(text)
        assert encode("--target-total", LIMIT) == 0
        assert fits(LIMIT) and files().keys() == before.keys()


def test_one_picture_and_all_alike(finished: Path, folder: Path) -> None:
    Path("in").mkdir()
    for count, name in enumerate("xyz"):
        shutil.copy(finished / "in/e.png", f"in/{name}.png")
        if count != 1:
            assert encode("--target-total", 900 * (count + 1)) == 0
            assert fits(900 * (count + 1))


def test_a_budget_above_all_needs_is_told(photos: Path, capsys: Any) -> None:
    assert encode("--target-total", "1MB", "--json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {record["quality"] for record in records} == {8.0}


def test_a_budget_for_the_eye(photos: Path, capsys: Any) -> None:
    assert encode("--target-total", LIMIT, "--tune", "visual", "--json") == 0
    assert fits(LIMIT)
    assert {json.loads(line)["tune"] for line in capsys.readouterr().out.splitlines()} == {"visual"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--target-total", "60"), "a budget of 60 bytes is too small: the least is "),
        (("--target-total", "150", "--floor-ssimulacra2", "50"), "is too small: the least is "),
        (("--target-total", "5MB", "--quality", "3"), "--quality and --target-total: a budget settles the quality"),
        (("--target-total", "5MB", "--exact", "all"), "--exact all and --target-total: lossless files have one size"),
        (("--target-total", "5MB", "--target-psnr", "30"), "--target-psnr and --target-total"),
        (("--target-total", "5MB", "--lmbda", "0.01"), "--lmbda and --target-total"),
        (("--target-total", "5 parsecs"), "write a size such as 50MB"),
        (("--target-total", "5MB", "-o", "one.rdo"), "of a folder of files"),
        (("--floor-ssimulacra2", "60"), "add --target-total"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    save_photo: Callable[..., Path], folder: Path, flags: tuple[str, ...], message: str, capsys: Any
) -> None:
    save_photo("in/a.png", 64, 64)
    assert encode(*flags) == 2
    assert message in capsys.readouterr().err
    assert not list(Path().rglob("*.rdo"))
