"""Budgets of bytes and of time whose pictures and files are in a bucket: the plans of a disk, resumed alike."""

import json
from pathlib import Path
from typing import Any

import pytest

from codec import places, storage
from jobs.budgeting import rounds
from jobs.running import worklist
from jobs.running.worklist import build_worklist, with_pixels
from tests.jobs.conftest import files_below, files_in

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # connections that file systems keep
NAMES = ("a.png", "b c.png", "deep/d.png")


@pytest.fixture
def photos(store: Any, save_photo: Any) -> str:
    """Three pictures in a bucket, and the same ones in the folder `in`."""
    for index, name in enumerate(NAMES):
        path = save_photo(f"in/{name}", 40, 60 + 20 * index, seed=index)
        storage.write(f"{store.bucket}/photos/{name}", path.read_bytes())
    return f"{store.bucket}/photos"


def plans(url: str) -> dict[str, Any]:
    return json.loads(storage.read(f"{url}/budget.json"))["plans"]


def records(url: str, pieces: str) -> list[dict[str, Any]]:
    names = sorted(each.name for each in storage.walk(f"{url}/{pieces}"))
    return [json.loads(line) for name in names for line in storage.read(name).splitlines()]


def test_a_bucket_gets_the_files_of_a_disk_within_the_bytes(
    store: Any, photos: str, rdo_encode: Any, capsys: Any
) -> None:
    out, budget = f"{store.bucket}/out", ("--iters", 1, "--target-total", 1500)
    assert rdo_encode(*budget, "in", "-o", "local") == rdo_encode(*budget, photos, "-o", out) == 0
    assert files_below(out) == files_in("local") and sorted(files_in("local")) == [f"{name}.rdo" for name in NAMES]
    assert sum(map(len, files_below(out).values())) <= 1500
    told = capsys.readouterr().out
    assert f"the operating curve is in {out}/budget.svg" in told and places.exists(f"{out}/budget.svg")
    assert len(plans(out)) == 3 and not Path("s3:").exists()
    measurements = records(out, "budget-points")
    assert len(measurements) == 4 * len(NAMES)

    assert rdo_encode(*budget, photos, "-o", out) == 0
    assert "3 of 3 were done before, and unchanged" in capsys.readouterr().out
    assert records(out, "budget-points") == measurements, "none is measured again"


def test_a_run_to_a_size_goes_on_from_the_bucket(
    store: Any, photos: str, rdo_encode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, cuts = rounds.run_tasks, list[int]()

    def cut(tasks: Any, *rest: Any, **named: Any) -> Any:
        """Interrupt the first three calls after their first record."""
        for record in honest(tasks, *rest, **named):
            yield record
            if len(cuts) < 3:
                cuts.append(1)
                raise KeyboardInterrupt

    budget = ("--iters", 1, "--target-total", 1500)
    assert rdo_encode(*budget, "in", "-o", "local") == 0
    monkeypatch.setattr(rounds, "run_tasks", cut)
    out = f"{store.bucket}/out"
    statuses = [rdo_encode(*budget, photos, "-o", out) for _ in range(4)]
    assert statuses == [130, 130, 130, 0] and files_below(out) == files_in("local")


def test_a_bucket_within_a_time(store: Any, photos: str, rdo_encode: Any, capsys: Any) -> None:
    out = f"{store.bucket}/out"
    assert rdo_encode("--time-budget-total", "3s", photos, "-o", out) == 0
    planned = plans(out)
    made = {record["input"]: record for record in records(out, "results")}
    assert planned.keys() == made.keys() == {f"{photos}/{name}" for name in NAMES}
    assert all(made[name]["iters"] == plan["iters"] < 640 for name, plan in planned.items())
    assert rdo_encode("--time-budget-total", "3s", photos, "-o", out) == 0
    assert "3 of 3 were done before" in capsys.readouterr().out and plans(out) == planned
    assert not Path("s3:").exists()


@pytest.mark.parametrize("head", [64 << 10, 20])
def test_pictures_behind_urls_have_the_pixels_of_their_headers(
    store: Any, photos: str, head: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worklist, "HEAD_BYTES", head)
    for name, data in (("torn.png", b"\x89PNG\r\n\x1a\n"), ("none.png", b"")):
        storage.write(f"{photos}/{name}", data)
    items = build_worklist([photos, "in/deep"], f"{store.bucket}/out")
    storage.remove(f"{photos}/b c.png")
    pixels = {item.input.removeprefix(f"{photos}/"): item.pixels for item in with_pixels(items)}
    gone = {"torn.png": 0, "none.png": 0, "b c.png": 0}
    assert pixels == {"a.png": 40 * 60, "deep/d.png": 40 * 100, "in/deep/d.png": 40 * 100, **gone}
