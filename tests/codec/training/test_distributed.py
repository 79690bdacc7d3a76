"""Two processes train as one: the same weights on both, one state, resumed as if unbroken.

This file is also their program: `test_distributed.py FOLDER`, started twice by torchrun.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

STEPS, BREAK = 14, 10


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    import codec

    root = str(Path(codec.__file__).parents[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_two_processes_have_one_set_of_weights(tmp_path: Path) -> None:
    done = torchrun(__file__, str(tmp_path))
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for run in ("unbroken", "broken"):
        assert all(torch.equal(first[run][name], second[run][name]) for name in first[run])
        assert [p.name for p in (tmp_path / run).iterdir()] == ["state.pt"]
    assert all(torch.equal(first["unbroken"][name], t) for name, t in first["broken"].items())
    assert any(not torch.equal(first["start"][name], t) for name, t in first["unbroken"].items())
    assert first["refused"] == "batches of {3}: make them multiples of 2, the processes"
    # the crops of both make up the common batch; each has noise of its own, so the loss alone is near one process's
    assert np.mean(first["losses"] + second["losses"]) == pytest.approx(np.mean(first["alone"]), rel=0.1)


@pytest.mark.slow
def test_the_command_under_torchrun(tmp_path: Path, photo, tiny_config) -> None:  # type: ignore[no-untyped-def]
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for i in range(4):
        Image.fromarray(photo(70 + i, 80, i)).save(tmp_path / f"photos/{i}.png")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(asdict(tiny_config(transform="paper"))))
    run, flags = tmp_path / "run", ["--config", str(tmp_path / "tiny.yaml"), "--crop", "64", "--batch", "2"]
    for steps in ("6", "12"):
        done = torchrun("-m", "jobs.train", *flags, "--steps", steps, "-o", str(run), str(tmp_path / "photos"))
        assert done.returncode == 0, done.stderr
    assert {p.name for p in run.iterdir()} == {"tiny.safetensors", "state.pt", "log.jsonl"}
    assert [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()] == [6, 12]


def main(folder: Path) -> None:
    """Train as one of the processes."""
    from codec.architecture import ModelConfig
    from codec.errors import ConfigError
    from codec.model import Codec
    from codec.training import distributed
    from codec.training.dataset import DeviceCrops
    from codec.training.schedule import Phase, TrainConfig
    from codec.training.trainer import Trainer

    sys.path.insert(0, str(Path(__file__).parents[2]))
    from conftest import TINY, make_photo

    album = DeviceCrops([make_photo(80, 96, seed) for seed in range(3)], torch.device("cpu"))
    stages = (Phase(share=1, context=False), Phase(share=2))  # the first leaves parameters without a gradient
    config = TrainConfig(steps=STEPS, crop=64, batch=4, warmup=2, phases=stages)
    found: dict[str, object] = {"losses": [], "alone": []}

    def trainer(name: str, seed: int, config: TrainConfig = config) -> Trainer:
        (folder / name).mkdir(exist_ok=True)
        torch.manual_seed(seed)
        return Trainer(Codec(ModelConfig(**TINY)), album, config, folder / name)

    def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in trainer.codec.state_dict().items()}

    if os.environ["RANK"] == "0":
        trainer("alone", 0).run(lambda _, loss: found["alone"].append(float(loss.weighted)))  # type: ignore[attr-defined]
    distributed.join_processes("cpu")
    own = distributed.this_process().rank  # the second's seconds would hold its waiting for the first
    assert distributed.agree_on_pause(1.0 + own, False, torch.device("cpu")) == (1.0, False)
    whole = trainer("unbroken", distributed.this_process().rank)  # DDP gives all the weights of the first
    found["start"] = weights(whole)
    whole.run(lambda _, loss: found["losses"].append(float(loss.weighted)))  # type: ignore[attr-defined]
    found["unbroken"] = weights(whole)
    half = trainer("broken", distributed.this_process().rank)
    half.run(lambda *_: None, pause=lambda: distributed.this_process().rank == 1)
    assert half.step == 0, "one of them wished not to begin, so neither did"
    half.run(lambda *_: None, pause=lambda: half.step == BREAK and distributed.this_process().rank == 1)
    assert half.step == BREAK, "one of them wished to stop, so both did"
    torch.distributed.barrier()
    again = trainer("broken", 7)
    again.run(lambda *_: None)
    found["broken"] = weights(again)
    try:
        trainer("odd", 0, TrainConfig(batch=3, crop=64))
    except ConfigError as error:
        found["refused"] = str(error)
    torch.save(found, folder / f"{distributed.this_process().rank}.pt")
    distributed.leave_processes()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
