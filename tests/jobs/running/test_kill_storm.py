"""A folder encoded through random kills of workers, drivers and machines: every file there and right, none made twice.

This file is also the program of its tests, and of longer runs than these:

    python tests/jobs/running/test_kill_storm.py processes 1000    drivers of one process and of two workers
    python tests/jobs/running/test_kill_storm.py ray 100           actors, drivers and machines of a cluster

It kills until the count is reached, over one folder after the other. Each folder is resumed until it is finished, then
inspected. At the end a report is printed as JSON, which has what was wrong.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
PICTURES = 16
FOLDER_KILLS_MAX = 40  # after so many kills over one folder, it is finished in peace
DRIVER_SHARE = 0.4  # of the kills; the others are of workers
MACHINE_SHARE = 0.2  # of the kills on a cluster
START_MAX_S = 60.0  # that a kill of a worker waits for one
LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND
PAUSE_MAX_S = {"alone": 0.5, "processes": 2.0, "ray": 6.0}  # before a kill
FLAGS = ["--threads", "1", "--iters", "6", "--exact", "never"]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "kills"), [("processes", 24), ("ray", 8)])
def test_a_storm_of_kills_leaves_every_file_right_and_made_once(kind: str, kills: int, model: str) -> None:
    if kind == "ray":
        pytest.importorskip("ray")
    command = [sys.executable, "-W", "ignore", __file__, kind, str(kills), model]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["wrong"] == [] and sum(report["kills"].values()) >= kills and report["folders"] >= 1
    assert report["kills"].keys() >= {"driver", "worker"}


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@dataclass
class Storm:
    """Kills over folders of the same pictures, and what was found wrong with them.

    Attributes:
        flags: of `rdo-encode`, its workers among them.
        lose_machine: loses a machine of the cluster and adds another; None where there is no cluster.
        workers_of: returns the workers of a driver, by its process id.
        expected: bytes of the files of an undisturbed run.
    """

    flags: list[str]
    pause_max_s: float
    workers_of: Callable[[int], list[int]]
    lose_machine: Callable[[], None] | None = None
    expected: dict[str, bytes] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    rng: random.Random = field(default_factory=lambda: random.Random(0))

    def start(self, out: str) -> int:
        """Start a driver and return its process id: a fork of this process, unless that is joined to a cluster."""
        if self.lose_machine:
            program = "import sys; from jobs.encode import main; sys.exit(main())"
            command = [sys.executable, "-W", "ignore", "-c", program, *self.flags, "-o", out, "in"]
            # no Popen, whose module would collect the status of a driver that has ended
            output = [(os.POSIX_SPAWN_OPEN, 1, "log", LOG_FLAGS, 0o644), (os.POSIX_SPAWN_DUP2, 1, 2)]
            return os.posix_spawn(sys.executable, command, os.environ, file_actions=output, setsid=True)
        pid = os.fork()
        if pid:
            return pid
        try:
            os.setsid()
            log = os.open("log", LOG_FLAGS)
            os.dup2(log, 1)
            os.dup2(log, 2)
            from jobs.encode import main

            os._exit(main([*self.flags, "-o", out, "in"]))
        finally:
            os._exit(99)

    def over_one_folder(self, kills: int, out: str = "out") -> None:
        """Encode a folder through at most so many kills, resuming after each of a driver; then inspect it."""
        driver, left = self.start(out), min(kills, FOLDER_KILLS_MAX)
        while left:
            time.sleep(self.rng.uniform(0, self.pause_max_s))
            status = os.waitpid(driver, os.WNOHANG)
            if status[0] and os.waitstatus_to_exitcode(status[1]) == 0:
                break
            if status[0]:  # such as no worker that could start, or a picture whose workers died thrice
                driver = self.start(out)
                continue
            before = sum(self.kills.values())
            if self._kill_one(driver):
                os.waitpid(driver, 0)
                driver = self.start(out)
            left -= sum(self.kills.values()) - before
        else:
            self._finish(driver, out)
        self._inspect(out)
        shutil.rmtree(out)

    def _kill_one(self, driver: int) -> bool:
        """Kill a driver, one of its workers if it has any by now, or a machine; tell whether it was the driver."""
        draw = self.rng.random()
        if self.lose_machine and draw < MACHINE_SHARE:
            self.lose_machine()
            self.kills["machine"] += 1
        elif draw < MACHINE_SHARE + DRIVER_SHARE or ("-j" not in self.flags and not self.lose_machine):
            os.kill(driver, signal.SIGKILL)
            self.kills["driver"] += 1
            return True
        elif workers := self._started_workers(driver):
            with suppress(ProcessLookupError):
                os.kill(self.rng.choice(workers), signal.SIGKILL)
                self.kills["worker"] += 1
        return False

    def _started_workers(self, driver: int) -> list[int]:
        """Return the workers of a driver, once there are any; none where it ends or takes longer than START_MAX_S."""
        end, ended = time.monotonic() + START_MAX_S, os.WEXITED | os.WNOHANG | os.WNOWAIT
        while not (workers := self.workers_of(driver)) and time.monotonic() < end:
            if os.waitid(os.P_PID, driver, ended):
                break
            time.sleep(0.1)
        return workers

    def _finish(self, driver: int, out: str) -> None:
        """Let a run come to its end; one that failed for an earlier kill may be repeated."""
        for _ in range(3):
            if os.waitstatus_to_exitcode(os.waitpid(driver, 0)[1]) == 0:
                return
            driver = self.start(out)
        os.kill(driver, signal.SIGKILL)
        os.waitpid(driver, 0)
        self.wrong.append(f"{out} was not finished: {Path('log').read_text()[-500:]}")

    def _inspect(self, out: str) -> None:
        """Every file must be there and right, and made once: no picture has a second record of success."""
        found = {str(p.relative_to(out)): p.read_bytes() for p in Path(out).rglob("*.rdo")}
        self.expected = self.expected or found
        if found != self.expected or len(found) != PICTURES:
            self.wrong.append(f"{sorted(found)}: not the files of an undisturbed run")
        records = [json.loads(line) for line in Path(out, "results.jsonl").read_text().splitlines() if line]
        done = Counter(record["output"] for record in records if record["status"] == "done")
        self.wrong += [f"{name}: {count} records of success" for name, count in done.items() if count != 1]
        self.wrong += [f"{r['output']}: not verified" for r in records if r["status"] == "done" and not r["verified"]]
        self.wrong += [f"{p} was left" for p in Path(out).rglob("*.resume")]


def children_of(driver: int) -> list[int]:
    """Return the worker processes of a driver, without its resource tracker."""
    return [pid for pid, line in processes() if parent_of(pid) == driver and b"spawn_main" in line]


def actors_of(driver: int) -> list[int]:
    """Return the actors that encode on the machines that this process started, whatever other clusters there are."""
    return [pid for pid, line in processes() if line.startswith(b"ray::") and b"Encoder" in line and is_ours(pid)]


def processes() -> Iterator[tuple[int, bytes]]:
    """Yield the id and the command line of each process."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield int(process.name), (process / "cmdline").read_bytes()


