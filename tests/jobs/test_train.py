"""`rdo-train`: a few steps on a few pictures, resumed, interrupted, refused."""

import json
import math
import os
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml

from codec.architecture import trained_for
from codec.checkpoint import read_checkpoint
from codec.coding import decode, encode
from codec.images.read import read_image
from codec.loading import load
from codec.training.streaming import StreamedCrops
from codec.training.trainer import Trainer
from jobs.train import build_parser, main, settings_of
from jobs.training_monitor import QUALITIES, TrainingMonitor

Train = Callable[..., int]


@pytest.fixture
def rdo_train(save_photo, tiny_config: Callable, folder: Path) -> Train:
    """Return `rdo-train` on four pictures, validating on one."""
    for i in range(4):
        save_photo(f"photos/{i}.png", 64 + 8 * i, 96 - 8 * i, seed=i)
    save_photo("shown/a.png", 40, 50)
    Path("photos/notes.txt").write_text("no picture")
    Path("tiny.yaml").write_text(yaml.safe_dump(asdict(tiny_config())))
    always = ["--validation", "shown", "--crop", "64", "--batch", "1", "--warmup", "2"]
    return lambda *argv: main([*always, *map(str, argv)])


def weights(run: str) -> dict[str, torch.Tensor]:
    return read_checkpoint(Path(run) / "tiny.safetensors")[1]


def log(run: str) -> list[dict]:
    return [json.loads(line) for line in (Path(run) / "log.jsonl").read_text().splitlines()]


@pytest.fixture
def rdo_train_on(rdo_train: Train, model: str) -> Train:
    """Return `rdo-train` from given weights, which saves the seconds of a new model's KLT."""
    return lambda *argv: rdo_train("--init", model, *argv)


@pytest.mark.slow
def test_a_new_model(rdo_train: Train, folder: Path, capsys) -> None:
    assert rdo_train("--config", "tiny.yaml", "--steps", 4, "-o", "run", "photos") == 0
    assert {p.name for p in Path("run").iterdir()} == {"tiny.safetensors", "state.pt", "log.jsonl"}
    codec = load("run/tiny.safetensors")
    pixels = read_image(folder / "shown/a.png")
    assert decode(codec, encode(codec, pixels)).pixels.data.shape == (40, 50, 3)
    row = log("run")[0]["rows"][0]
    assert log("run")[0]["step"] == 4 and len(log("run")[0]["rows"]) == len(QUALITIES)
    assert set(row) == {"quality", "bpp_est", "psnr_db", "cost_est"}
    assert "step 4: quality 1:" in capsys.readouterr().out


def test_weights_and_log_are_exported_too_without_the_state(rdo_train_on: Train) -> None:
    assert rdo_train_on("--steps", 2, "--export", "out/deep", "-o", "run", "photos") == 0
    assert sorted(path.name for path in Path("out/deep").iterdir()) == ["log.jsonl", "tiny.safetensors"]
    assert Path("out/deep/log.jsonl").read_bytes() == Path("run/log.jsonl").read_bytes()
    exported = weights("out/deep")
    assert all(torch.equal(tensor, exported[name]) for name, tensor in weights("run").items())


def test_weights_that_were_just_published_are_not_measured_again(rdo_train_on: Train) -> None:
    flags = ("--steps", 50, "--validate-every", 0, "--stop-after", 0.01, "-o", "run", "photos")
    assert rdo_train_on(*flags) == 0
    assert [line["step"] for line in log("run")] == [1], "after its step, and not again at the end of the call"


def test_the_gpu_schedule_runs_with_graphics_pauses_and_goes_on(rdo_train_on: Train, monkeypatch) -> None:
    monkeypatch.setattr("codec.training.mixing.SHEETS", 18)
    flags = ("--schedule", "h200", "--no-compile", "--precision", "fp32", "--crop", 64, "--batch", 4, "-o", "run")
    assert rdo_train_on(*flags, "--stop-after", 0.01, "--export", "out", "photos") == 0
    [first] = log("out")
    assert first["step"] >= 1 and not first["finished"] and load("out/tiny.safetensors")
    assert rdo_train_on(*flags, "--time-budget", 0.5, "--export", "out", "photos") == 0
    assert log("out")[-1]["finished"] and log("out")[-1]["step"] > first["step"]


