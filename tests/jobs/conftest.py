"""Fixtures: a published tiny codec, pictures on disk, and the commands, called in this process."""

import io
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from codec import storage
from codec.architecture import lmbda_of
from codec.checkpoint import publish
from codec.coding import encode
from codec.images.pixels import Pixels
from codec.loading import load
from codec.model import Codec
from jobs.record import SCHEMA, Outcome, Record, Score

SavePhoto = Callable[..., Path]
Command = Callable[..., int]


@pytest.fixture(scope="session")
def model(make_codec: Callable[..., Codec], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny codec as a checkpoint, for --model."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    publish(make_codec(), path)
    return str(path)


@pytest.fixture(scope="session")
def other_model(make_codec: Callable[..., Codec], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Another codec of the same architecture."""
    path = tmp_path_factory.mktemp("model") / "other.safetensors"
    publish(make_codec(seed=1), path)
    return str(path)


@pytest.fixture(scope="session")
def codec(model: str) -> Codec:
    """Codec that `model` loads as, its weights rounded to fp16."""
    return load(model)


@pytest.fixture(autouse=True)
def settings_of_the_process() -> Iterator[None]:
    """Restore the signal handlers and arithmetic that a command sets for the life of its process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    torch.set_flush_denormal(False)
    torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def save_photo(photo: Callable[..., Any], folder: Path) -> SavePhoto:
    """Gives `save_photo(name, height=24, width=40, seed=0, mode="RGB", **options)`: a picture below the directory."""

    def save(name: str, height: int = 24, width: int = 40, seed: int = 0, mode: str = "RGB", **options: Any) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(height, width, seed)).convert(mode).save(path, **options)
        return path

    return save


@pytest.fixture(scope="session")
def rdo_bytes(codec: Codec, photo: Callable[..., Any]) -> bytes:
    """Bytes of a plainly encoded picture of 40 x 24 pixels at quality 5."""
    return encode(codec, Pixels(photo(24, 40), grey=False), 5.0)


@pytest.fixture
def rdo_encode(model: str, folder: Path) -> Command:
    """`rdo-encode` with the tiny codec, by the networks alone: untrained, they cost more than lossless files do."""
    from jobs.encode import main

    return lambda *argv: main(["--model", model, "--threads", "1", "--exact", "never", *map(str, argv)])


@pytest.fixture
def rdo_decode(model: str, folder: Path) -> Command:
    """`rdo-decode` with the tiny codec."""
    from jobs.decode import main

    return lambda *argv: main(["--model", model, *map(str, argv)])


@pytest.fixture
def rdo_compare(model: str, folder: Path) -> Command:
    """`rdo-compare` with the tiny codec."""
    from jobs.compare import main

    return lambda *argv: main(["--model", model, *map(str, argv)])


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Gives `stdin(data)`: sets what standard input holds."""
    return lambda data: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.fixture
def records(folder: Path) -> Callable[..., dict[str, Any]]:
    """Gives `records(file)`: output name -> its last record, as JSON."""

    def read(file: str = "rdo-out/results.jsonl") -> dict[str, Any]:
        lines = (folder / file).read_text(encoding="utf-8").splitlines()
        return {record["output"]: record for record in map(json.loads, lines)}

    return read


@pytest.fixture(scope="session")
def make_record() -> Callable[..., Record]:
    """Gives `make_record(image, quality, saved=0.05, iters=100)`: a record whose curve every test can foresee.

    PSNR is 26 + 1.5 * quality in dB, MS-SSIM 10 + quality in dB, SSIMULACRA 2 is 20 + 8 * quality, Butteraugli
    `quality` in dB, bpp grows by a quarter with each quality; refinement saves bits at equal quality.
    """

    def make(image: str, quality: float, saved: float = 0.05, iters: int = 100) -> Record:
        bpp, psnr_db, lmbda = 0.2 * 1.25**quality, 26 + 1.5 * quality, lmbda_of(quality)
        ms_ssim, ssimulacra2 = 1 - 10 ** (-1 - quality / 10), 20.0 + 8 * quality
        scores = [
            Score(
                int(rate * 1000), rate, psnr_db, ms_ssim, ssimulacra2, rate + lmbda * 255**2 / 10 ** (psnr_db / 10),
                butteraugli=10 ** (-quality / 20),
            )
            for rate in (bpp, bpp * (1 - saved))
        ]  # fmt: skip
        gain_percent = 100 * (1 - scores[1].cost / scores[0].cost)
        outcome = Outcome(f"{image}-{quality}-{iters}", 100, 80, *scores, gain_percent, True, iters)
        return Record(
            SCHEMA, "done", image, f"{image}.rdo", image, "tiny", "cafe", f"{quality}-{iters}", quality, lmbda,
            iters / 10, "cpu", outcome=outcome,
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def living() -> Callable[[int], list[str]]:
    """Gives `living(session)`: the processes of a session that are not yet dead."""

    def look(session: int) -> list[str]:
        found = subprocess.run(["ps", "-s", str(session), "-o", "stat=,args="], capture_output=True, text=True).stdout
        return [line for line in found.splitlines() if not line.startswith("Z")]

    return look


@pytest.fixture(scope="session")
def pixels_of() -> Callable[[Path], Any]:
    """Gives `pixels_of(path)`: a picture's samples as int64, read by Pillow alone."""

    def read(path: Path) -> Any:
        with Image.open(path) as image:
            return np.asarray(image).astype(np.int64)

    return read


@pytest.fixture
def workers_of() -> Callable[[str], AbstractContextManager[list[str]]]:
    """Gives `workers_of(kind)`: a context with the flags of two workers, `processes` or those of a `cluster`."""
    return _workers_of


@contextmanager
def _workers_of(kind: str) -> Iterator[list[str]]:
    if kind == "processes":
        yield ["-j", "2"]
        return
    pytest.importorskip("ray")
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")  # a machine may be busy
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        yield ["--ray", "--address", cluster.address, "--workers", "2"]
    finally:
        cluster.shutdown()


def files_below(url: str) -> dict[str, bytes]:
    """Return the .rdo files below a URL, by their names there."""
    found = (each.name for each in storage.walk(url))
    return {name.removeprefix(f"{url}/"): storage.read(name) for name in found if name.endswith(".rdo")}


def files_in(folder: str) -> dict[str, bytes]:
    """Return the .rdo files below a folder, by their names there."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*.rdo")}
