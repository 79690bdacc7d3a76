"""Worker processes: the same bytes, and faults that are injected for real: kills, a share that hangs, no memory."""

import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from codec.errors import ConfigError
from jobs.pools.base import Task
from jobs.pools.process import Process, ProcessPool, _drain
from jobs.pools.worker_pool import Died, Step
from jobs.record import Record, read_records
from jobs.running.encode_settings import EncodeConfig
from jobs.running.worklist import NOT_WRITTEN, Item
from rdo.config import RefineConfig

Living = Callable[[int], list[str]]
ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
WARNINGS = ("-W", "error", "-W", "ignore::FutureWarning")
COUNT = 12  # pictures of a run that is to be ended
PROGRAM = "import sys; from jobs.encode import main; sys.exit(main(sys.argv[1:]))"
PLAIN = EncodeConfig(refine=RefineConfig(iters=0), exact="never")
Make = Callable[..., ProcessPool]


@pytest.fixture
def processes(model: str) -> Iterator[Make]:
    """Gives `processes(jobs, seconds_max)`: a pool that is closed after the test."""
    pools = []

    def make(jobs: int, seconds_max: float = math.inf) -> ProcessPool:
        pools.append(ProcessPool(model, "cpu", jobs, seconds_max, threads=1))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def hanging(folder: Path) -> Task:
    """Return a task whose picture cannot be read in time: a pipe without a writer."""
    os.mkfifo(folder / "hangs.png")
    return Task(Item(str(folder / "hangs.png"), NOT_WRITTEN, 100), PLAIN)


def files(folder: str) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*.rdo")}


def test_all_answers_in_a_pipe_are_received_at_once() -> None:
    ours, theirs = Pipe()
    handle = Process(SimpleNamespace(join=lambda timeout: None, exitcode=-9), ours)
    for answer in (Step(), Step(), []):
        theirs.send(answer)
    assert list(_drain(handle)) == [Step(), Step(), []]
    theirs.send(Step())
    theirs.close()
    assert list(_drain(handle)) == [Step(), Died("SIGKILL, as when memory runs out")]


def test_two_processes_write_the_same_bytes_as_one(save_photo: Any, rdo_encode: Any, records: Any) -> None:
    for i in range(5):
        save_photo(f"in/{i}.png", 20 + 10 * i, 50, seed=i)
    for jobs in (1, 2):
        assert rdo_encode("--iters", 6, "--method", "sga", "-j", jobs, "-o", f"out{jobs}", "in") == 0
    assert len(files("out1")) == 5 and files("out1") == files("out2")
    for name, record in records("out2/results.jsonl").items():
        before = records("out1/results.jsonl")[name.replace("out2", "out1")]
        assert {k: v for k, v in record.items() if k in ("plain", "refined", "config_hash", "verified")}.items() <= (
            before.items()
        )


@pytest.mark.slow
def test_what_always_kills_its_worker_is_recorded_and_the_rest_done(
    processes: Make, save_photo: Any, folder: Path
) -> None:
    pool, found, killed = processes(2), dict[str, Record](), set[int]()
    pool.submit(hanging(folder))
    for i in range(4):
        pool.submit(Task(Item(str(save_photo(f"{i}.png", 10, 10)), f"out/{i}.rdo", 100), PLAIN))
    while len(found) < 5:
        found |= {task.item.output: record for task, record in pool.wait(0.2)}
        for worker in pool.workers:
            if any(task.item.output == NOT_WRITTEN for task in worker.tasks):
                pid = worker.handle.process.pid or 0
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
    assert len(killed) == 3
    assert "its worker died 3 times (SIGKILL, as when memory runs out)" in str(found.pop(NOT_WRITTEN).error)
    assert {record.status for record in found.values()} == {"done"} and len(files("out")) == 4


@pytest.mark.slow
def test_a_share_that_hangs_is_stopped_and_the_rest_done(processes: Make, save_photo: Any, folder: Path) -> None:
    pool = processes(1, seconds_max=5)
    pool.submit(hanging(folder))
    pool.submit(Task(Item(str(save_photo("a.png", 10, 10)), "a.rdo", 100), PLAIN))
    (_, hung), (_, good) = [*pool.wait(), *pool.wait()]
    assert "stopped after 5 seconds: raise --max-seconds-per-image" in str(hung.error) and good.status == "done"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are Linux's")