def parent_of(pid: int) -> int:
    """Return the id of a process's parent, 0 where there is none."""
    with suppress(OSError, IndexError, ValueError):
        return int(Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[1])
    return 0


def is_ours(pid: int) -> bool:
    """Tell whether a process descends from this one."""
    while pid > 1 and pid != os.getpid():
        pid = parent_of(pid)
    return pid == os.getpid()


def draw_pictures() -> None:
    import numpy as np
    from PIL import Image

    Path("in").mkdir()
    for seed in range(PICTURES):
        grain = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
        Image.fromarray(grain).resize((30 + 5 * seed, 40), Image.Resampling.BICUBIC).save(f"in/{seed}.png")


def over_processes(model: str, kills: int) -> dict[str, Any]:
    """Kill runs of one process and of two workers, a folder of each in turn."""
    flags = ["--model", model, *FLAGS]
    alone = Storm(flags, PAUSE_MAX_S["alone"], children_of)
    workers = Storm([*flags, "-j", "2"], PAUSE_MAX_S["processes"], children_of)
    return storms([alone, workers], kills)


def over_a_cluster(model: str, kills: int) -> dict[str, Any]:
    """Kill runs on a cluster of two machines and a head, and lose these machines."""
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")  # a machine may be busy
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    machines = [cluster.add_node(num_cpus=1) for _ in range(2)]

    def lose_machine() -> None:
        cluster.remove_node(machines.pop(0), allow_graceful=False)
        machines.append(cluster.add_node(num_cpus=1, wait=False))

    flags = ["--model", model, *FLAGS, "--ray", "--address", cluster.address]
    try:
        return storms([Storm(flags, PAUSE_MAX_S["ray"], actors_of, lose_machine)], kills)
    finally:
        cluster.shutdown()


def storms(kinds: list[Storm], kills: int) -> dict[str, Any]:
    """Run storms in turn until so many processes and machines were killed; the first folder of each is undisturbed."""
    first = Storm(kinds[0].flags, 1.0, lambda driver: [], kinds[0].lose_machine)
    first.over_one_folder(0)
    folders, begin, total = 0, time.monotonic(), Counter[str]()
    while sum(total.values()) < kills:
        storm = kinds[folders % len(kinds)]
        storm.expected = first.expected
        storm.over_one_folder(min(kills - sum(total.values()), -(-kills // 4)))  # some are left for the other kinds
        folders += 1
        total = sum((each.kills for each in kinds), Counter[str]())
        wrong = [text for each in [first, *kinds] for text in each.wrong]
        print(folders, dict(total), f"{time.monotonic() - begin:.0f} s, wrong: {wrong}", file=sys.stderr, flush=True)
    return {"kills": dict(total), "folders": folders, "seconds": round(time.monotonic() - begin), "wrong": wrong}


if __name__ == "__main__":
    import torch

    import jobs.running.run  # noqa: F401  (loaded once, for all forks)

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as home:
        os.chdir(home)
        draw_pictures()
        what = over_a_cluster if sys.argv[1] == "ray" else over_processes
        report = what(sys.argv[3] if len(sys.argv) > 3 else "small", int(sys.argv[2]))
    print(json.dumps(report))
    sys.exit(bool(report["wrong"]))