def test_a_rerun_does_no_more_and_a_longer_one_goes_on(rdo_train_on: Train) -> None:
    assert rdo_train_on("--steps", 4, "-o", "run", "photos") == 0
    trained = weights("run")
    assert rdo_train_on("--steps", 4, "-o", "run", "photos") == 0
    assert log("run")[-1]["step"] == 4
    assert all(torch.equal(trained[k], v) for k, v in weights("run").items())
    assert rdo_train_on("--steps", 6, "-o", "run", "photos") == 0
    assert log("run")[-1]["step"] == 6
    assert any(not torch.equal(trained[k], v) for k, v in weights("run").items())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_resumes_as_if_unbroken(rdo_train_on: Train, monkeypatch, number: int) -> None:
    assert rdo_train_on("--steps", 4, "-o", "whole", "photos") == 0
    honest = TrainingMonitor.__call__

    def monitor(self, trainer, loss) -> None:
        honest(self, trainer, loss)
        if trainer.step == 2:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingMonitor, "__call__", monitor)
        assert rdo_train_on("--steps", 4, "-o", "broken", "photos") == 130
    assert log("broken")[-1]["step"] == 2 and load("broken/tiny.safetensors")
    assert rdo_train_on("--steps", 4, "-o", "broken", "photos") == 0
    assert log("broken")[-1]["step"] == 4
    for name, tensor in weights("whole").items():
        assert torch.equal(tensor, weights("broken")[name]), name


def test_a_run_that_is_ended_where_it_was_interrupted_is_calibrated_first(rdo_train_on: Train, monkeypatch) -> None:
    honest, calibrated = TrainingMonitor.__call__, list[int]()
    monkeypatch.setattr("jobs.training_monitor.calibrate", lambda codec, photos: calibrated.append(len(photos)))

    def monitor(self, trainer, loss) -> None:
        honest(self, trainer, loss)
        if trainer.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingMonitor, "__call__", monitor)
        assert rdo_train_on("--steps", 4, "-o", "run", "photos") == 130
    assert calibrated == [] and [line["finished"] for line in log("run")] == [False]
    for _ in range(2):
        assert rdo_train_on("--steps", 2, "-o", "run", "photos") == 0
        assert calibrated == [1] and [line["finished"] for line in log("run")] == [False, True]


def test_a_streams_decoding_ends_with_the_run(rdo_train_on: Train, monkeypatch) -> None:
    honest, closed = StreamedCrops.close, list[bool]()
    monkeypatch.setattr(StreamedCrops, "close", lambda self: closed.append(True) or honest(self))
    assert rdo_train_on("--steps", 1, "--stream", 2, "-o", "run", "photos") == 0 and closed


def test_a_run_that_diverges_at_once_goes_back_to_its_start(rdo_train_on: Train, monkeypatch, capsys) -> None:
    monkeypatch.setattr("codec.training.trainer.BAD_STEPS_MAX", 3)
    monkeypatch.setattr("codec.training.trainer.CHECK_EVERY", 3)
    honest, spoilt = Trainer._gradients, list[int]()

    def gradients(self, batch, phase):
        loss = honest(self, batch, phase)
        if len(spoilt) < 3:
            spoilt.append(self.step)
            next(self.codec.parameters()).grad.fill_(math.nan)
        return loss

    monkeypatch.setattr(Trainer, "_gradients", gradients)
    assert rdo_train_on("--steps", 4, "-o", "run", "photos") == 0
    assert spoilt == [0, 1, 2] and log("run")[-1]["step"] == 4


def test_a_run_may_start_from_a_model(rdo_train_on: Train, model) -> None:
    still = [part for name in ("--lr", "--lr-transform", "--lr-linear") for part in (name, 1e-9)]
    assert rdo_train_on("--steps", 1, *still, "-o", "run", "photos") == 0
    before, after = read_checkpoint(Path(model))[1], weights("run")
    assert all(torch.allclose(before[k].float(), v.float(), atol=1e-3) for k, v in after.items() if "rows" not in k)


