"""`rdo-train`: train a codec on a folder of photographs."""

import argparse
import time
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from jobs import cli

if TYPE_CHECKING:
    from tqdm import tqdm

    from codec.model import Codec
    from codec.pixels import Samples
    from codec.training import Loss, Trainer, Validation

EXAMPLES = """\
  rdo-train --config small photos/ -o run/                      run/small.safetensors, run/state.pt, run/log.jsonl
  rdo-train --config small --time-budget 3600 photos/ -o run/   one hour; the same line resumes a killed run
  rdo-train --config base --device cuda --precision bf16 --compile --crop 256 --batch 16 photos/ -o run/"""
QUALITIES = (1.0, 2.75, 4.5, 6.25, 8.0)


def build_parser() -> argparse.ArgumentParser:
    """All flags of the command."""
    flags = cli.parser(
        "rdo-train", "Train a variable-rate codec; a run found in the output folder is resumed.", EXAMPLES
    )
    flags.add_argument("photos", type=Path, help="folder of photographs")
    flags.add_argument("-o", "--output", type=Path, required=True, help="folder of the run")
    flags.add_argument("--config", help="architecture: a name in configs/models, or a YAML file (built in: small)")
    flags.add_argument("--init", help="start from the weights of this model or checkpoint, with a new optimiser")
    flags.add_argument("--validation", type=Path, help="folder validated on (default: eight training photographs)")
    flags.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    flags.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    schedule = flags.add_argument_group("schedule (built-in values: see TrainConfig)")
    schedule.add_argument("--steps", type=int, help="length of the schedule")
    schedule.add_argument("--time-budget", type=float, metavar="S", help="seconds of training instead of steps")
    schedule.add_argument("--crop", type=int, help="side of the crops in pixels, a multiple of 64")
    schedule.add_argument("--batch", type=int, help="crops a step")
    schedule.add_argument("--lr", type=float, help="peak rate of the entropy networks")
    schedule.add_argument("--lr-transform", type=float, help="... of the nonlinear transforms")
    schedule.add_argument("--lr-linear", type=float, help="... of linear paths and gains")
    schedule.add_argument("--warmup", type=int, help="steps of linear warm-up")
    schedule.add_argument("--ema", type=float, help="decay of the averaged weights")
    schedule.add_argument("--seed", type=int)
    schedule.add_argument("--validate-every", type=float, metavar="S", help="seconds")
    schedule.add_argument("--save-every", type=float, metavar="S", help="seconds")
    schedule.add_argument("--precision", choices=("fp32", "bf16"), help="bf16 autocast: for GPUs, slow on most CPUs")
    schedule.add_argument("--compile", action="store_true", default=None, help="torch.compile the loss")
    return flags


def main(argv: list[str] | None = None) -> int:
    """Entry point; see `cli` for exit statuses."""
    arguments = build_parser().parse_args(argv)
    return cli.guarded(lambda: train(arguments))


def train(arguments: argparse.Namespace) -> int:
    """Train until the schedule ends; Ctrl-C and SIGTERM end it after the step at hand, and keep the state."""
    import torch
    from tqdm import tqdm

    from codec.dataset import load_photos
    from codec.settings import override
    from codec.training import STATE_FILE, TrainConfig, Trainer, initialise

    names = {f.name for f in fields(TrainConfig)}
    given = {k: v for k, v in vars(arguments).items() if k in names and v is not None}
    config = override(TrainConfig(), given)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = cli.check_device(arguments.device)
    codec = _fresh_codec(arguments, config.seed)
    arguments.output.mkdir(parents=True, exist_ok=True)
    photos = load_photos(arguments.photos, config.crop, quiet=False)
    shown = load_photos(arguments.validation, 1) if arguments.validation else photos[:: max(1, len(photos) // 8)][:8]
    if not arguments.init and not (arguments.output / STATE_FILE).is_file():
        initialise(codec, photos)
    trainer = Trainer(codec.to(device), photos, config, arguments.output)
    if trainer.progress >= 1:
        cli.say(
            f"{arguments.output}: finished at step {trainer.step}; a longer --steps or --time-budget goes on from there"
        )
        return cli.DONE
    with tqdm(total=1.0, initial=trainer.progress, bar_format=_BAR, disable=None) as bar:
        watch = _Watch(config.validate_every, shown, arguments.output, bar)
        interrupted = cli.flag_on_signal()
        trainer.run(watch, pause=interrupted.is_set)
        watch.validate(trainer)
    return cli.INTERRUPTED if interrupted.is_set() else cli.DONE


def _fresh_codec(arguments: argparse.Namespace, seed: int) -> "Codec":
    """The codec of --init, or of --config with random weights."""
    import torch

    from codec.checkpoint import load_own, model_config
    from codec.errors import ConfigError
    from codec.model import Codec

    if not arguments.init:
        torch.manual_seed(seed)
        return Codec(model_config(arguments.config or "small"))
    if arguments.config:
        raise ConfigError("--init brings its own architecture: leave out --config")
    return load_own(arguments.init).requires_grad_(True)


class _Watch:
    """Follows a run: the bar after each step; validation, log line and published weights every so often."""

    def __init__(self, every: float, photos: "list[Samples]", folder: Path, bar: "tqdm[NoReturn]") -> None:
        self.every, self.photos, self.folder, self.bar = every, photos, folder, bar
        self.last = time.monotonic()
        self.loss = 0.0

    def __call__(self, trainer: "Trainer", loss: "Loss") -> None:
        if trainer.step % 20 == 0 or not self.loss:  # reading the loss waits for the device
            self.loss = float(loss.weighted)
        self.bar.update(trainer.progress - self.bar.n)
        self.bar.set_description(f"step {trainer.step}, {trainer.elapsed / trainer.step:.2f} s, loss {self.loss:.2f}")
        if time.monotonic() - self.last > self.every:
            self.validate(trainer)
            self.last = time.monotonic()

    def validate(self, trainer: "Trainer") -> "list[Validation]":
        """Measure and publish the averaged weights, calibrated once the schedule is done."""
        import json

        from codec.calibration import calibrate
        from codec.checkpoint import publish
        from codec.training import validate

        codec = trainer.averaged()
        if trainer.progress >= 1:
            calibrate(codec, self.photos)
        rows = validate(codec, self.photos, QUALITIES)
        notes = {"steps": str(trainer.step), "train_seconds": f"{trainer.elapsed:.0f}"}
        publish(codec, self.folder / f"{codec.config.name}.safetensors", notes)
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as log:
            line = {"step": trainer.step, "seconds": round(trainer.elapsed, 1), "rows": [r._asdict() for r in rows]}
            log.write(json.dumps(line) + "\n")
        for row in rows:
            text = f"{row.bpp_est:.3f} bpp, {row.psnr_db:.2f} dB, cost {row.cost_est:.3f} (estimates)"
            self.bar.write(f"step {trainer.step}: quality {row.quality:g}: {text}")
        return rows


_BAR = "{desc} {percentage:3.0f}%|{bar:20}| {elapsed}, {remaining} left"
