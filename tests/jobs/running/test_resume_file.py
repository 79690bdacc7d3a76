"""A refinement that is killed goes on where it was saved, to the file of one that was not, and its record says so."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jobs.running.progress import Progress
from jobs.running.resume_file import ResumeFile, resume_file
from jobs.running.worklist import NOT_WRITTEN, STDIO
from rdo import resuming

STEPS = ("--iters", 30, "--json", "in")
OUT, RESUME = Path("rdo-out/a.png.rdo"), Path("rdo-out/a.png.rdo.resume")
SAVING_ALWAYS = "import sys; from rdo import resuming; resuming.INTERVAL_S = 0.0; from jobs.encode import main; main()"


def last(text: str) -> Any:
    return json.loads(text.splitlines()[-1])


@pytest.fixture
def undisturbed(save_photo: Any, rdo_encode: Any, capsys: Any) -> bytes:
    """Bytes of the file of a run that nothing cut short."""
    save_photo("in/a.png", 40, 60)
    assert rdo_encode(*STEPS, "-o", "whole") == 0
    assert last(capsys.readouterr().out)["resumed_step"] is None
    assert [path.name for path in Path("whole").iterdir() if path.name != "results.jsonl"] == ["a.png.rdo"]
    return Path("whole/a.png.rdo").read_bytes()


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Interrupt the process, as Ctrl-C does, at a step of this test's next run."""
    honest, counted = Progress.step, list[int]()

    def count(self: Progress, task: Any) -> None:
        counted.append(1)
        if len(counted) == step:
            raise KeyboardInterrupt
        honest(self, task)

    monkeypatch.setattr(Progress, "step", count)


def test_after_an_interrupt_it_goes_on(undisturbed: bytes, rdo_encode: Any, monkeypatch: Any, capsys: Any) -> None:
    interrupt_at(monkeypatch, 20)
    assert rdo_encode(*STEPS) == 130
    assert RESUME.is_file() and not OUT.exists()
    assert rdo_encode(*STEPS) == 0
    record = last(capsys.readouterr().out)
    assert record["resumed_step"] == 19 and record["iters"] == 30 and record["verified"]
    assert OUT.read_bytes() == undisturbed and not RESUME.exists()


@pytest.mark.parametrize("changed", [("--iters", 31), ("--quality", 5), ("--seed", 1)])
def test_other_settings_begin_anew(
    undisturbed: bytes, rdo_encode: Any, monkeypatch: Any, capsys: Any, changed: tuple[object, ...]
) -> None:
    interrupt_at(monkeypatch, 20)
    assert rdo_encode(*STEPS) == 130
    assert rdo_encode(*STEPS, *changed) == 0
    assert last(capsys.readouterr().out)["resumed_step"] is None and not RESUME.exists()


def test_another_picture_begins_anew(
    undisturbed: bytes, save_photo: Any, rdo_encode: Any, monkeypatch: Any, capsys: Any
) -> None:
    interrupt_at(monkeypatch, 20)
    assert rdo_encode(*STEPS) == 130
    save_photo("in/a.png", 40, 60, seed=4)
    assert rdo_encode(*STEPS) == 0
    assert last(capsys.readouterr().out)["resumed_step"] is None and not RESUME.exists()


def test_a_torn_state_is_none(undisturbed: bytes, rdo_encode: Any, monkeypatch: Any, capsys: Any) -> None:
    interrupt_at(monkeypatch, 20)
    assert rdo_encode(*STEPS) == 130
    RESUME.write_bytes(RESUME.read_bytes()[:-100])
    assert rdo_encode(*STEPS) == 0
    assert last(capsys.readouterr().out)["resumed_step"] is None and OUT.read_bytes() == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_goes_on(undisturbed: bytes, model: str, number: signal.Signals) -> None:
    flags = ("--model", model, "--threads", "1", "--exact", "never", *map(str, STEPS))
    command = [sys.executable, "-W", "ignore", "-c", SAVING_ALWAYS, *flags]
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not RESUME.exists() and started.poll() is None:
        time.sleep(0.01)
    os.kill(started.pid, number)
    started.wait()
    assert RESUME.is_file() and not OUT.exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    record = last(done.stdout)
    assert 0 <= record["resumed_step"] <= 30 and record["verified"] and OUT.read_bytes() == undisturbed
    assert not RESUME.exists()


@pytest.mark.slow
def test_workers_that_are_stopped_go_on(save_photo: Any, rdo_encode: Any, monkeypatch: Any, capsys: Any) -> None:
    save_photo("in/a.png", 200, 200)
    save_photo("in/b.png", 200, 200, seed=1)
    command = ("-j", 2, "--iters", 60, "--json", "in")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 60)
        assert rdo_encode(*command) == 130
    saved = [path.name.removesuffix(".resume") for path in Path("rdo-out").glob("*.resume")]
    assert saved
    assert rdo_encode(*command) == 0
    records = {Path(r["output"]).name: r for r in map(json.loads, capsys.readouterr().out.splitlines())}
    assert all(records[name]["resumed_step"] >= 1 for name in saved)
    assert not list(Path("rdo-out").glob("*.resume")) and len(list(Path("rdo-out").glob("*.rdo"))) == 2


def test_a_state_is_of_one_picture_and_settings(folder: Path) -> None:
    own, other = (ResumeFile(str(folder / "below" / "a.rdo.resume"), identity) for identity in ("a b", "a c"))
    assert own.read() is None
    own.write(b"one\ntwo")
    assert own.read() == b"one\ntwo" and other.read() is None
    other.write(b"three")
    assert own.read() is None and other.read() == b"three"
    own.remove()
    own.remove()
    assert other.read() is None


def test_a_place_that_cannot_be_written_harms_nothing(folder: Path) -> None:
    (folder / "file").write_bytes(b"mine")
    ResumeFile(str(folder / "file" / "a.rdo.resume"), "x").write(b"state")
    ResumeFile(str(folder / "file" / "a.rdo.resume"), "x").remove()
    assert (folder / "file").read_bytes() == b"mine"


def test_only_files_have_one() -> None:
    assert resume_file(STDIO, "a", "b") is resume_file(NOT_WRITTEN, "a", "b") is None
    assert resume_file("out/a.rdo", "a", "b") == ResumeFile("out/a.rdo.resume", "a b")
    assert resuming.INTERVAL_S == 60
