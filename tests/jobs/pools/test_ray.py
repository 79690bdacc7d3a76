"""Ray: the same bytes, and what is left of a run that loses workers, a machine or its folders. Ray is the real one."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from codec.errors import ConfigError
from jobs.pools.base import Task
from jobs.pools.cluster import check_reachable
from jobs.pools.ray import NODES_S, RayPool, absolute_model
from jobs.record import Record, read_records
from jobs.running.encode_settings import EncodeConfig
from jobs.running.run import run_tasks
from jobs.running.worklist import NOT_WRITTEN, Item
from rdo.config import RefineConfig

Living = Callable[[int], list[str]]
ROOT = Path(__file__).parents[3]
PLAIN = EncodeConfig(refine=RefineConfig(iters=0), exact="never")
BRIEF = EncodeConfig(refine=RefineConfig(iters=100_000, method="ste", time_budget=2.0), exact="never")
LAZY = """
import sys
from jobs.encode import main
status = main(sys.argv[1:])
print(sorted({"ray", "optuna", "matplotlib"} & set(sys.modules)))
sys.exit(status)
"""


@pytest.fixture(scope="module")
def two_cpus() -> Iterator[None]:
    """Local Ray cluster."""
    ray = pytest.importorskip("ray")
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def files(folder: str) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*.rdo")}


def collect(pool: RayPool, count: int) -> dict[str, Record]:
    found: dict[str, Record] = {}
    while len(found) < count:
        found |= {task.item.input: record for task, record in pool.wait()}
    return found


def test_a_run_on_this_machine_imports_nothing_of_clusters(save_photo: Any, model: str) -> None:
    save_photo("in/a.png", 10, 10)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", LAZY, "--model", model, "--iters", "0", "in"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith("\n[]\n"), done.stdout + done.stderr


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense", "host:port"])
def test_an_address_that_nobody_answers_is_told_at_once(address: str) -> None:
    begin = time.monotonic()
    with pytest.raises(ConfigError, match=f"--address {address}: nobody answers .*write HOST:PORT of a head node"):
        check_reachable(address)
    assert time.monotonic() - begin < 6


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ("small", "small"), ("run/a.safetensors", "{here}/run/a.safetensors"),
        ("compressai:mbt2018:3", "compressai:mbt2018:3"),
        ("compressai:mbt2018-mean:3:w/a.pth", "compressai:mbt2018-mean:3:{here}/w/a.pth"),
        ("compressai:mbt2018-mean-vbr:a.pth", "compressai:mbt2018-mean-vbr:{here}/a.pth"),
    ],
)  # fmt: skip
def test_a_model_has_the_same_name_in_every_folder(model: str, named: str, folder: Path) -> None:
    assert absolute_model(model) == named.format(here=Path.cwd())


def test_a_cluster_that_was_killed_here_is_told_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    check_reachable("auto")  # nothing is known of one: Ray itself says so at once
    (folder / "ray").mkdir()
    (folder / "ray/ray_current_cluster").write_text("127.0.0.1:1\n")
    with pytest.raises(ConfigError, match="--address auto: nobody answers"):
        check_reachable("auto")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workers", "2"], "--workers: of a Ray cluster: add --ray"),
        (["--address", "auto"], "--address: of a Ray cluster: add --ray"),
        (["--ray", "-j", "2"], "--jobs and --ray"),
        (["--ray", "--workers", "0"], "--workers 0: must be positive"),
        (["-j", "-1"], "--jobs -1: must be positive"),
        (["--max-seconds-per-image", "nan"], "--max-seconds-per-image nan: must be positive"),
        (["--threads", "0"], "--threads 0: must be positive"),
    ],
)
def test_flags_that_do_not_go_together(
    save_photo: Any, rdo_encode: Any, flags: list[str], message: str, capsys
) -> None:
    save_photo("in/a.png", 10, 10)
    assert rdo_encode(*flags, "in") == 2
    assert message in capsys.readouterr().err and not Path("rdo-out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_ended_leaves_no_cluster_behind(
    save_photo: Any, model: str, folder: Path, living: Living, number: signal.Signals
) -> None:
    for i in range(12):
        save_photo(f"in/{i}.png", 20, 20, seed=i)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = "import sys; from jobs.encode import main; sys.exit(main(sys.argv[1:]))"
    flags = ("--iters", "100000", "--method", "ste", "--time-budget", "3", "--ray", "--workers", "2", "--threads", "1")
    run = subprocess.Popen(
        [sys.executable, "-W", "error", "-W", "ignore::FutureWarning", "-c", program, "--model", model, *flags, "in"],
        env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    log = folder / "rdo-out/results.jsonl"
    deadline = time.monotonic() + 200
    while len(read_records(log)) < 2 and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(run.pid, number) if number == signal.SIGINT else run.send_signal(number)
    _, told = run.communicate(timeout=100)
    assert run.returncode == 130 and b"Traceback" not in told, told.decode()
    while living(run.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    done = read_records(log)
    assert not living(run.pid) and 2 <= len(done) < 12 and {r.status for r in done} == {"done"}
    left = {p.name for p in (folder / "rdo-out").iterdir()}
    assert left >= {Path(r.output).name for r in done} and not [name for name in left if name.startswith(".rdo-")]


@pytest.mark.slow
def test_a_machine_that_is_lost_leaves_its_work_to_the_others(model: str, save_photo: Any, folder: Path) -> None:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    pool = RayPool(model, address=cluster.address, workers=2, shared=str(folder), threads=1)
    try:
        for i in range(8):
            pool.submit(Task(Item(str(save_photo(f"{i}.png", 20, 20)), f"{i}.rdo", 100), BRIEF))
        found = {task.item.input: record for task, record in pool.wait()}
        while sum(bool(worker.tasks) for worker in pool.workers) < 2:  # both machines are at work
            found |= {task.item.input: record for task, record in pool.wait(0.1)}
        assert len(found) < 8
        cluster.remove_node(second, allow_graceful=False)
        found |= collect(pool, 8 - len(found))
        assert len(found) == 8 and {record.status for record in found.values()} == {"done"}
        assert len(files(".")) == 8
    finally:
        pool.close()
        cluster.shutdown()
    assert not ray.is_initialized() and not list(folder.glob(".rdo-*"))


def test_the_number_of_workers_follows_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    machines, now = [4], [0.0]
    monkeypatch.setattr("jobs.pools.ray.connect", lambda address: False)
    monkeypatch.setattr("jobs.pools.ray.worker_capacity", lambda *settings: machines[0])
    monkeypatch.setattr("jobs.pools.ray.fitting_workers", lambda *settings: machines[0])
    monkeypatch.setattr("jobs.pools.ray.time.monotonic", lambda: now[0])
    free, asked = RayPool("small"), RayPool("small", workers=3)
    free.workers_max -= 1  # by a machine on which no worker can start
    found = []
    for machines[0] in (4, 9, 2, 0, 6):
        now[0] += NODES_S
        free._follow_cluster()
        asked._follow_cluster()
        found.append(free.slots)
    assert found == [3, 8, 1, 1, 6] and asked.slots == 3


@pytest.mark.slow
def test_machines_that_come_are_used_and_those_that_go_are_done_without(
    model: str, save_photo: Any, folder: Path
) -> None:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    pool = RayPool(model, address=cluster.address, shared=str(folder), threads=1)
    tasks = [Task(Item(str(save_photo(f"{i}.png", 20, 20, seed=i)), f"{i}.rdo", 400), BRIEF) for i in range(16)]
    found, busiest, slots, second = list[Record](), 0, [pool.slots], None
    try:
        for record in run_tasks(tasks, None, None, pool):
            found.append(record)
            busiest = max(busiest, sum(bool(worker.tasks) for worker in pool.workers))
            slots += [pool.slots] if pool.slots != slots[-1] else []
            if len(found) == 1:
                second = cluster.add_node(num_cpus=2)
            elif pool.slots == 3 and busiest == 3 and second:
                cluster.remove_node(second, allow_graceful=False)
                second = None
    finally:
        pool.close()
        cluster.shutdown()
    assert {record.status for record in found} == {"done"} and len(files(".")) == 16
    assert busiest == 3 and slots[:2] == [1, 3] and second is None


@pytest.mark.slow
def test_workers_share_a_gpu_and_machines_with_gpus_may_come_later(model: str, save_photo: Any, folder: Path) -> None:
    ray = pytest.importorskip("ray")
    ray.init("local", num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False)
    pool = RayPool(model, gpus_per_worker=0.25, shared=str(folder), threads=1)  # of a GPU in Ray's books alone
    try:
        assert pool.slots == 4
        pool.submit(Task(Item(str(save_photo("a.png", 20, 20)), "a.rdo", 400), PLAIN))
        [record] = collect(pool, 1).values()
        [worker] = pool.workers
        call = worker.handle.remote.__ray_call__.remote(lambda self: ray.get_runtime_context().get_assigned_resources())
        assert record.status == "done" and ray.get(call)["GPU"] == 0.25
        with pytest.raises(ConfigError, match="--gpus-per-worker 2: the cluster has 1 GPUs: name --workers too"):
            RayPool(model, gpus_per_worker=2)
        waiting = RayPool(model, gpus_per_worker=2, workers=5)
        assert waiting.slots == 5
    finally:
        pool.close()
        ray.shutdown()


@pytest.mark.slow
def test_prometheus_reads_what_was_done_on_every_machine(model: str, save_photo: Any, folder: Path) -> None:
    ray = pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, _metrics_export_port=port)
    pool = RayPool(model, workers=1, shared=str(folder), threads=1)
    try:
        (folder / "torn.png").write_bytes(b"no picture")
        names = ["torn.png", *(str(save_photo(f"{i}.png", 20, 20, seed=i)) for i in range(3))]
        for index, name in enumerate(names):
            pool.submit(Task(Item(name, f"{index}.rdo", 400), PLAIN))
        records = collect(pool, 4).values()
        told, deadline = dict[str, float](), time.monotonic() + 90
        while told.get("pictures_total done") != 3 and time.monotonic() < deadline:  # Ray reports now and then
            time.sleep(0.5)
            told = scraped(port)
    finally:
        pool.close()
        ray.shutdown()
    assert sum(record.status == "failed" for record in records) == 1
    assert (told["pictures_total done"], told["pictures_total failed"]) == (3, 1)
    assert told["megapixels_total"] == pytest.approx(3 * 400 / 1e6)
    assert (told["gain_percent_count"], told["picture_seconds_count"]) == (3, 4)


def scraped(port: int) -> dict[str, float]:
    """Return the numbers of our metrics that a machine of a cluster shows to Prometheus, by name and status."""
    found = dict[str, float]()
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
        for line in page.read().decode().splitlines():
            if shown := re.match(r"ray_rdo_(\w+)\{(.*)\} (\S+)$", line):
                status = re.search(r'status="(\w+)"', shown[2])
                found[shown[1] + (f" {status[1]}" if status else "")] = float(shown[3])
    return found


@pytest.mark.slow
def test_a_cluster_writes_the_same_bytes_as_one_process(two_cpus: None, save_photo: Any, rdo_encode: Any) -> None:
    for i in range(5):
        save_photo(f"in/{i}.png", 20 + 10 * i, 50, seed=i)
    settings = ("--iters", 6, "--method", "sga")
    assert rdo_encode(*settings, "-o", "out1", "in") == 0
    assert rdo_encode(*settings, "--ray", "--workers", 2, "-o", "out2", "in") == 0
    assert len(files("out1")) == 5 and files("out1") == files("out2")
    assert sorted(p.name for p in Path("out2").iterdir()) == [*(f"{i}.png.rdo" for i in range(5)), "results.jsonl"]
    assert rdo_encode(*settings, "--json", "-o", "out2", "in") == 0


@pytest.mark.slow
def test_an_actor_that_is_killed_each_time_is_recorded_and_the_rest_done(
    two_cpus: None, model: str, save_photo: Any, folder: Path
) -> None:
    os.mkfifo(folder / "hangs.png")
    pool = RayPool(model, workers=2, shared=str(folder), threads=1)
    try:
        pool.submit(Task(Item("hangs.png", NOT_WRITTEN, 100), PLAIN))
        for i in range(3):
            pool.submit(Task(Item(str(save_photo(f"{i}.png", 10, 10)), f"{i}.rdo", 100), PLAIN))
        found = dict[str, Record]()
        while len(found) < 4:
            found |= {task.item.input: record for task, record in pool.wait(0.2)}
            for pid in actors_at("hangs.png"):
                os.kill(pid, signal.SIGKILL)
    finally:
        pool.close()
    assert "its worker died 3 times" in str(found.pop("hangs.png").error)
    assert {record.status for record in found.values()} == {"done"} and len(files(".")) == 3


def actors_at(name: str) -> list[int]:
    """Return ids of the local actors that are encoding a picture."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (process / "cmdline").read_bytes()
            found += [int(process.name)] if line.startswith(b"ray::") and name.encode() in line else []
    return found


@pytest.mark.slow
def test_a_folder_that_the_workers_cannot_see_is_told_at_once(
    two_cpus: None, model: str, save_photo: Any, folder: Path
) -> None:
    here = Task(Item(str(save_photo("a.png", 10, 10)), str(folder / "out/a.rdo"), 100), PLAIN)
    pool = RayPool(model, workers=1, shared=str(folder), sources=("/nowhere/else/b.png",), threads=1)
    pool.submit(here)
    with pytest.raises(ConfigError, match="no worker can start: /nowhere/else: not the same folder on"):
        pool.wait()
    pool.close()
    assert not Path("out").exists()
