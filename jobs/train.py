"""`rdo-train`: train a codec on a folder of photographs."""

import argparse
import time
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import cli

if TYPE_CHECKING:
    import torch

    from codec.images.pixels import Samples
    from codec.model import Codec
    from codec.training.dataset import CropSource
    from codec.training.schedule import TrainConfig

EXAMPLES = """\
  rdo-train --config small --schedule cpu photos/ -o run/       run/small.safetensors, run/state.pt, run/log.jsonl
  rdo-train --config small --time-budget 3600 photos/ -o run/   one hour; the same line resumes a killed run
  rdo-train --config base-skip --schedule h200 --device cuda --stop-after 540 photos/ -o run/
                                                                nine minutes of a schedule of half an hour of one GPU
  torchrun --nproc-per-node 8 -m jobs.train --config base --schedule paper --device cuda photos/ -o run/"""

SAMPLE = 200  # photos of a stream that are looked at before it starts


def build_parser() -> argparse.ArgumentParser:
    """All flags of the command."""
    flags = cli.parser(
        "rdo-train", "Train a variable-rate codec; a run found in the output folder is resumed.", EXAMPLES
    )
    flags.add_argument("photos", type=Path, help="folder of photographs")
    flags.add_argument("-o", "--output", type=Path, required=True, help="folder of the run")
    flags.add_argument("--config", help="architecture: a name in configs/models, or a YAML file (built in: small)")
    flags.add_argument("--init", help="start from the weights of this model or checkpoint; a --config may be deeper")
    flags.add_argument("--validation", type=Path, help="folder validated on (default: eight training photographs)")
    flags.add_argument("--stream", type=int, metavar="N", help="keep N decoded photos in memory, not all on the device")
    flags.add_argument("--stop-after", type=float, metavar="S", help="pause S seconds after the start, after a step")
    flags.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    flags.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    schedule = flags.add_argument_group("schedule (flags win over --schedule; built-in values: see TrainConfig)")
    schedule.add_argument("--schedule", help="a name in configs/train, or a YAML file")
    schedule.add_argument("--steps", type=int, help="length of the schedule")
    schedule.add_argument(
        "--time-budget", type=float, metavar="S", help="length of the schedule in seconds of training, over all calls"
    )
    schedule.add_argument("--crop", type=int, help="side of the crops in pixels, a multiple of 64, in all phases")
    schedule.add_argument("--batch", type=int, help="crops a step, over all processes, in all phases")
    schedule.add_argument("--lr", type=float, help="peak rate of the entropy networks")
    schedule.add_argument("--lr-transform", type=float, help="... of the nonlinear transforms")
    schedule.add_argument("--lr-linear", type=float, help="... of linear paths and gains")
    schedule.add_argument("--warmup", type=int, help="steps of linear warm-up")
    schedule.add_argument("--ema", type=float, help="decay of the averaged weights")
    schedule.add_argument("--seed", type=int)
    schedule.add_argument("--validate-every", type=float, metavar="S", help="seconds")
    schedule.add_argument("--save-every", type=float, metavar="S", help="seconds (built in: 120)")
    schedule.add_argument("--precision", choices=("fp32", "bf16"), help="bf16 autocast: for GPUs, slow on most CPUs")
    schedule.add_argument("--compile", action=argparse.BooleanOptionalAction, help="torch.compile the loss")
    return flags


def main(argv: list[str] | None = None) -> int:
    """Entry point; see `cli` for exit statuses."""
    start = time.monotonic()
    arguments = build_parser().parse_args(argv)
    return cli.guarded(lambda: train(arguments, start))


def train(arguments: argparse.Namespace, start: float) -> int:
    """Train until the schedule ends; Ctrl-C, SIGTERM and --stop-after pause it after the step at hand."""
    import torch

    from codec.errors import ConfigError
    from codec.training import distributed

    config = schedule(arguments)
    if arguments.threads is not None:
        if arguments.threads < 1:
            raise ConfigError(f"--threads {arguments.threads}: must be at least 1")
        torch.set_num_threads(arguments.threads)
    device = cli.check_device(distributed.join(arguments.device))
    try:
        return _run(arguments, config, torch.device(device), start)
    except torch.OutOfMemoryError as error:  # elsewhere than in a step, which cuts its batch
        raise ConfigError(f"{device}: out of memory: take a smaller --batch or --crop, or --stream") from error
    finally:
        distributed.leave()


