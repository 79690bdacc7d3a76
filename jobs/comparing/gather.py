"""What a comparison is made of: runs over a ladder of qualities, classical codecs, anchors, pictures to look at.

All of it is kept in the output folder, `q<quality>-i<steps>/` as `rdo-encode` would write it, `classical.jsonl`,
`details.jsonl` and `look/`, so that a second run, or one after an interruption, does only what is missing.
"""

import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from codec.checkpoint import model_id
from codec.coding import AnyCodec
from codec.errors import RdoError
from codec.images.read import ImagePolicy
from jobs.cli import say
from jobs.comparing import classical
from jobs.comparing.anchors import AnchorSet, pixels_hash, recognise
from jobs.comparing.classical import LADDERS, ClassicalRecord
from jobs.comparing.details import Split, append_split, measure_split, read_original, read_splits
from jobs.comparing.pictures import View, choose, store, stored, view
from jobs.comparing.points import efforts
from jobs.pools.base import Pool
from jobs.record import Record
from jobs.running.encode_settings import EncodeConfig
from jobs.running.encoding import explain
from jobs.running.run import RESULTS, run
from jobs.running.worklist import build_worklist
from rdo.config import RefineConfig

CLASSICAL, DETAILS, LOOK = "classical.jsonl", "details.jsonl", "look"


def encode_ladder(
    inputs: list[str],
    folder: Path,
    codec: AnyCodec,
    config: EncodeConfig,
    qualities: list[float],
    recipes: list[RefineConfig],
    pool: Pool,
) -> list[Record]:
    """Every picture at every quality and effort, through the same workers as `rdo-encode`.

    Raises:
        ConfigError: no pictures.
    """
    records = []
    for recipe in recipes:
        for quality in qualities:
            target = folder / f"q{quality:g}-i{recipe.iters}"
            items = build_worklist(inputs, str(target))
            target.mkdir(parents=True, exist_ok=True)
            say(f"quality {quality:g}, {recipe.iters} steps")
            settings = replace(config, quality=quality, refine=recipe)
            for record in run(items, codec, settings, target / RESULTS, overwrite=False, pool=pool):
                records.append(record)
                if record.error:
                    say(f"{record.input}: {record.error}")
    return records


def measure_splits(records: list[Record], codec: AnyCodec, policy: ImagePolicy, path: Path) -> list[Split]:
    """Where the bits of the greatest effort's files went; what is in the file `path` already is not measured again."""
    known = read_splits(path)
    found = []
    for record in tqdm(_greatest(records), desc="where bits went", disable=None, file=sys.stderr, leave=False):
        split = known.get(record.measured.output_sha256)
        if split is None:
            try:
                split = measure_split(record, codec, policy)
            except (RdoError, OSError):
                continue  # another model's, or moved: a report has no bits to show for it
            append_split(path, split)
        found.append(replace(split, input=record.input))
    return found


def known_splits(records: list[Record], views: list[View], path: Path) -> list[Split]:
    """The same of a finished run, without reading every file again: what is known, else of the pictures looked at."""
    known = read_splits(path)
    found = [known[r.measured.output_sha256] for r in _greatest(records) if r.measured.output_sha256 in known]
    return found or [view.split for view in views]


def encode_classical(
    records: list[Record], names: list[str], policy: ImagePolicy, path: Path
) -> tuple[list[ClassicalRecord], list[str]]:
    """Every picture of the records by the named codecs; and a note for each that could not be read again."""
    pictures = {r.input: r for r in records if r.outcome}
    done = {r.key: r for r in classical.read(path) if not r.error}
    total = len(pictures) * sum(len(LADDERS[name].values) for name in names)
    found, notes = [], []
    with tqdm(total=total, desc="classical codecs", disable=None, file=sys.stderr, leave=False) as bar:
        for record in pictures.values() if names else ():
            try:
                pixels = read_original(record, policy)
            except (RdoError, OSError) as error:
                notes.append(f"Classical codecs did not get {record.input}: {explain(error)}.")
                continue
            for point in classical.encode_ladders(record.input, pixels, pixels_hash(pixels), names, done):
                if point.key not in done:
                    classical.append(path, point)
                found.append(point)
                bar.update()
    return found, notes


def known_classical(records: list[Record], policy: ImagePolicy, path: Path) -> list[ClassicalRecord]:
    """What earlier runs measured of the records' pictures; of two alike the later counts.

    A picture is known by its pixels, by its name only where it is no longer there.
    """
    kept: dict[str, dict[tuple[str, str], ClassicalRecord]] = defaultdict(dict)
    for known in classical.read(path):
        if known.codec in LADDERS:
            for key in (known.pixels_sha256, known.input):
                kept[key][known.codec, known.setting] = known
    found = []
    for record in {r.input: r for r in records if r.outcome}.values() if kept else ():
        try:
            key = pixels_hash(read_original(record, policy))
        except (RdoError, OSError):
            key = record.input
        found += [replace(known, input=record.input) for known in kept.get(key, {}).values()]
    return found


def recognised(records: list[Record]) -> tuple[AnchorSet | None, list[str]]:
    """Published curves of the records' pictures, if all belong to one set; and a note where some are missing."""
    match = recognise({str(r.input_path): r.input_sha256 for r in records if r.outcome})
    if match is None:
        return None, []
    anchors, pictures = match
    if len(pictures) == anchors.pictures:
        return anchors, []
    text = f"These are {len(pictures)} of the {anchors.pictures} pictures of {anchors.title}"
    return anchors, [f"{text}: published curves are averages over all, so their distance to ours is a rough one."]


def doubts(asked: AnchorSet | None, records: list[Record]) -> list[str]:
    """A note where the records' pictures are not those that the curves asked for are of."""
    known, notes = recognised(records)
    if asked is None or (known and known.name == asked.name):
        return notes if asked else []
    return [
        f"Published curves are of {asked.title}, and these are not known to be its pictures: compare nothing with them."
    ]


def look(
    records: list[Record], codec: AnyCodec, policy: ImagePolicy, count: int, folder: Path
) -> tuple[list[View], list[str]]:
    """Pictures to look at, kept in `folder` for the next time, and a note where there are none."""
    scored = _greatest(records)
    if not codec.variable_rate:
        return [], [f"No pictures to look at: {codec.config.name} has one quality, so none of equal bytes."]
    if count < 1 or not scored:
        return [], []
    foreign = {r.model for r in scored if r.model_id != model_id(codec).hex()}
    if foreign:
        return [], [f"No pictures to look at: the records are of model {foreign.pop()}: name its file with --model."]
    here = [r for r in scored if r.input_path.is_file() and r.output_path.is_file()]
    if not here:
        return [], ["No pictures to look at: neither originals nor files of the records are where they were."]
    views, notes = [], []
    for record in tqdm(choose(here, count), desc="pictures", disable=None, file=sys.stderr, leave=False):
        path = folder / f"{record.measured.output_sha256}.json"
        try:
            found = stored(path)
            if found is None or found.image != record.input:
                found = view(record, codec, policy)
                store(path, found)
            views.append(found)
        except (RdoError, OSError) as error:
            notes.append(f"{record.input} is not shown: {explain(error)}.")
    return views, notes


def _greatest(records: list[Record]) -> list[Record]:
    """Scored records of the greatest effort."""
    by_effort = efforts(records)
    return by_effort[-1] if by_effort else []
