"""Memory and CPU time of the driver of a run over many pictures, whose workers cost nothing.

This file is also the program of its tests, and of runs of other sizes:

    python tests/jobs/running/test_driver.py disk 10000     pictures in a folder
    python tests/jobs/running/test_driver.py bucket 10000   keys of an S3 API on loopback, served by another process

It runs `rdo-encode` over one picture, notes the memory, then over so many, then over them again when all are done. At
the end a report is printed as JSON.
"""

import io
import json
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import deque
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from codec import storage
from codec.urls import is_url
from jobs.pools.base import Task
from jobs.record import Record
from jobs.running.history import file_stamp
from jobs.running.worklist import Item

ROOT = Path(__file__).parents[3]
MEMORY_MAX_MB = 200  # of the driver over its start, of any number of pictures
CPU_MAX_MS = 20.0  # of the driver, a picture


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peaks are reset and read in /proc")
@pytest.mark.parametrize("kind", ["disk", "bucket"])
def test_a_driver_of_100000_pictures_stays_small(kind: str, model: str) -> None:
    if kind == "bucket":
        pytest.importorskip("moto")
        pytest.importorskip("s3fs")
    command = [sys.executable, "-W", "ignore", __file__, kind, "100000", model]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    for run in ("first", "again"):
        assert report[run]["memory_mb"] < MEMORY_MAX_MB and report[run]["cpu_ms"] < CPU_MAX_MS, report
    assert (report["first"]["skipped"], report["again"]["skipped"]) == (0, 100_000)
    assert report["first"]["status"] == report["again"]["status"] == 0


class Idle:
    """Pool whose workers are done at once: each picture's record is `template`, its file one that is there already.

    Args:
        file: on a disk, .rdo file that outputs become links to; None where the store has them.
    """

    slots, prefetch = 4, 1

    def __init__(self, template: Record, file: Path | None) -> None:
        self.template, self.file = pickle.dumps(template), file
        self.queue: deque[Task] = deque()
        self.on_step: Callable[[Task], None] = lambda task: None

    def submit(self, task: Task) -> None:
        self.queue.append(task)

    def wait(self, timeout: float | None = None) -> list[tuple[Task, Record]]:
        task = self.queue.popleft()
        record = pickle.loads(self.template)  # as of another process: it shares nothing with other records
        if self.file:
            link(self.file, Path(task.item.output))
        stamp = task.item.stamp or file_stamp(Path(task.item.input))
        return [(task, replace(record, input=task.item.input, output=task.item.output, input_stamp=stamp))]

    def close(self) -> None:
        self.queue.clear()


def link(file: Path, name: Path) -> None:
    """Give a file another name; a new copy of it, where it has as many as a file system allows."""
    try:
        os.link(file, name)
    except OSError:
        data = file.read_bytes()
        file.unlink()
        file.write_bytes(data)
        os.link(file, name)


def serve_keys(pipe: Any) -> None:
    """Serve an S3 API in this process; put the data under each of the keys that come with it through the pipe."""
    sys.path.insert(0, str(ROOT / "tests"))
    from moto.s3.models import s3_backends
    from object_store import serve

    with serve() as store:
        pipe.send(store.endpoint)
        while asked := pipe.recv():
            data, names = asked
            backend = next(iter(next(iter(s3_backends.values())).values()))
            for name in names:
                backend.put_object("bucket", name, data)
            store.requests.clear()
            pipe.send(None)


def memory_mb(name: str) -> float:
    """Return memory of this process: VmRSS at present, VmHWM at most since it was reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(f"{name}:"))


def measured(run: Callable[[], int], count: int) -> dict[str, Any]:
    """Return what a run of the driver takes, and how many pictures it found done."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is the present memory from here
    before, cpu, begin = memory_mb("VmRSS"), time.process_time(), time.monotonic()
    with open("told", "w") as told, redirect_stdout(told):
        status = run()
    found = {
        "memory_mb": round(memory_mb("VmHWM") - before, 1),
        "cpu_ms": round(1000 * (time.process_time() - cpu) / count, 3),
        "seconds": round(time.monotonic() - begin, 1),
        "status": status,
    }
    skipped = re.search(r"(\d+) of \d+ were done before", Path("told").read_text())
    return {**found, "skipped": int(skipped[1]) if skipped else 0}


def drive(source: str, output: str, count: int, model: str) -> None:
    """Print what `rdo-encode` takes in this process, after a run over one picture, which imports all that is needed."""
    from jobs.encode import main
    from jobs.pools import selection
    from jobs.running.destination import destination

    flags = ["--model", model, "--threads", "1", "--iters", "0"]
    assert main([*flags, f"{source}/0.png", "-o", f"{output}-one"]) == 0
    _, log = destination(f"{output}-one", Item("", "", 0))
    assert log is not None
    file = None if is_url(output) else Path(f"{output}-one", "0.png.rdo")
    pool = Idle(next(log.read()), file)
    selection.make_pool = lambda *_: pool  # type: ignore[assignment]
    os.fsync = lambda *_: None  # 7 ms of waiting for a disk each, not of work
    print(json.dumps(measured(lambda: main([*flags, source, "-o", output]), count)))


def runs(source: str, output: str, count: int, model: str, fill: Callable[[], None]) -> dict[str, Any]:
    """Return what a driver takes over all pictures below `source`, and over them again once `fill` made files."""

    def run() -> dict[str, Any]:
        command = [sys.executable, "-W", "ignore", __file__, "drive", source, output, str(count), model]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(done.stdout.splitlines()[-1])

    first = run()
    fill()
    return {"pictures": count, "first": first, "again": run()}


def over_a_disk(count: int, model: str) -> dict[str, Any]:
    Path("one.png").write_bytes(picture())
    Path("in").mkdir()
    for index in range(count):
        link(Path("one.png"), Path(f"in/{index}.png"))
    time.sleep(3)  # a file changed just now has no stamp
    return runs("in", "out", count, model, lambda: None)


def over_a_bucket(count: int, model: str) -> dict[str, Any]:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve_keys, args=(theirs,), daemon=True)
    server.start()
    endpoint = ours.recv()
    keys = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "hush-hush", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= {"AWS_ENDPOINT_URL": endpoint, **keys}
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/bucket", method="PUT"), timeout=60).close()

    def put(data: bytes, names: list[str]) -> None:
        ours.send((data, names))
        ours.recv()

    def put_files() -> None:
        put(storage.read("s3://bucket/out-one/0.png.rdo"), [f"out/{index}.png.rdo" for index in range(count)])

    put(picture(), [f"in/{index}.png" for index in range(count)])
    try:
        return runs("s3://bucket/in", "s3://bucket/out", count, model, put_files)
    finally:
        ours.send(None)


def picture() -> bytes:
    """Return an 8x8 picture."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (90, 120, 60)).save(stream, "png")
    return stream.getvalue()


if __name__ == "__main__":
    if sys.argv[1] == "drive":
        drive(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
        sys.exit()
    with tempfile.TemporaryDirectory() as home:
        os.chdir(home)
        over = over_a_bucket if sys.argv[1] == "bucket" else over_a_disk
        print(json.dumps(over(int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "small")))