def test_a_run_killed_before_its_weights_were_published_publishes_them(rdo_train_on: Train, monkeypatch) -> None:
    with monkeypatch.context() as killed, pytest.raises(ZeroDivisionError):
        killed.setattr(TrainingMonitor, "validate", lambda self, trainer: 1 / 0)
        rdo_train_on("--steps", 2, "-o", "run", "photos")
    assert {p.name for p in Path("run").iterdir()} == {"state.pt"}
    assert rdo_train_on("--steps", 2, "-o", "run", "photos") == 0
    assert log("run")[-1]["step"] == 2 and load("run/tiny.safetensors")


def test_a_deeper_model_starts_from_a_shallower_one(rdo_train_on: Train, tiny_config: Callable, model: str) -> None:
    Path("deeper.yaml").write_text(yaml.safe_dump(asdict(tiny_config(synthesis_blocks=2))))
    still = [part for name in ("--lr", "--lr-transform", "--lr-linear") for part in (name, 1e-9)]
    assert rdo_train_on("--config", "deeper.yaml", "--steps", 1, *still, "-o", "run", "photos") == 0
    before, after = read_checkpoint(Path(model))[1], weights("run")
    assert "g_s.blocks.1.first.weight" in after.keys() - before.keys()
    assert all(torch.allclose(v.float(), after[k].float(), atol=1e-3) for k, v in before.items() if "rows" not in k)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config", "nonesuch", "photos"], "nonesuch: no such model configuration; there are base, base-skip, small"),
        (["--config", "missing.yaml", "photos"], "missing.yaml: cannot be read"),
        (["--config", "typo.yaml", "photos"], "typo.yaml: widht: unknown key; did you mean 'width'"),
        (["empty"], "empty: no pictures found"),
        (["missing"], "missing: no such folder"),
        (["shown"], "shown: no photo with sides of at least 64 pixels; the largest has"),
        (["--crop", "100", "photos"], "--crop 100 is no multiple of 64"),
        (["--steps", "0", "photos"], "must be positive"),
        (["--init", "nonesuch", "photos"], "nonesuch: no such model"),
        (["--init", "small", "--config", "tiny.yaml", "photos"], "in greater depths alone"),
        (["--device", "nonesuch", "photos"], "--device nonesuch: not usable here"),
        (
            ["--schedule", "nonesuch", "photos"],
            "nonesuch: no such schedule; there are cpu, cpu-broad, cpu-ms-ssim, cpu-visual, h200, paper,",
        ),
        (["--time-budget", "0", "photos"], "must be positive"),
        (["--stream", "0", "photos"], "--stream 0: keep at least one photo"),
        (["--threads", "0", "photos"], "--threads 0: must be at least 1"),
    ],
)
def test_usage_errors_are_status_2(rdo_train: Train, flags: list[str], message: str, capsys) -> None:
    Path("empty").mkdir()
    Path("typo.yaml").write_text("widht: 3\n")
    assert rdo_train("--steps", 1, "-o", "run", *flags) == 2
    assert f"error: {message}" in (told := capsys.readouterr().err) or message in told.splitlines()[-1]
    assert not Path("run").exists()


def test_a_call_stops_after_its_seconds_and_the_next_goes_on(rdo_train_on: Train, capsys) -> None:
    assert rdo_train_on("--steps", 5, "--stop-after", 0, "-o", "run", "photos") == 0
    assert log("run")[-1]["step"] == 1 and Path("run/state.pt").exists()
    assert "starts; validated on" in capsys.readouterr().err
    assert rdo_train_on("--steps", 5, "--stop-after", 600, "-o", "run", "photos") == 0
    assert log("run")[-1]["step"] == 5
    assert "goes on at step 1; validated on" in capsys.readouterr().err


def test_speed_share_and_memory_are_told(rdo_train_on: Train, capsys) -> None:
    assert rdo_train_on("--steps", 3, "-o", "run", "photos") == 0
    assert " steps/s, " in capsys.readouterr().out
    line = log("run")[-1]
    assert 3 / line["steps_per_s"] == pytest.approx(line["seconds"], abs=0.06)  # told to a tenth
    assert line["crops_per_s"] == pytest.approx(line["steps_per_s"])
    assert 0 < line["flops_share"] < 1 and line["memory_bytes"] > 1e8


