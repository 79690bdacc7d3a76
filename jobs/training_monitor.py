"""Monitor of a training run: a progress bar after each step; at intervals validation, speed, a log line and weights."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from tqdm import tqdm

from codec.checkpoint import export
from codec.images.pixels import Samples
from codec.training.calibration import calibrate
from codec.training.loss import Loss
from codec.training.throughput import crop_flops, matmul_flops, peak_memory_bytes
from codec.training.trainer import CHECK_EVERY, Trainer
from codec.training.validation import Validation, validate
from jobs import jsonl
from jobs.cli import shows_bars

LOG = "log.jsonl"
QUALITIES = (1.0, 2.75, 4.5, 6.25, 8.0)  # validated at
BAR = "{desc} {percentage:3.0f}%|{bar:20}| {elapsed}, {remaining} left"


@dataclass(frozen=True)
class Speed:
    """Speed of the steps since the previous report.

    Attributes:
        steps_per_s, crops_per_s: means, over all processes.
        flops_share: fraction of `matmul_flops` that the steps used, 0..1.
        matmul_flops: floating point operations a second that a large matrix product reaches on this machine.
        memory_bytes: peak memory so far.
    """

    steps_per_s: float
    crops_per_s: float
    flops_share: float
    matmul_flops: float
    memory_bytes: int

    def __str__(self) -> str:
        share = f"{100 * self.flops_share:.0f} % of the {self.matmul_flops / 1e12:.3g} TFLOP/s of a matrix product"
        memory = f"{self.memory_bytes / 2**30:.1f} GiB"
        return f"{self.steps_per_s:.2f} steps/s, {self.crops_per_s:.1f} crops/s, {share}, {memory}"


class TrainingMonitor:
    """Callback of `Trainer.run` that shows progress, validates and publishes; a context that closes its bar.

    Args:
        photos: uint8 (H, W, 3), validated on.
        export_folder: folder that weights and log lines are written to beside the trainer's; None for none.
        quiet: do nothing; all processes of a parallel run but the first are quiet.
    """

    def __init__(
        self, trainer: Trainer, photos: list[Samples], export_folder: Path | None = None, quiet: bool = False
    ) -> None:
        self.folders = [trainer.folder] + ([export_folder] if export_folder else [])
        self.photos, self.quiet, self.validate_every_s = photos, quiet, trainer.config.validate_every
        self.bar = tqdm(total=1.0, initial=trainer.progress, bar_format=BAR, disable=quiet or not shows_bars())
        self.last_validation_s = time.monotonic()
        self.validated_step: int | None = None
        self.loss = 0.0
        dtype = torch.bfloat16 if trainer.config.precision == "bf16" else torch.float32
        model, crops = trainer.codec.config, () if quiet else trainer.config.crops
        self.crop_flops = {crop: crop_flops(model, crop, trainer.device) for crop in crops}
        self.matmul_flops = 0.0 if quiet else matmul_flops(trainer.device, dtype)
        self._restart_speed(trainer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bar.close()

    def __call__(self, trainer: Trainer, loss: Loss) -> None:
        """Count a step, update the bar every `CHECK_EVERY` steps, and validate when it is time."""
        if self.quiet:
            return
        phase = trainer.phase
        batch, crop = phase.batch or 0, phase.crop or 0
        self.crops += batch
        self.flops += batch * self.crop_flops[crop]
        if trainer.step % CHECK_EVERY == 0 or not self.loss:  # to read the loss is to wait for the device
            self.loss = float(loss.weighted)
            self.bar.update(trainer.progress - self.bar.n)
            per_step_s = trainer.elapsed_s / max(1, trainer.step)  # a return may lead to the very start
            self.bar.set_description(f"step {trainer.step}, {per_step_s:.2f} s, loss {self.loss:.2f}")
        if time.monotonic() - self.last_validation_s > self.validate_every_s:
            self.validate(trainer)
            self.last_validation_s = time.monotonic()

    def validate(self, trainer: Trainer) -> list[Validation]:
        """Measure, log and publish the averaged weights, calibrated if the schedule is done; one row a quality.

        Does nothing, and returns no row, where the weights of this step were published and the schedule is not done.
        """
        finished = trainer.progress >= 1
        if self.quiet or (self.validated_step == trainer.step and not finished):
            return []
        self.validated_step = trainer.step
        codec = trainer.averaged_codec()
        if finished:
            calibrate(codec, self.photos)
        rows = validate(codec, self.photos, QUALITIES)
        speed = self._speed(trainer)
        done = {"step": trainer.step, "seconds": round(trainer.elapsed_s, 1), "finished": trainer.progress >= 1}
        line = {**done, "rows": [row._asdict() for row in rows]}
        notes = {"steps": str(trainer.step), "train_seconds": f"{trainer.elapsed_s:.0f}"}
        for folder in self.folders:
            export(codec, folder, notes)
            jsonl.append(folder / LOG, json.dumps({**line, **(speed.__dict__ if speed else {})}))
        if speed:
            self.bar.write(f"step {trainer.step}: {speed}")
        for row in rows:
            text = f"{row.bpp_est:.3f} bpp, {row.psnr_db:.2f} dB, cost {row.cost_est:.3f} (estimates)"
            self.bar.write(f"step {trainer.step}: quality {row.quality:g}: {text}")
        return rows

    def _speed(self, trainer: Trainer) -> Speed | None:
        """Return the speed since the previous call and start anew; None if no step was timed."""
        seconds, steps = trainer.elapsed_s - self.elapsed_s, trainer.step - self.step
        if seconds <= 0 or steps <= 0:
            return None
        speed = Speed(
            steps_per_s=steps / seconds,
            crops_per_s=self.crops / seconds,
            flops_share=self.flops / seconds / self.matmul_flops / trainer.process.world_size,
            matmul_flops=self.matmul_flops,
            memory_bytes=peak_memory_bytes(trainer.device),
        )
        self._restart_speed(trainer)
        return speed

    def _restart_speed(self, trainer: Trainer) -> None:
        """Restart the counts that the next `Speed` is computed from."""
        self.step, self.elapsed_s, self.crops, self.flops = trainer.step, trainer.elapsed_s, 0, 0


def finished_step(folder: Path) -> int | None:
    """Return the step whose weights were published last after a finished schedule; incomplete lines are ignored."""
    steps = jsonl.read(folder / LOG, lambda found: int(found["step"]) if found["finished"] else None)
    return next((step for step in reversed(steps) if step is not None), None)
