"""An encode run killed at random moments, or out of disk: no half file under a final name, nothing lost on resuming.

This file is also the program of these tests, `test_faults.py kill|full FOLDER MODEL COUNT`: it loads torch once and
runs every trial in a fork of itself, since starting takes longer than the run that is to be disturbed.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

MOMENTS = 60  # of each run of the tests
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
PICTURES = {"a.png": (40, 70), "b/c.png": (64, 30), "b/d.jpg": (20, 20), "e.png": (90, 100)}


@pytest.fixture
def trials(folder: Path, model: str, photo: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """Gives `trials(kind, count)`: the report of the program below, on four pictures."""
    for name, (height, width) in PICTURES.items():
        path = folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(height, width)).save(path)

    def run(kind: str, count: int) -> dict[str, Any]:
        command = [sys.executable, "-W", "ignore", __file__, kind, str(folder), model, str(count)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    return run


@pytest.mark.slow
def test_a_run_killed_at_any_moment_is_resumed_to_the_same_bytes(trials: Callable[..., dict[str, Any]]) -> None:
    report = trials("kill", MOMENTS)
    assert report["kills"] == MOMENTS and report["completed"] >= 2 and report["cut_short"] > MOMENTS // 4
    assert report["wrong"] == []


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_run_on_a_full_disk_is_resumed_to_the_same_bytes(trials: Callable[..., dict[str, Any]]) -> None:
    report = trials("full", 4)
    if report["no_mount"]:
        pytest.skip("this machine lets nobody mount a disk")
    assert report["wrong"] == [] and report["failed"] == 4


def test_a_picture_that_vanishes_meanwhile_is_its_own_verdict(
    save_photo: Any, rdo_encode: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    import rdo.encoding

    honest = rdo.encoding.refine
    gone = save_photo("in/small.png", 10, 10)
    save_photo("in/big.png", 30, 30)

    def refine(*args: Any, **settings: Any) -> Any:
        gone.unlink(missing_ok=True)
        return honest(*args, **settings)

    monkeypatch.setattr(rdo.encoding, "refine", refine)
    assert rdo_encode("--iters", 0, "in") == 1
    assert "in/small.png: No such file or directory: check the path" in capsys.readouterr().err
    assert Path("rdo-out/big.png.rdo").is_file() and not Path("rdo-out/small.png.rdo").exists()


class Run:
    """`rdo-encode` over `in/` into one output folder, in a forked process, against the bytes of an undisturbed run."""

    def __init__(self, model: str) -> None:
        self.argv = ["--model", model, "--iters", "4", "in", "-o"]
        self.expected: dict[str, bytes] = {}
        self.wrong: list[str] = []

    def start(self, out: str) -> int:
        """Process id of a run."""
        pid = os.fork()
        if pid:
            return pid
        try:
            log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            from jobs.encode import main

            os._exit(main([*self.argv, out]))
        finally:
            os._exit(99)

    def complete(self, out: str) -> None:
        """Run to the end; all files must be there and equal the undisturbed ones."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.start(out), 0)[1])
        if code or contents(out) != (self.expected or contents(out)):
            self.wrong.append(f"resuming gave status {code} and {sorted(contents(out))}")

    def inspect(self, out: str, what: str) -> None:
        """Every file under a final name must be whole and right."""
        found = contents(out)
        self.wrong += [f"{what}: {name} is not right" for name in found if found[name] != self.expected.get(name)]


def contents(folder: str) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*.rdo")}


def leftovers(folder: str) -> list[str]:
    return [str(p) for p in Path(folder).rglob("*.part")]


def kill(run: Run, count: int) -> dict[str, Any]:
    """Kill runs over one folder until they come to an end, then begin anew."""
    run.complete("undisturbed")
    run.expected = contents("undisturbed")
    begin = time.monotonic()
    run.complete("again")  # files and caches are warm now
    span, rng = time.monotonic() - begin, random.Random(0)
    completed, cut_short, earlier = 0, 0, list[str]()
    for trial in range(count):
        number = SIGNALS[trial % len(SIGNALS)]
        pid = run.start("out")
        time.sleep(rng.uniform(0, 0.6 * span))
        os.kill(pid, number)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        cut_short += code != 0
        run.inspect("out", f"killed by {number.name}")
        if number != signal.SIGKILL and leftovers("out") and not earlier:
            run.wrong.append(f"{number.name} left {leftovers('out')}")
        earlier = leftovers("out")
        if code == 0 or trial % 10 == 9 or trial == count - 1:
            run.complete("out")
            completed += 1
            shutil.rmtree("out")
            earlier = []
    return {"kills": count, "completed": completed, "cut_short": cut_short, "wrong": run.wrong}


def full(run: Run, count: int) -> dict[str, Any]:
    """Run on disks of one page and up, which all are too small; enlarge each, and resume."""
    run.complete("undisturbed")
    run.expected = contents("undisturbed")
    failed = 0
    for pages in range(1, count + 1):
        Path("out").mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={4 * pages}k", "tmpfs", "out"]
        if subprocess.run(mount, capture_output=True).returncode:
            return {"no_mount": True, "failed": 0, "wrong": []}
        try:
            code = os.waitstatus_to_exitcode(os.waitpid(run.start("out"), 0)[1])
            failed += code == 1
            run.inspect("out", f"disk of {pages} pages")
            run.wrong += [f"a full disk left {name}" for name in leftovers("out")]
            subprocess.run(["mount", "-o", "remount,size=1m", "out"], check=True)
            run.complete("out")
        finally:
            subprocess.run(["umount", "out"], check=True)
        shutil.rmtree("out")
    return {"no_mount": False, "failed": failed, "wrong": run.wrong}


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    os.chdir(sys.argv[2])
    print(json.dumps((kill if sys.argv[1] == "kill" else full)(Run(sys.argv[3]), int(sys.argv[4]))))
