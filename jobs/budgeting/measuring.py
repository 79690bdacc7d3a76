"""Measuring of pictures before a budget is shared out: plain files at a few qualities, scored and not kept.

The invariant: each measurement is a record in a log of the output folder, so that none is made twice, whatever ends the
run and whatever the next budget is.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from codec.images.read import ImagePolicy
from codec.interface import AnyCodec
from jobs.pools.base import Pool, Task
from jobs.record import Record, Score
from jobs.running.destination import log_in
from jobs.running.encode_settings import EncodeConfig, distortion_for
from jobs.running.history import History
from jobs.running.progress import Part
from jobs.running.run import run_tasks
from jobs.running.worklist import NOT_WRITTEN, Item
from rdo.allocation import Measured
from rdo.presets import recipe

POINTS = "budget-points.jsonl"  # in the output folder
QUALITIES = (1.0, 3.0, 5.5, 8.0)  # interpolated between, files of Kodak are 0.1 to 0.3 % off in total


@dataclass(frozen=True)
class Picture:
    """Picture that was measured.

    Attributes:
        item: picture and the file to write.
        sha256: hash of the picture's file.
        pixels: width times height.
        measured: plain encodings by the model's own steps, by rising quality.
    """

    item: Item
    sha256: str
    pixels: int
    measured: tuple[Measured, ...]


def measure(
    items: list[Item], codec: AnyCodec, config: EncodeConfig, *, folder: str, pool: Pool, part: Part
) -> tuple[list[Picture], list[Record]]:
    """Measure all pictures at `QUALITIES`; return those that could be, in order, and a failed record of each other.

    Args:
        config: settings of the run; its tuning decides what is measured as distortion.
        folder: output folder, which the log is kept in.
        part: place of the measurements in the progress of the run.
    """
    wanted = dict.fromkeys(items, plain_settings(config))
    found, failed = encode_unkept(wanted, codec, config.policy, folder=folder, pool=pool, part=part)
    by_score = minimises_score(config, codec)
    pictures = [_picture(item, found[item], by_score) for item in items if item not in failed]
    return pictures, list(failed.values())


def plain_settings(config: EncodeConfig) -> list[EncodeConfig]:
    """Return the settings that each picture is measured with."""
    return [replace(config, quality=quality, lmbda=None, refine=recipe(0)) for quality in QUALITIES]


def encode_unkept(
    wanted: Mapping[Item, Sequence[EncodeConfig]],
    codec: AnyCodec,
    policy: ImagePolicy,
    *,
    folder: str,
    pool: Pool,
    part: Part,
) -> tuple[dict[Item, list[Record]], dict[Item, Record]]:
    """Encode pictures with some settings each, without keeping the files; what the log has is not encoded again.

    Args:
        wanted: settings of each picture, all of this policy.
        folder: output folder, which the log is kept in.
        part: place of these encodings in the progress of the run.

    Returns:
        Records of the encodings that there are, and a failed record of each picture that has any.
    """
    log = log_in(folder, POINTS)
    history = History(log, log.exists(), codec, policy)
    known = {(r.input_sha256, r.config_hash): r for r in log.read() if r.outcome}
    found: dict[Item, dict[str, Record]] = {item: {} for item in wanted}
    for item, settings in wanted.items() if known else ():
        sha256, hashes = history.input_hash(item), [history.hashes_of(each)[0] for each in settings]
        found[item] = {key: known[sha256, key] for key in hashes if (sha256, key) in known}
    missing = [  # one setting of all pictures after the other
        Task(replace(item, output=NOT_WRITTEN), settings[index])
        for index in range(max(map(len, wanted.values()), default=0))
        for item, settings in wanted.items()
        if index < len(settings) and history.hashes_of(settings[index])[0] not in found[item]
    ]
    by_input, failed = {item.input: item for item in wanted}, dict[Item, Record]()
    with log.writing() if missing else nullcontext():
        for record in run_tasks(missing, None, log, pool, part=part) if missing else ():
            item = by_input[record.input]
            if record.outcome:
                found[item][record.config_hash or ""] = record
            else:
                failed.setdefault(item, replace(record, input=item.input, output=item.output))
    return {item: list(records.values()) for item, records in found.items()}, failed


def minimises_score(config: EncodeConfig, codec: AnyCodec) -> bool:
    """Tell whether the settings are for the eye, so that SSIMULACRA 2 is what pictures share their budget by."""
    return distortion_for(config, codec).visual_share > 0


def _picture(item: Item, records: Iterable[Record], by_score: bool) -> Picture:
    first, *_ = records = list(records)
    pixels = first.measured.width * first.measured.height
    points = (measured(r, r.measured.plain, by_score) for r in records)
    return Picture(item, first.input_sha256 or "", pixels, tuple(sorted(points)))


def measured(record: Record, score: Score, by_score: bool) -> Measured:
    """Return one file of a record as a point of an operating curve.

    Its distortion is what the run is to minimise in sum: by score 100 minus SSIMULACRA 2, each picture counting alike;
    else the distortion that refinement minimises (mse, MS-SSIM or a mixture), each pixel counting alike.
    """
    found, points = record.measured, math.nan if score.ssimulacra2 is None else score.ssimulacra2
    assert record.quality is not None and record.lmbda is not None, "a finished record has both"
    if by_score and not math.isnan(points):
        distortion = 100.0 - points
    else:
        distortion = max(0.0, (score.cost - score.bpp) / record.lmbda) * found.width * found.height
    return Measured(record.quality, float(score.bytes), distortion, points)
