"""The recipes of configs/cluster: commands that the commands take, and a job that is really submitted."""

import os
import shlex
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from codec.config_files import config_folder
from jobs.encode import build_parser

FOLDER = config_folder() / "cluster"
ROOT = Path(__file__).parents[2]


def test_a_kubernetes_job_asks_for_what_there_is() -> None:
    job = yaml.safe_load((FOLDER / "rayjob.yaml").read_text(encoding="utf-8"))
    program, *flags = shlex.split(job["spec"]["entrypoint"])
    arguments = build_parser().parse_args(flags)
    [group] = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    [container] = group["template"]["spec"]["containers"]
    cpus = group["replicas"] * int(container["resources"]["limits"]["cpu"])
    assert program == "rdo-encode" and arguments.ray and arguments.workers <= cpus
    assert all(name.startswith("s3://") for name in (*arguments.inputs, arguments.output))
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    [secret] = container["envFrom"]
    assert head["envFrom"] == [secret] and secret["secretRef"]["name"] == "rdo-bucket", "all reach the bucket"


@pytest.mark.slow
def test_rays_launcher_takes_the_cluster() -> None:
    pytest.importorskip("ray")
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(yaml.safe_load((FOLDER / "cluster.yaml").read_text(encoding="utf-8"))))


@pytest.mark.slow
def test_a_job_is_submitted_and_done(save_photo: Any, model: str, folder: Path) -> None:
    """By the recipe as it stands, to a head node of its own."""
    pytest.importorskip("ray")
    save_photo("in/a.png")
    save_photo("in/b.png", 30, 30)
    (folder / "bin").mkdir()
    program = "import sys; from jobs.encode import main; sys.exit(main(sys.argv[1:]))"
    for name, code in (("rdo-encode", program), ("ray", "from ray.scripts.scripts import main; main()")):
        (folder / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -W ignore -c "{code}" "$@"\n')
        (folder / "bin" / name).chmod(0o755)
    port, dashboard = free_port(), free_port()
    environment = {
        **os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0", "HOME": str(folder), "HEAD": f"http://127.0.0.1:{dashboard}",
    }  # fmt: skip
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE"):
        environment.pop(name, None)

    def call(*command: str) -> str:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    call("ray", "get-auth-token", "--generate")
    start = ("ray", "start", "--head", "--block", f"--port={port}", f"--dashboard-port={dashboard}", "--num-cpus=2")
    head = subprocess.Popen(start, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(dashboard)
    try:
        flags = ("--model", model, "--exact", "never", "--iters", "2", "--workers", "2", "--threads", "1")
        told = call("bash", str(FOLDER / "submit.sh"), str(folder / "in"), "-o", str(folder / "out"), *flags)
        assert "succeeded" in told and "all, mean cost" in told, told
        assert {p.name for p in (folder / "out").iterdir()} == {"a.png.rdo", "b.png.rdo", "results.jsonl"}
        told = call("bash", str(FOLDER / "submit.sh"), str(folder / "in"), "-o", str(folder / "out"), *flags)
        assert "2 of 2 were done before" in told
    finally:
        head.terminate()  # and all that it started; `ray stop` would end every cluster of this machine
        head.wait(60)


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with suppress(OSError):
            return socket.create_connection(("127.0.0.1", port)).close()
        time.sleep(0.2)
    pytest.fail("the head node's dashboard does not answer")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