def schedule(arguments: argparse.Namespace) -> "TrainConfig":
    """The schedule of --schedule, with what other flags say put over it."""
    from codec.settings import override
    from codec.training.schedule import TrainConfig, for_all_phases, named_schedule

    names = {f.name for f in fields(TrainConfig)} - {"crop", "batch"}
    given: dict[str, object] = {k: v for k, v in vars(arguments).items() if k in names and v is not None}
    if arguments.steps is not None and arguments.time_budget is None:
        given["time_budget"] = "none"  # of --schedule
    base = named_schedule(arguments.schedule) if arguments.schedule else TrainConfig()
    return for_all_phases(override(base, given, ""), arguments.crop, arguments.batch)


def _run(arguments: argparse.Namespace, config: "TrainConfig", device: "torch.device", start: float) -> int:
    from contextlib import closing, nullcontext

    import torch

    from codec.training.dataset import load_photos
    from codec.training.distributed import peers
    from codec.training.initialisation import initialise
    from codec.training.streaming import Stream
    from codec.training.trainer import STATE_FILE, Trainer
    from jobs.training_monitor import Watch, finished_step

    if config.precision == "bf16":
        torch.set_float32_matmul_precision("high")  # what stays in single precision may use TF32
    torch.backends.cudnn.benchmark = True
    codec = _fresh_codec(arguments, config.seed)
    source, photos = _photos(arguments, config, device)
    shown = [photo for photo in photos if min(photo.shape[:2]) >= config.photo_side_min]
    shown = shown[:: max(1, len(shown) // 8)][:8]
    if arguments.validation:
        shown = load_photos(arguments.validation, config.photo_side_min)
    if not arguments.init and not (arguments.output / STATE_FILE).is_file():
        initialise(codec, photos)
    arguments.output.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(codec.to(device), source, config, arguments.output)
    begun = trainer.step
    if trainer.progress >= 1 and finished_step(arguments.output) == trainer.step:
        done = f"finished at step {trainer.step}; a longer --steps or --time-budget goes on from there"
        cli.say(f"{arguments.output}: {done}")
        return cli.DONE
    if not peers().rank:
        told = f"goes on at step {begun}" if begun else "starts"
        cli.say(f"{arguments.output}: {codec.config.name} {told}; validated on {len(shown)} photos")
    interrupted = cli.flag_on_signal()
    ends = closing(source) if isinstance(source, Stream) else nullcontext()
    with Watch(trainer, shown, quiet=peers().rank > 0) as watch, ends:
        trainer.run(
            watch, lambda: interrupted.is_set() or (trainer.step > begun and _is_over(arguments.stop_after, start))
        )
        watch.validate(trainer)
    if not peers().rank:
        told = "finished" if trainer.progress >= 1 else f"{trainer.progress:.0%} of the schedule; the same line goes on"
        cli.say(f"{arguments.output}: weights of step {trainer.step}, {told}")
    return cli.INTERRUPTED if interrupted.is_set() else cli.DONE


def _is_over(stop_after: float | None, start: float) -> bool:
    return stop_after is not None and time.monotonic() - start > stop_after


def _fresh_codec(arguments: argparse.Namespace, seed: int) -> "Codec":
    """The codec of --init, made as deep as --config, or that of --config with random weights."""
    import torch

    from codec.checkpoint import load_own
    from codec.config_files import model_config
    from codec.model import Codec
    from codec.training.initialisation import grow

    given = load_own(arguments.init).requires_grad_(True) if arguments.init else None
    if given and not arguments.config:
        return given
    torch.manual_seed(seed)
    codec = Codec(model_config(arguments.config or "small"))
    if given:
        grow(codec, given)
    return codec


def _photos(
    arguments: argparse.Namespace, config: "TrainConfig", device: "torch.device"
) -> "tuple[CropSource, list[Samples]]":
    """Where crops come from, and photos to start the codec from and to validate it on."""
    from codec.errors import ConfigError
    from codec.training.dataset import Album, load_photos
    from codec.training.distributed import peers
    from codec.training.streaming import Stream

    if arguments.stream is not None and arguments.stream < 1:
        raise ConfigError(f"--stream {arguments.stream}: keep at least one photo")
    limit = SAMPLE if arguments.stream else None
    photos = load_photos(arguments.photos, min(config.crops), quiet=peers().rank > 0, limit=limit)
    if all(min(photo.shape[:2]) < max(config.crops) for photo in photos):
        raise ConfigError(
            f"{arguments.photos}: no photo with sides of at least {max(config.crops)} pixels: take a smaller --crop"
        )
    if arguments.stream:
        return Stream(arguments.photos, arguments.stream, device), photos
    return Album(photos, device), photos


if __name__ == "__main__":  # for torchrun -m jobs.train
    raise SystemExit(main())
