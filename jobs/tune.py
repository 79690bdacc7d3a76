"""`rdo-tune`: the settings of a refinement that gain most on your photos, judged on photos they were not tuned on."""

import argparse
import hashlib
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import cli
from jobs.pools.selection import add_pool_flags

if TYPE_CHECKING:
    from codec.images.read import ImagePolicy
    from jobs.tuning.space import StudyConfig
    from jobs.tuning.study import Study
    from jobs.tuning.trials import Bench, Case

EXAMPLES = """\
  rdo-tune rdoq photos/ -o study/                  schedules of the discrete search; run again, it goes on
  rdo-tune paper photos/ -o study/ --trials 100    the paper's search; more trials of the same study
  rdo-tune mine.yaml photos/ -o study/ -j 4        a study of your own, on four cores
  rdo-tune front photos/ -o study/ --storage sqlite:///studies.db   many studies in one database
  optuna-dashboard study/study.journal             look at it, running or done
  rdo-encode --config study/best.yaml photos/      use what was found"""


def build_parser() -> argparse.ArgumentParser:
    """All flags of the command."""
    flags = cli.parser("rdo-tune", "Search the settings of refinement that gain most on photos like yours.", EXAMPLES)
    flags.add_argument("study", metavar="STUDY", help="a name in configs/tune, or a YAML file")
    flags.add_argument("photos", nargs="+", metavar="PHOTO", help="files or folders")
    flags.add_argument(
        "-o", "--output", type=Path, required=True, help="folder of the study; one that is there goes on"
    )
    search = flags.add_argument_group("search")
    search.add_argument("--trials", type=int, metavar="N", help="recipes tried, those of earlier runs among them")
    search.add_argument("--time-budget", type=float, metavar="S", help="begin no trial S seconds after the start")
    search.add_argument("--holdout", metavar="X", help="photos for the final comparison: a folder, or a share of PHOTO")
    search.add_argument("--seed", type=int, default=0, help="of the sampler")
    search.add_argument("--storage", metavar="URL", help="where Optuna keeps it (default study.journal in the folder)")
    search.add_argument("--name", help="of the study in its storage (default: that of the YAML)")
    cli.add_picture_flags(flags)
    run = flags.add_argument_group("run")
    run.add_argument("--json", action="store_true", help="print the summary as JSON instead of its table")
    cli.add_model_flags(run)
    add_pool_flags(flags)
    return flags


def main(argv: list[str] | None = None) -> int:
    """Entry point; see `cli` for exit statuses."""
    arguments = build_parser().parse_args(argv)
    return cli.guarded(lambda: tune(arguments))


def tune(arguments: argparse.Namespace) -> int:
    """Search, then compare on held-out photos and write what was found; 1 if a photo could not be used."""
    from codec.architecture import MS_SSIM_SIDE_MIN
    from codec.checkpoint import model_id
    from codec.errors import ConfigError
    from codec.images.read import ImagePolicy
    from codec.settings import override
    from jobs.pools.selection import hire, load_driver_codec, worker_device
    from jobs.running.encode_settings import EncodeConfig
    from jobs.running.history import sole_writer
    from jobs.running.run import RESULTS
    from jobs.tuning.space import load_study
    from jobs.tuning.study import open_study, require_optuna
    from jobs.tuning.trials import Bench
    from jobs.tuning.verdict import as_json, as_text, judge, write

    deadline = time.monotonic() + (float("inf") if arguments.time_budget is None else arguments.time_budget)
    require_optuna()
    config = load_study(arguments.study)
    if arguments.trials is not None:
        config = override(config, {"trials": arguments.trials}, "")
    codec = load_driver_codec(arguments)
    if codec.distortion == "ms_ssim" and config.crop is not None and config.crop < MS_SSIM_SIDE_MIN:
        least = f"crop: {MS_SSIM_SIDE_MIN} or more in the study, or no crop"
        raise ConfigError(f"{arguments.study}: crops of {config.crop} px are too small for MS-SSIM: {least}")
    for quality in config.qualities:
        codec.level(quality)  # refuses what is out of range, once
    folder, policy = arguments.output, ImagePolicy(arguments.alpha, arguments.depth, arguments.first_frame)
    folder.mkdir(parents=True, exist_ok=True)
    with sole_writer(folder / RESULTS):
        tuned, held, failures = gather(arguments, config, policy)
        study = open_study(
            config,
            setup_of(arguments, config, model_id(codec).hex(), tuned),
            arguments.storage or str(folder / "study.journal"),
            arguments.name or Path(arguments.study).stem,
            len(tuned),
            arguments.seed,
            str(folder.resolve()),
        )
        sources = (tuned[0].photo.path,)
        with closing(hire(arguments, codec, config.trials * len(tuned), folder, sources)) as pool:
            bench = Bench(pool, codec, EncodeConfig(arguments.model, policy=policy), folder, worker_device(arguments))
            _search(study, bench, tuned, deadline)
            verdicts = judge(study, bench, held, folder)
        failures += sum(verdict.failures for verdict in verdicts)
        write(folder, study, verdicts)
    print(as_json(study, verdicts) if arguments.json else as_text(study, verdicts))
    return cli.SOME_FAILED if failures else cli.DONE


