"""Study as a whole: find photos, search, evaluate the best recipes on held-out photos, write the results."""

import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from codec.architecture import MS_SSIM_SIDE_MIN
from codec.errors import ConfigError
from codec.identity import model_id
from codec.images.read import ImagePolicy
from codec.interface import AnyCodec
from jobs import cli
from jobs.pools.selection import PoolSettings, load_driver_codec, make_pool
from jobs.running.encode_settings import EncodeConfig
from jobs.running.history import sole_writer
from jobs.running.run import RESULTS
from jobs.tuning.evaluator import Case, Evaluator
from jobs.tuning.held_out import evaluate_best
from jobs.tuning.open_study import open_study
from jobs.tuning.photos import find_photos, prepare, split
from jobs.tuning.results import as_json, as_text, write_results
from jobs.tuning.search import Search
from jobs.tuning.setup import study_setup
from jobs.tuning.space import StudyConfig
from jobs.tuning.study import Study


@dataclass(frozen=True)
class TuneSettings:
    """Study to run, its photos and its storage.

    Attributes:
        study: name or YAML file of the study, for messages.
        config: search space, objectives and numbers of the study.
        photos: files and folders.
        holdout: share of the photos to hold out, in [0, 1), or a file or folder of other photos.
        output: folder of the study.
        storage: database URL or journal file.
        name: name of the study in its storage.
        seed: seed of the sampler.
        deadline: time after which no trial is begun, in seconds of `time.monotonic`.
        policy: conversion of photos to 8-bit RGB.
        pool: model, device and workers.
        json: whether to print the summary as JSON instead of its table.
    """

    study: str
    config: StudyConfig
    photos: tuple[str, ...]
    holdout: float | str
    output: Path
    storage: str
    name: str
    seed: int
    deadline: float
    policy: ImagePolicy
    pool: PoolSettings
    json: bool


class Cases(NamedTuple):
    """Cases to tune on, held-out cases, and the number of photos that could not be read."""

    tuned: list[Case]
    held_out: list[Case]
    failures: int


def tune(settings: TuneSettings) -> int:
    """Search, evaluate the best on held-out photos and write the results; return 1 if any photo failed.

    Raises:
        ConfigError: photos, model, storage and study do not go together, or trial after trial fails.
    """
    config, folder = settings.config, settings.output
    codec = load_driver_codec(settings.pool)
    check_codec(settings, codec)
    folder.mkdir(parents=True, exist_ok=True)
    with sole_writer(folder / RESULTS):
        cases = gather_cases(settings)
        study = open_study(
            config,
            setup=study_setup(
                config,
                model_id=model_id(codec).hex(),
                cases=cases.tuned,
                device=settings.pool.worker_device,
                threads=settings.pool.threads,
                batch=settings.pool.batch,
            ),
            storage=settings.storage,
            name=settings.name,
            cases=len(cases.tuned),
            seed=settings.seed,
            driver=str(folder.resolve()),
        )
        sources = (cases.tuned[0].photo.path,)
        tasks = config.trials * len(cases.tuned)
        with closing(make_pool(settings.pool, codec, tasks, shared=folder, sources=sources)) as pool:
            evaluator = Evaluator(
                pool,
                codec,
                config=EncodeConfig(
                    settings.pool.model, policy=settings.policy, tune=settings.config.tune, exact="never"
                ),
                folder=folder,
                device=settings.pool.worker_device,
            )
            search(study, evaluator, cases.tuned, deadline=settings.deadline)
            best = evaluate_best(study, evaluator, cases.held_out, folder)
        write_results(folder, study, best)
    print(as_json(study, best) if settings.json else as_text(study, best))
    failures = cases.failures + sum(trial.failures for trial in best)
    return cli.SOME_FAILED if failures else cli.DONE


def check_codec(settings: TuneSettings, codec: AnyCodec) -> None:
    """Raise ConfigError where a codec cannot encode the study's crops or qualities."""
    crop = settings.config.crop
    if codec.distortion == "ms_ssim" and crop is not None and crop < MS_SSIM_SIDE_MIN:
        mend = f"crop: {MS_SSIM_SIDE_MIN} or more in the study, or no crop"
        raise ConfigError(f"{settings.study}: crops of {crop} px are too small for MS-SSIM: {mend}")
    for quality in settings.config.qualities:
        codec.level(quality)


def gather_cases(settings: TuneSettings) -> Cases:
    """Find the photos, split them, and crop them; photos that cannot be read are printed, counted and left out.

    Raises:
        ConfigError: there are no photos to tune on, or a held-out one is among them.
    """
    config, failed = settings.config, list[Path]()

    def fail(path: Path, reason: str) -> None:
        failed.append(path)
        cli.say(f"{path}: {reason}")

    found = find_photos(list(settings.photos), settings.output, fail)
    if isinstance(settings.holdout, str):
        tuned, held_out = found, find_photos([settings.holdout], settings.output, fail)
    else:
        tuned, held_out = split(found, settings.holdout)
    if both := {photo.sha256 for photo in tuned} & {photo.sha256 for photo in held_out}:
        name = next(photo.path for photo in held_out if photo.sha256 in both)
        raise ConfigError(f"--holdout: {name} is among the photos to tune on: hold out others")
    cases = []
    for photos in (tuned, held_out):
        ready = prepare(photos, crop=config.crop, policy=settings.policy, folder=settings.output / "crops", failed=fail)
        cases.append([Case(photo, quality) for photo in ready for quality in config.qualities])
    if not cases[0]:
        raise ConfigError(f"{', '.join(settings.photos)}: none of the photos can be read")
    return Cases(cases[0], cases[1], len(failed))


def search(study: Study, evaluator: Evaluator, cases: list[Case], deadline: float) -> None:
    """Run the trials under a progress bar, and print a line for each that ends."""
    total = study.config.trials
    with tqdm(total=total, initial=study.finished, unit="trial", disable=not cli.shows_bars(), file=sys.stderr) as bar:

        def on_end(number: int) -> None:
            bar.update(study.finished - bar.n)
            cli.say(study.describe(number))

        Search(study, evaluator, cases, deadline, on_end).run()


def parse_holdout(given: str | None, default: float) -> float | str:
    """Return the share of the photos to hold out, or the name of a folder of others.

    Raises:
        ConfigError: a number outside [0, 1).
    """
    try:
        share = default if given is None else float(given)
    except ValueError:
        assert given is not None
        return given
    if not 0 <= share < 1:
        raise ConfigError(f"--holdout {given}: a share must lie in [0, 1); or name a folder")
    return share
