"""Following a training run: a bar after each step; now and then validation, speed, a log line, published weights."""

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
from codec.training.throughput import crop_flops, matmul_rate, peak_memory_bytes
from codec.training.trainer import CHECK_EVERY, Trainer
from codec.training.validation import Validation, validate
from jobs import jsonl

LOG = "log.jsonl"
QUALITIES = (1.0, 2.75, 4.5, 6.25, 8.0)
BAR = "{desc} {percentage:3.0f}%|{bar:20}| {elapsed}, {remaining} left"


@dataclass(frozen=True)
class Speed:
    """Of the steps since the last report.

    Attributes:
        flops_share: share 0..1 of `matmul_flops`, what a matrix product reaches on this machine, that the steps used.
        memory_bytes: the largest so far.
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


class Watch:
    """What `Trainer.run` reports to; of several processes only the first watches, the others are `quiet`."""

    def __init__(self, trainer: Trainer, photos: list[Samples], quiet: bool = False) -> None:
        self.photos, self.quiet, self.every = photos, quiet, trainer.config.validate_every
        self.bar = tqdm(total=1.0, initial=trainer.progress, bar_format=BAR, disable=quiet or None)
        self.last = time.monotonic()
        self.loss = 0.0
        self.step, self.elapsed, self.crops, self.flops = trainer.step, trainer.elapsed, 0, 0
        dtype = torch.bfloat16 if trainer.config.precision == "bf16" else torch.float32
        model, crops = trainer.codec.config, () if quiet else trainer.config.crops
        self.crop_flops = {crop: crop_flops(model, crop, trainer.device) for crop in crops}
        self.matmul_flops = 0.0 if quiet else matmul_rate(trainer.device, dtype)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bar.close()

    def __call__(self, trainer: Trainer, loss: Loss) -> None:
        """After each step."""
        if self.quiet:
            return
        phase = trainer.phase
        batch, crop = phase.batch or 0, phase.crop or 0
        self.crops += batch
        self.flops += batch * self.crop_flops[crop]
        if trainer.step % CHECK_EVERY == 0 or not self.loss:  # to read the loss is to wait for the device
            self.loss = float(loss.weighted)
            self.bar.update(trainer.progress - self.bar.n)
            per_step = trainer.elapsed / max(1, trainer.step)  # a return may lead to the very start
            self.bar.set_description(f"step {trainer.step}, {per_step:.2f} s, loss {self.loss:.2f}")
        if time.monotonic() - self.last > self.every:
            self.validate(trainer)
            self.last = time.monotonic()

    def validate(self, trainer: Trainer) -> list[Validation]:
        """Measure and publish the averaged weights, calibrated once the schedule is done."""
        if self.quiet:
            return []
        codec = trainer.averaged()
        if trainer.progress >= 1:
            calibrate(codec, self.photos)
        rows = validate(codec, self.photos, QUALITIES)
        speed = self._speed(trainer)
        export(codec, trainer.folder, {"steps": str(trainer.step), "train_seconds": f"{trainer.elapsed:.0f}"})
        done = {"step": trainer.step, "seconds": round(trainer.elapsed, 1), "finished": trainer.progress >= 1}
        line = {**done, "rows": [row._asdict() for row in rows]}
        jsonl.append(trainer.folder / LOG, json.dumps({**line, **(speed.__dict__ if speed else {})}))
        if speed:
            self.bar.write(f"step {trainer.step}: {speed}")
        for row in rows:
            text = f"{row.bpp_est:.3f} bpp, {row.psnr_db:.2f} dB, cost {row.cost_est:.3f} (estimates)"
            self.bar.write(f"step {trainer.step}: quality {row.quality:g}: {text}")
        return rows

    def _speed(self, trainer: Trainer) -> Speed | None:
        """Since this was last asked; None if nothing was timed."""
        seconds, steps = trainer.elapsed - self.elapsed, trainer.step - self.step
        if seconds <= 0 or steps <= 0:
            return None
        share = self.flops / seconds / self.matmul_flops / trainer.peers.world
        memory = peak_memory_bytes(trainer.device)
        speed = Speed(steps / seconds, self.crops / seconds, share, self.matmul_flops, memory)
        self.step, self.elapsed, self.crops, self.flops = trainer.step, trainer.elapsed, 0, 0
        return speed


def finished_step(folder: Path) -> int | None:
    """The step whose weights were published last as those of a finished schedule; a line cut off counts for nothing."""
    steps = jsonl.read(folder / LOG, lambda found: int(found["step"]) if found["finished"] else None)
    return next((step for step in reversed(steps) if step is not None), None)