def test_a_schedule_of_phases_from_a_file_and_flags_over_it(rdo_train_on: Train) -> None:
    phases = [{"share": 1}, {"share": 1, "crop": 128, "rounding": "hard"}]
    Path("mine.yaml").write_text(yaml.safe_dump({"time_budget": 9999, "batch": 2, "compile": True, "phases": phases}))
    flags = ["--schedule", "mine.yaml", "--steps", "6", "--crop", "64", "--no-compile", "photos", "-o", "run"]
    config = settings_of(build_parser().parse_args(flags)).schedule
    assert (config.steps, config.time_budget, config.batch, config.crops) == (6, None, 2, {64}) and not config.compile
    assert [phase.rounding for phase in config.phases] == ["noise", "hard"]
    assert rdo_train_on("--schedule", "mine.yaml", "--no-compile", "--steps", 3, "-o", "run", "photos") == 0
    assert log("run")[-1]["step"] == 3


def test_weights_tell_what_their_last_phase_trained_for(rdo_train: Train, save_photo, model) -> None:
    save_photo("photos/large.png", 200, 210)
    save_photo("shown/large.png", 180, 190)
    Path("mixed.yaml").write_text("phases:\n- {crop: 64}\n- {crop: 192, distortion: ms_ssim}\n")
    flags = ("--schedule", "mixed.yaml", "--steps", 2, "-o", "run", "photos")
    assert main(["--init", model, "--validation", "shown", "--batch", "1", *map(str, flags)]) == 0
    config = load("run/tiny-ms-ssim.safetensors").config
    assert config == trained_for(load(model).config, "ms_ssim") and config.distortion == "ms_ssim"
    assert trained_for(config, "mse") == load(model).config
    assert trained_for(config, "mse", for_eyes=True).name == "tiny-visual"


def test_weights_tuned_for_the_eye_bear_it_in_their_name(rdo_train: Train, save_photo, model) -> None:
    save_photo("photos/a.png", 96, 96)
    Path("visual.yaml").write_text("phases:\n- {crop: 64, visual_share: 0.9, gain_profile: 3}\n")
    flags = ("--schedule", "visual.yaml", "--steps", 2, "--batch", 1, "-o", "run", "photos")
    assert main(["--init", model, *map(str, flags)]) == 0
    config = load("run/tiny-visual.safetensors").config
    assert (config.name, config.distortion) == ("tiny-visual", "mse")


def test_a_phase_whose_crops_no_photo_has_is_refused_before_it_starts(rdo_train_on: Train, capsys) -> None:
    Path("large.yaml").write_text(yaml.safe_dump({"phases": [{"crop": 64}, {"crop": 256}]}))
    folder = ["-o", "run", "photos"]
    assert main(["--config", "tiny.yaml", "--schedule", "large.yaml", *folder]) == 2
    assert "photos: no photo with sides of at least 256 pixels: take a smaller --crop" in capsys.readouterr().err


def test_a_stream_trains_and_resumes_as_if_unbroken(rdo_train_on: Train) -> None:
    stream = ["--stream", 2, "photos"]
    assert rdo_train_on("--steps", 4, "-o", "whole", *stream) == 0
    assert rdo_train_on("--steps", 4, "--stop-after", 0, "-o", "broken", *stream) == 0
    assert rdo_train_on("--steps", 4, "-o", "broken", *stream) == 0
    assert all(torch.equal(tensor, weights("broken")[name]) for name, tensor in weights("whole").items())


def test_a_damaged_state_is_not_trained_over(rdo_train_on: Train, capsys) -> None:
    Path("run").mkdir()
    Path("run/state.pt").write_bytes(b"damaged")
    assert rdo_train_on("--steps", 1, "-o", "run", "photos") == 2
    assert "run/state.pt: cannot be resumed" in capsys.readouterr().err
    assert Path("run/state.pt").read_bytes() == b"damaged"


def test_twenty_steps_without_a_warning(rdo_train_on: Train) -> None:
    torch.set_warn_always(True)  # else torch warns once a process
    try:
        assert rdo_train_on("--steps", 20, "-o", "run", "photos") == 0
    finally:
        torch.set_warn_always(False)
