"""`rdo-train`: train a codec on a folder of photographs."""

import argparse
import time
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import cli
from jobs.runtime import check_device, flag_on_signal

if TYPE_CHECKING:
    import torch

    from codec.images.pixels import Samples
    from codec.model import Codec
    from codec.training.dataset import CropSource
    from codec.training.schedule import TrainConfig

EXAMPLES = """\
  rdo-train --config small --schedule cpu photos/ -o run/       run/small.safetensors, run/state.pt, run/log.jsonl
  rdo-train --config small --time-budget 3600 photos/ -o run/   one hour; the same line resumes a killed run
  rdo-train --init base-skip --schedule h200 --device cuda --stop-after 540 --export out/ photos/ -o run/
                                                                nine minutes of a quarter of an hour of one GPU
  torchrun --nproc-per-node 8 -m jobs.train --config base --schedule paper --device cuda photos/ -o run/"""

STREAM_SAMPLE = 200  # photos of a stream that are decoded before it starts, to initialise the codec
VALIDATION_PHOTOS = 8  # training photos to validate on where no folder is given


@dataclass(frozen=True)
class TrainRun:
    """Settings of one call of `rdo-train`; `schedule` alone decides what the weights become.

    Attributes:
        photos, validation: folders of photographs; without `validation`, some of `photos` are validated on.
        output: folder of the run, with its state, log and published weights.
        export: folder that log and published weights are written to as well, without the state; None for none.
        architecture: name in configs/models or a YAML file; None is that of `init`, or `small`.
        init: model or checkpoint whose weights the run starts from.
        stream_photos: decoded photos kept in memory; None keeps all of them on the device.
        stop_after_s: seconds after which the call pauses the run.
        threads: CPU threads; None leaves torch's.
        device: `cpu`, `cuda`, `cuda:1`, ...

    Raises:
        ConfigError: a number is below 1.
    """

    photos: Path
    output: Path
    schedule: "TrainConfig"
    architecture: str | None = None
    init: str | None = None
    export: Path | None = None
    validation: Path | None = None
    stream_photos: int | None = None
    stop_after_s: float | None = None
    threads: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        from codec.errors import ConfigError

        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"--threads {self.threads}: must be at least 1")
        if self.stream_photos is not None and self.stream_photos < 1:
            raise ConfigError(f"--stream {self.stream_photos}: keep at least one photo")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all flags of the command."""
    flags = cli.parser(
        "rdo-train", "Train a variable-rate codec; a run found in the output folder is resumed.", EXAMPLES
    )
    flags.add_argument("photos", type=Path, help="folder of photographs")
    flags.add_argument("-o", "--output", type=Path, required=True, help="folder of the run")
    flags.add_argument(
        "--export", type=Path, metavar="FOLDER", help="write weights and log here too, at each validation"
    )
    flags.add_argument("--config", help="architecture: a name in configs/models, or a YAML file (built in: small)")
    flags.add_argument("--init", help="model or checkpoint to start from, also for a deeper --config")
    flags.add_argument(
        "--validation", type=Path, metavar="FOLDER", help="photographs to validate on (default: eight of photos)"
    )
    flags.add_argument(
        "--stream", type=int, metavar="N", help="keep N decoded photos at a time, for more than memory holds"
    )
    flags.add_argument("--stop-after", type=float, metavar="S", help="stop after S seconds; the same line goes on")
    flags.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    flags.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    schedule = flags.add_argument_group("schedule (these flags win over the file of --schedule)")
    schedule.add_argument("--schedule", help="a name in configs/train, or a YAML file")
    schedule.add_argument("--steps", type=int, help="length of the schedule, in steps")
    schedule.add_argument(
        "--time-budget", type=float, metavar="S", help="length of the schedule in seconds of training, over all calls"
    )
    schedule.add_argument("--crop", type=int, help="side of the crops in pixels, a multiple of 64, in all phases")
    schedule.add_argument("--batch", type=int, help="crops a step, over all processes, in all phases")
    schedule.add_argument("--lr", type=float, help="peak learning rate of the entropy networks")
    schedule.add_argument("--lr-transform", type=float, help="that of the nonlinear transforms")
    schedule.add_argument("--lr-linear", type=float, help="that of linear paths and gains")
    schedule.add_argument("--warmup", type=int, help="steps of linear warm-up")
    schedule.add_argument("--ema", type=float, help="decay of the averaged weights")
    schedule.add_argument("--seed", type=int, help="seed of crops, qualities and noise (built in: 0)")
    schedule.add_argument("--validate-every", type=float, metavar="S", help="seconds from one validation to the next")
    schedule.add_argument("--save-every", type=float, metavar="S", help="seconds from one saved state to the next")
    schedule.add_argument("--precision", choices=("fp32", "bf16"), help="bf16 autocast: for GPUs, slow on most CPUs")
    schedule.add_argument("--compile", action=argparse.BooleanOptionalAction, help="torch.compile the loss")
    return flags


def main(argv: list[str] | None = None) -> int:
    """Run `rdo-train`; returns the exit status, one of those in `jobs.cli`."""
    start_s = time.monotonic()
    arguments = build_parser().parse_args(argv)
    return cli.guarded(lambda: train(settings_of(arguments), start_s))


def settings_of(arguments: argparse.Namespace) -> TrainRun:
    """Build the settings of a run from parsed flags, those of the schedule put over the file of `--schedule`.

    Raises:
        ConfigError: unknown schedule, or a value out of range.
    """
    from codec.settings import override
    from codec.training.schedule import TrainConfig, named_schedule, with_crop_and_batch

    names = {f.name for f in fields(TrainConfig)} - {"crop", "batch"}
    given: dict[str, object] = {k: v for k, v in vars(arguments).items() if k in names and v is not None}
    if arguments.steps is not None and arguments.time_budget is None:
        given["time_budget"] = "none"  # else that of --schedule would win over --steps
    base = named_schedule(arguments.schedule) if arguments.schedule else TrainConfig()
    return TrainRun(
        photos=arguments.photos,
        output=arguments.output,
        schedule=with_crop_and_batch(override(base, given, ""), arguments.crop, arguments.batch),
        architecture=arguments.config,
        init=arguments.init,
        export=arguments.export,
        validation=arguments.validation,
        stream_photos=arguments.stream,
        stop_after_s=arguments.stop_after,
        threads=arguments.threads,
        device=arguments.device,
    )


def train(run: TrainRun, start_s: float) -> int:
    """Train until the schedule ends; Ctrl-C, SIGTERM and `stop_after_s` pause the run after the step under way.

    `start_s` is when the call began, on the monotonic clock. Returns the exit status.
    """
    import torch

    from codec.errors import ConfigError
    from codec.training import distributed

    if run.threads is not None:
        torch.set_num_threads(run.threads)
    device = check_device(distributed.join_processes(run.device))
    if run.schedule.precision == "bf16":
        torch.set_float32_matmul_precision("high")  # what stays in single precision may use TF32
    torch.backends.cudnn.benchmark = True
    try:
        return _train_on(run, torch.device(device), start_s)
    except torch.OutOfMemoryError as error:  # elsewhere than in a step, which cuts its batch
        raise ConfigError(f"{device}: out of memory: take a smaller --batch or --crop, or --stream") from error
    finally:
        distributed.leave_processes()


def _train_on(run: TrainRun, device: "torch.device", start_s: float) -> int:
    """Build or resume the trainer, run it under a monitor and report; returns the exit status."""
    from codec.training.distributed import this_process
    from codec.training.initialisation import initialise
    from codec.training.trainer import STATE_FILE, Trainer
    from jobs.training_monitor import TrainingMonitor, finished_step

    codec = _new_codec(run)
    source, photos = _load_photos(run, device)
    validated = _validation_photos(run, photos)
    if not run.init and not (run.output / STATE_FILE).is_file():
        initialise(codec, photos)
    for folder in (run.output, run.export):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(codec.to(device), source, run.schedule, run.output)
    first_step = trainer.step
    if trainer.progress >= 1 and finished_step(run.output) == trainer.step:
        done = f"finished at step {trainer.step}; a longer --steps or --time-budget goes on from there"
        cli.say(f"{run.output}: {done}")
        return cli.DONE
    if not this_process().rank:
        status = f"goes on at step {first_step}" if first_step else "starts"
        cli.say(f"{run.output}: {codec.config.name} {status}; validated on {len(validated)} photos")
    interrupted = flag_on_signal()

    def pause() -> bool:
        is_over = run.stop_after_s is not None and time.monotonic() - start_s > run.stop_after_s
        return interrupted.is_set() or (trainer.step > first_step and is_over)

    monitored = TrainingMonitor(trainer, validated, run.export, quiet=this_process().rank > 0)
    with monitored as monitor, closing(source):
        trainer.run(monitor, pause)
        monitor.validate(trainer)
    if not this_process().rank:
        done = "finished" if trainer.progress >= 1 else f"{trainer.progress:.0%} of the schedule; the same line goes on"
        cli.say(f"{run.output}: weights of step {trainer.step}, {done}")
    return cli.INTERRUPTED if interrupted.is_set() else cli.DONE


def _new_codec(run: TrainRun) -> "Codec":
    """Return the codec of `init`, deepened to `architecture`, or that of `architecture` with random weights."""
    import torch

    from codec.checkpoint import load_own
    from codec.config_files import model_config
    from codec.model import Codec
    from codec.training.initialisation import deepen

    given = load_own(run.init).requires_grad_(True) if run.init else None
    if given and not run.architecture:
        return given
    torch.manual_seed(run.schedule.seed)
    codec = Codec(model_config(run.architecture or "small"))
    if given:
        deepen(codec, given)
    return codec


def _load_photos(run: TrainRun, device: "torch.device") -> "tuple[CropSource, list[Samples]]":
    """Return the source of crops, and photos to initialise and validate the codec on.

    Raises:
        ConfigError: no photo is as large as the largest crop.
    """
    from codec.errors import ConfigError
    from codec.training.dataset import DeviceCrops, load_photos
    from codec.training.distributed import this_process
    from codec.training.mixing import mixed_source
    from codec.training.streaming import StreamedCrops

    crops = run.schedule.crops
    limit = STREAM_SAMPLE if run.stream_photos else None
    photos = load_photos(run.photos, min(crops), quiet=this_process().rank > 0, bar=cli.shows_bars(), limit=limit)
    if all(min(photo.shape[:2]) < max(crops) for photo in photos):
        raise ConfigError(f"{run.photos}: no photo with sides of at least {max(crops)} pixels: take a smaller --crop")
    streamed = StreamedCrops(run.photos, run.stream_photos, device) if run.stream_photos else None
    source = streamed or DeviceCrops(photos, device)
    return mixed_source(source, run.schedule, device), photos


def _validation_photos(run: TrainRun, photos: "list[Samples]") -> "list[Samples]":
    """Return the photos of the folder `validation`, else some of the training photos, evenly chosen."""
    from codec.training.dataset import load_photos

    side_min = run.schedule.photo_side_min
    if run.validation:
        return load_photos(run.validation, side_min)
    large = [photo for photo in photos if min(photo.shape[:2]) >= side_min]
    return large[:: max(1, len(large) // VALIDATION_PHOTOS)][:VALIDATION_PHOTOS]


if __name__ == "__main__":  # for torchrun -m jobs.train
    raise SystemExit(main())
