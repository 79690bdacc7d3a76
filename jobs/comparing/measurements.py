"""Measurements that a report is made of: ladders of qualities, classical codecs, bit splits, views, published curves.

All are kept in the output folder: `q<quality>-i<steps>/` as `rdo-encode` writes it, `classical.jsonl`, `details.jsonl`
and `look/`. The invariant: a second run, or one after an interruption, measures only what is missing there.
"""

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from codec.errors import RdoError
from codec.identity import model_id
from codec.images.read import ImagePolicy
from codec.interface import AnyCodec
from codec.metrics.ssimulacra2 import SIDE_MIN
from jobs.cli import say, shows_bars
from jobs.comparing import classical
from jobs.comparing.anchors import AnchorSet, match_anchors, pixels_hash
from jobs.comparing.bit_split import BitSplit, append_split, measure_split, read_original, read_splits
from jobs.comparing.classical import ClassicalRecord
from jobs.comparing.ladders import LADDERS, codec_of
from jobs.comparing.points import group_by_effort
from jobs.comparing.views import View, choose_records, make_view, read_view, write_view
from jobs.pools.base import Pool, Task
from jobs.record import Record
from jobs.running.encode_settings import EncodeConfig
from jobs.running.failures import explain
from jobs.running.progress import Part, work_of
from jobs.running.record_log import RESULTS, FileLog
from jobs.running.run import run
from jobs.running.worklist import build_worklist
from rdo.config import RefineConfig
from rdo.tune import is_visual

CLASSICAL, BIT_SPLITS, VIEWS = "classical.jsonl", "details.jsonl", "look"


class ClassicalPoints(NamedTuple):
    """Points of classical codecs, and a sentence on each picture that they could not encode."""

    points: list[ClassicalRecord]
    notes: list[str]


class Views(NamedTuple):
    """Views of chosen pictures, and a sentence on each that could not be made."""

    views: list[View]
    notes: list[str]


class Anchors(NamedTuple):
    """Published curves to show, if any, and sentences on how far they are comparable."""

    anchors: AnchorSet | None
    notes: list[str]


class Rung(NamedTuple):
    """Quality and refinement that every picture is encoded at."""

    quality: float
    recipe: RefineConfig

    def __str__(self) -> str:
        return f"quality {self.quality:g}, {self.recipe.iters} steps"


def encode_ladder(
    *, inputs: list[str], folder: Path, codec: AnyCodec, config: EncodeConfig, rungs: Sequence[Rung], pool: Pool
) -> list[Record]:
    """Encode every picture at every rung, through a pool as `rdo-encode` does; progress tells the time left of all.

    Raises:
        ConfigError: there are no pictures.
    """
    runs = []
    for rung in rungs:
        target = folder / f"q{rung.quality:g}-i{rung.recipe.iters}"
        settings = replace(config, quality=rung.quality, refine=rung.recipe)
        runs.append((rung, target, settings, build_worklist(inputs, str(target))))
    missing = [[Task(i, each) for i in items if not Path(i.output).is_file()] for _, _, each, items in runs]
    work = [work_of(tasks) for tasks in missing]
    if any(missing):
        pictures, files = len(runs[0][-1]), sum(map(len, missing))
        what = f"{files} files to encode, of {pictures} pictures, each with {len(runs)} qualities and steps"
        say(f"{what}; then classical codecs, and what the page shows")
    records = []
    for index, (rung, target, settings, items) in enumerate(runs):
        target.mkdir(parents=True, exist_ok=True)
        if not shows_bars():
            say(str(rung))
        part = Part(f"encoding {index + 1} of {len(runs)}, {rung}", sum(work[:index]), sum(work[index + 1 :]))
        log = FileLog(target / RESULTS)
        for record in run(items, codec, settings, log, overwrite=False, pool=pool, part=part):
            records.append(record)
            if record.error:
                say(f"{record.input}: {record.error}")
    return records


def measure_splits(records: list[Record], codec: AnyCodec, policy: ImagePolicy, path: Path) -> list[BitSplit]:
    """Measure the bit splits of the greatest effort's files, but for those that the file `path` holds already.

    Files of another model, and those whose picture is no longer there, are left out.
    """
    known = read_splits(path)
    found = []
    quiet = not shows_bars()
    for record in tqdm(_greatest_effort(records), desc="bit splits", disable=quiet, file=sys.stderr, leave=False):
        split = known.get(record.measured.output_sha256)
        if split is None:
            try:
                split = measure_split(record, codec, policy)
            except (RdoError, OSError):
                continue
            append_split(path, split)
        found.append(replace(split, input=record.input))
    return found


def known_splits(records: list[Record], views: list[View], path: Path) -> list[BitSplit]:
    """Return the bit splits that the file `path` holds of the greatest effort's files, or else those of the views."""
    known = read_splits(path)
    hashes = [record.measured.output_sha256 for record in _greatest_effort(records)]
    return [known[digest] for digest in hashes if digest in known] or [view.split for view in views]


