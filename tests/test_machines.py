"""Files written under one arithmetic are read under every other: threads, oneDNN, vector units, determinism.

Each setting is a process of its own, for some can only be made before torch starts. This file is also their program:
`test_machines.py write FOLDER` and `test_machines.py read FOLDER`, with the setting in the environment.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

SETTINGS = {
    "as it comes": {},
    "2 threads": {"OMP_NUM_THREADS": "2"},
    "4 threads": {"OMP_NUM_THREADS": "4"},
    "no oneDNN": {"MACHINE": "no oneDNN"},
    "deterministic": {"MACHINE": "deterministic"},
    "no vectors": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "plain MKL": {"MKL_CBWR": "COMPATIBLE", "MACHINE": "flush denormals"},
}
FILES = ((1.0, 0), (4.5, 0), (8.0, 0), (4.5, 64))  # quality, side of the tiles
OTHER_PIXELS_MAX = 1e-3  # share that may differ, by one level: the synthesis is in floating point


def start(action: str, folder: Path, setting: dict[str, str]) -> str:
    import codec

    root = str(Path(codec.__file__).parents[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root, "PYTHONWARNINGS": "ignore", **setting}
    command = [sys.executable, __file__, action, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What each setting wrote: `setting/quality-tile.rdo`, its symbols and its own decoded pixels."""
    folder = tmp_path_factory.mktemp("machines")
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[:65, :100]
    waves = [np.sin((rows * np.cos(a) + cols * np.sin(a)) / w) for a, w in rng.uniform((0, 2), (3, 30), (12, 2))]
    samples = 128 + 25 * np.tensordot(rng.normal(size=(3, 12)), waves, 1).transpose(1, 2, 0)
    np.save(folder / "picture.npy", samples.clip(0, 255).astype(np.uint8))
    for name, setting in SETTINGS.items():
        (folder / name).mkdir()
        start("write", folder / name, setting)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("reader", SETTINGS)
def test_every_setting_reads_what_every_other_wrote(folder: Path, reader: str) -> None:
    results = json.loads(start("read", folder, SETTINGS[reader]))
    assert len(results) == len(SETTINGS) * len(FILES)
    for name, result in results.items():
        assert result["error"] is None, f"{name} read by {reader}: {result['error']}"
        assert result["same_symbols"], f"{name} read by {reader}"
        assert result["largest"] <= 1 and result["share"] <= OTHER_PIXELS_MAX, f"{name} read by {reader}: {result}"


def main(action: str, folder: Path) -> None:
    """One machine: write the picture at each quality, or compare what all have written."""
    import torch

    import codec
    from codec.images.pixels import Pixels

    machine = os.environ.get("MACHINE")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.backends.mkldnn.enabled = machine != "no oneDNN"  # type: ignore[assignment]
    torch.use_deterministic_algorithms(machine == "deterministic")
    torch.set_flush_denormal(machine == "flush denormals")
    model = codec.load("small")
    if action == "write":
        pixels = Pixels(np.load(folder.parent / "picture.npy"), grey=False)
        for quality, tile in FILES:
            data = codec.encode(model, pixels, quality, tile=tile)
            out = codec.decode(model, data)
            (folder / f"{quality}-{tile}.rdo").write_bytes(data)
            np.savez(folder / f"{quality}-{tile}.npz", y=out.latents.y, z=out.latents.z, pixels=out.pixels.data)
    else:
        files = sorted(folder.glob("*/*.rdo"))
        print(json.dumps({f"{f.parent.name}/{f.stem}": compare(model, f) for f in files}))


def compare(model: "codec.model.Codec", file: Path) -> dict[str, object]:  # type: ignore[name-defined]  # noqa: F821
    """How this machine's reading of a file differs from its writer's."""
    import codec
    from codec.errors import BitstreamError

    theirs = np.load(file.with_suffix(".npz"))
    try:
        out = codec.decode(model, file.read_bytes())
    except BitstreamError as error:
        return {"error": str(error)}
    gap = np.abs(out.pixels.data.astype(int) - theirs["pixels"])
    same = np.array_equal(out.latents.y, theirs["y"]) and np.array_equal(out.latents.z, theirs["z"])
    return {"error": None, "same_symbols": same, "largest": int(gap.max()), "share": float((gap > 0).mean())}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