def gather(
    arguments: argparse.Namespace, config: "StudyConfig", policy: "ImagePolicy"
) -> "tuple[list[Case], list[Case], int]":
    """Cases to tune on, cases held out, and how many photos could not be read.

    Raises:
        ConfigError: no photos, or a hold-out that is none.
    """
    from codec.errors import ConfigError
    from jobs.tuning.photos import find_photos, prepare, split
    from jobs.tuning.trials import Case

    failed: list[Path] = []

    def fail(path: Path, reason: str) -> None:
        failed.append(path)
        cli.say(f"{path}: {reason}")

    found, share = find_photos(arguments.photos, arguments.output, fail), _share(arguments.holdout, config.holdout)
    if share is None:
        tuned, held = found, find_photos([arguments.holdout], arguments.output, fail)
    else:
        tuned, held = split(found, share)
    if both := {photo.sha256 for photo in tuned} & {photo.sha256 for photo in held}:
        name = next(photo.path for photo in held if photo.sha256 in both)
        raise ConfigError(f"--holdout: {name} is among the photos to tune on: hold out others")
    cases = []
    for photos in (tuned, held):
        ready = prepare(photos, crop=config.crop, policy=policy, folder=arguments.output / "crops", failed=fail)
        cases.append([Case(photo, quality) for photo in ready for quality in config.qualities])
    if not cases[0]:
        raise ConfigError(f"{', '.join(arguments.photos)}: none of the photos can be read")
    return cases[0], cases[1], len(failed)


def setup_of(
    arguments: argparse.Namespace, config: "StudyConfig", model: str, cases: "list[Case]"
) -> dict[str, object]:
    """All that the values of trials depend on: what a study that is gone on with must have been begun with."""
    from codec.settings import to_stored_mapping
    from jobs.pools.selection import worker_device

    photos = sorted({case.photo.sha256 for case in cases})
    digest = hashlib.sha256("".join(photos).encode()).hexdigest()[:8]
    mapping = {key: value for key, value in to_stored_mapping(config).items() if key not in ("trials", "holdout")}
    machine = {"device": worker_device(arguments), "threads": arguments.threads, "batch": arguments.batch}
    return {**mapping, **machine, "model": model, "photos": f"{len(photos)} ({digest})"}


def _search(study: "Study", bench: "Bench", cases: "list[Case]", deadline: float) -> None:
    """Under a bar of trials, with a line for each."""
    from tqdm import tqdm

    from jobs.tuning.trials import Search

    total = study.config.trials
    with tqdm(total=total, initial=study.finished, unit="trial", disable=None, file=sys.stderr) as bar:

        def ended(number: int) -> None:
            bar.update(study.finished - bar.n)
            cli.say(study.line(number))

        Search(study, bench, cases, deadline, ended).run()


def _share(given: str | None, default: float) -> float | None:
    """The share of the photos to hold out; None where a folder was given."""
    from codec.errors import ConfigError

    try:
        share = default if given is None else float(given)
    except ValueError:
        return None
    if not 0 <= share < 1:
        raise ConfigError(f"--holdout {given}: a share must lie in [0, 1); or name a folder")
    return share