def encode_classical(records: list[Record], names: list[str], policy: ImagePolicy, path: Path) -> ClassicalPoints:
    """Encode every picture of the records with the named ladders, but for the points that the file `path` holds."""
    pictures = {r.input: r for r in records if r.outcome}
    done = {r.key: r for r in classical.read_points(path) if not r.error}
    for_eyes = any(is_visual(r.tune) for r in pictures.values())
    total = len(pictures) * sum(len(LADDERS[name].values) for name in names)
    points, notes = [], []
    with tqdm(total=total, desc="classical codecs", disable=not shows_bars(), file=sys.stderr, leave=False) as bar:
        for record in pictures.values() if names else ():
            try:
                pixels = read_original(record, policy)
            except (RdoError, OSError) as error:
                notes.append(f"Classical codecs did not get {record.input}: {explain(error)}.")
                continue
            small = min(pixels.width, pixels.height) < SIDE_MIN
            known = {k: p for k, p in done.items() if small or _is_complete(p, for_eyes=for_eyes)}
            for point in classical.encode_ladders(
                name=record.input,
                pixels=pixels,
                pixels_sha256=pixels_hash(pixels),
                ladders=names,
                done=known,
                with_butteraugli=for_eyes,
            ):
                if point.key not in known:
                    classical.append_point(path, point)
                points.append(point)
                bar.update()
    return ClassicalPoints(points, notes)


def _is_complete(point: ClassicalRecord, *, for_eyes: bool) -> bool:
    """Tell whether a point has all metrics, unlike those of earlier releases and of runs not tuned for eyes."""
    return point.ssimulacra2 is not None and (point.butteraugli is not None or not for_eyes)


def known_classical(records: list[Record], policy: ImagePolicy, path: Path) -> list[ClassicalRecord]:
    """Return the points that the file `path` holds of the records' pictures; of several alike the last.

    Pictures are identified by their pixels, or by their names where they cannot be read any more. Points of earlier
    releases bear a codec's name instead of a ladder's.
    """
    codecs = {ladder.codec for ladder in LADDERS.values()}
    by_picture: dict[str, dict[tuple[str, str], ClassicalRecord]] = defaultdict(dict)
    for point in classical.read_points(path):
        if codec_of(point.codec) in codecs:
            for key in (point.pixels_sha256, point.input):
                by_picture[key][point.codec, point.setting] = point
    found = []
    for record in {r.input: r for r in records if r.outcome}.values() if by_picture else ():
        try:
            key = pixels_hash(read_original(record, policy))
        except (RdoError, OSError):
            key = record.input
        found += [replace(point, input=record.input) for point in by_picture.get(key, {}).values()]
    return found


def find_anchors(records: list[Record]) -> Anchors:
    """Return the published curves of the records' pictures if all belong to one set, noting any that are missing."""
    match = match_anchors({str(r.input_path): r.input_sha256 for r in records if r.outcome})
    if match is None:
        return Anchors(None, [])
    anchors, pictures = match
    if len(pictures) == anchors.pictures:
        return Anchors(anchors, [])
    text = f"These are {len(pictures)} of the {anchors.pictures} pictures of {anchors.title}"
    return Anchors(
        anchors, [f"{text}: published curves are averages over all, so their distance to ours is a rough one."]
    )


def check_anchors(asked: AnchorSet | None, records: list[Record]) -> Anchors:
    """Return the curves asked for, noting where the records' pictures are not those of their set."""
    known, notes = find_anchors(records)
    if asked is None or (known and known.name == asked.name):
        return Anchors(asked, notes if asked else [])
    doubt = f"Published curves are of {asked.title}, and these are not known to be its pictures"
    return Anchors(asked, [f"{doubt}: compare nothing with them."])


def make_views(records: list[Record], codec: AnyCodec, policy: ImagePolicy, *, count: int, folder: Path) -> Views:
    """Make views of `count` pictures of the greatest effort, and keep them in `folder` for the next report."""
    scored = _greatest_effort(records)
    if not codec.variable_rate:
        return Views([], [f"No pictures to look at: {codec.config.name} has one quality, so none of equal bytes."])
    if count < 1 or not scored:
        return Views([], [])
    foreign = {r.model for r in scored if r.model_id != model_id(codec).hex()}
    if foreign:
        text = f"No pictures to look at: the records are of model {foreign.pop()}: name its file with --model."
        return Views([], [text])
    here = [r for r in scored if r.input_path.is_file() and r.output_path.is_file()]
    if not here:
        return Views([], ["No pictures to look at: neither originals nor files of the records are where they were."])
    views, notes = [], []
    quiet = not shows_bars()
    for record in tqdm(choose_records(here, count), desc="views", disable=quiet, file=sys.stderr, leave=False):
        path = folder / f"{record.measured.output_sha256}.json"
        try:
            view = read_view(path)
            if view is None or view.image != record.input:
                view = make_view(record, codec, policy)
                write_view(path, view)
            views.append(view)
        except (RdoError, OSError) as error:
            notes.append(f"{record.input} is not shown: {explain(error)}.")
    return Views(views, notes)


def _greatest_effort(records: list[Record]) -> list[Record]:
    by_effort = group_by_effort(records)
    return by_effort[-1] if by_effort else []