def test_a_worker_out_of_memory_says_so_and_lives_on(processes: Make, save_photo: Any) -> None:
    pool = processes(1)
    small = Task(Item(str(save_photo("small.png", 20, 20)), NOT_WRITTEN, 400), PLAIN)
    large = Task(Item(str(save_photo("large.png", 3000, 3000)), NOT_WRITTEN, 9_000_000), PLAIN)
    pool.submit(small)
    pool.wait()
    pid = pool.workers[0].handle.process.pid or 0
    used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(pid, resource.RLIMIT_AS, (used + (200 << 20), used + (200 << 20)))
    for task in (large, small):
        pool.submit(task)
    (_, starved), (_, good) = [*pool.wait(), *pool.wait()]
    assert str(starved.error).startswith("out of memory: ") and good.status == "done"
    assert pool.workers[0].handle.process.pid == pid


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_takes_its_workers_along(
    save_photo: Any, rdo_encode: Any, model: str, folder: Path, living: Living, number: signal.Signals
) -> None:
    for i in range(COUNT):
        save_photo(f"in/{i}.png", 20, 20, seed=i)
    settings = ("--exact", "never", "--iters", "60", "--method", "ste", "--threads", "1", "in")
    run = subprocess.Popen(
        [sys.executable, *WARNINGS, "-c", PROGRAM, "--model", model, "-j", "2", *settings],
        env=ENVIRONMENT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    log = folder / "rdo-out/results.jsonl"
    deadline = time.monotonic() + 120
    while len(read_records(log)) < 3 and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    if number == signal.SIGINT:
        os.killpg(run.pid, number)  # as a terminal does
    else:
        run.send_signal(number)
    _, told = run.communicate(timeout=60)
    assert run.returncode == (-9 if number == signal.SIGKILL else 130), told.decode()
    assert b"Traceback" not in told, told.decode()
    while living(run.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not living(run.pid)
    done = read_records(log)
    assert 3 <= len(done) < COUNT and {r.status for r in done} == {"done"}
    kept = files("rdo-out")
    assert {Path(r.output).name for r in done} <= set(kept)
    assert rdo_encode(*settings) == 0
    assert len(files("rdo-out")) == COUNT and kept.items() <= files("rdo-out").items()


def test_a_second_signal_does_not_cut_the_end_of_a_worker_short() -> None:
    """Check that a second SIGTERM, which a closing pool sends, is ignored."""
    program = """if True:
        import atexit, os, signal
        from jobs.pools.worker import _exit
        signal.signal(signal.SIGTERM, _exit)
        atexit.register(lambda: (os.kill(os.getpid(), signal.SIGTERM), print("tidied")))
        os.kill(os.getpid(), signal.SIGTERM)"""
    ended = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "tidied\n", "")


def test_workers_without_their_device_are_a_users_error(save_photo: Any, rdo_encode: Any, capsys: Any) -> None:
    save_photo("in/a.png", 10, 10)
    save_photo("in/b.png", 10, 10)
    assert rdo_encode("--iters", 0, "-j", 2, "--device", "nonesuch", "in") == 2
    told = capsys.readouterr().err
    assert told.startswith("error: no worker can start: --device nonesuch: not usable here: ")


def test_a_pool_without_work_starts_nobody(processes: Make) -> None:
    pool = processes(4)
    assert pool.wait() == [] and not pool.workers


def test_a_model_that_is_gone_is_told_by_the_workers(folder: Path, save_photo: Any) -> None:
    pool = ProcessPool("gone.safetensors", "cpu", 1)
    pool.submit(Task(Item(str(save_photo("a.png", 10, 10)), NOT_WRITTEN, 100), PLAIN))
    with pytest.raises(ConfigError, match=r"no worker can start: gone\.safetensors: no such model"):
        pool.wait()
    pool.close()
