"""Measured points of every codec as curves: codec x picture x setting.

Points of `plain` and `refined` come from records of `rdo-encode`, those of classical codecs from their own. The
invariant: averages and comparisons take the same pictures for both codecs; `complete_images` names them, and the
others are reported.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.errors import ConfigError
from jobs.comparing.classical import ClassicalRecord
from jobs.comparing.ladders import LADDERS
from jobs.comparing.metrics import BUTTERAUGLI, MS_SSIM, PSNR, Metric
from jobs.record import Record, Score, read_records
from jobs.running.record_log import RESULTS

PLAIN, REFINED = "plain", "refined"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """Measurement of one file: its bytes, and its decoded 8-bit pixels against the original.

    `psnr_db` is None for identical pixels, `ms_ssim` and `ssimulacra2` for pictures too small for them, the latter for
    records of earlier releases too; `seconds` is the encoding time.
    """

    image: str
    codec: str
    setting: str
    bytes: int
    bpp: float
    psnr_db: float | None
    ms_ssim: float | None
    ssimulacra2: float | None
    seconds: float | None
    butteraugli: float | None = None


class Curve(NamedTuple):
    """Rate-distortion curve: bpp and the values of a metric, an entry for each setting."""

    bpp: Floats
    values: Floats


class Table(NamedTuple):
    """Rates, and values of a metric (pictures, settings)."""

    bpp: Floats
    values: Floats


class Means(NamedTuple):
    """Averaged curve, a value for each setting; None where a picture has none. `ms_ssim_db` is the mean of decibels."""

    bpp: Floats
    psnr_db: Floats
    ms_ssim: list[float | None]
    ms_ssim_db: list[float | None]
    ssimulacra2: list[float | None]
    butteraugli_db: list[float | None]


@dataclass(frozen=True)
class Series:
    """Curves of one codec: `points[image]` has an entry for each of `settings`, None where encoding failed."""

    codec: str
    settings: tuple[str, ...]
    points: dict[str, tuple[Point | None, ...]]

    def curve(self, image: str, metric: Metric = PSNR) -> Curve:
        """Return the curve of a picture, without settings that failed or reproduced it exactly."""
        points = [(p.bpp, metric.of(p)) for p in self.points.get(image, ()) if p is not None]
        found = [(bpp, value) for bpp, value in points if value is not None]
        return Curve(np.array([bpp for bpp, _ in found]), np.array([value for _, value in found], dtype=float))

    def complete(self, metric: Metric = PSNR) -> set[str]:
        """Return the pictures that have a value at every setting, none of them exact."""
        return {
            image for image, row in self.points.items() if all(p is not None and metric.of(p) is not None for p in row)
        }

    def table(self, images: list[str], metric: Metric = PSNR) -> Table:
        """Return the points of complete pictures, a row for each picture and a column for each setting."""
        rows = [[p for p in self.points[image] if p is not None] for image in images]
        return Table(
            bpp=np.array([[p.bpp for p in row] for row in rows]),
            values=np.array([[metric.of(p) for p in row] for row in rows], float),
        )

    def average(self, images: list[str], metric: Metric = PSNR) -> Curve:
        """Average the curves of complete pictures: mean bpp and mean value at each setting."""
        table = self.table(images, metric)
        return Curve(table.bpp.mean(0), table.values.mean(0))

    def means(self, images: list[str]) -> Means:
        """Average all scores of pictures that are complete in PSNR."""
        bpp, psnr_db = self.average(images)
        columns = list(zip(*(self.points[image] for image in images), strict=True))
        return Means(
            bpp,
            psnr_db,
            ms_ssim_db=[_mean_of_all([p and MS_SSIM.of(p) for p in column]) for column in columns],
            ms_ssim=[_mean_of_all([p and p.ms_ssim for p in column]) for column in columns],
            ssimulacra2=[_mean_of_all([p and p.ssimulacra2 for p in column]) for column in columns],
            butteraugli_db=[_mean_of_all([p and BUTTERAUGLI.of(p) for p in column]) for column in columns],
        )


def _mean_of_all(values: list[float | None]) -> float | None:
    """Average the values, or return None where one of them is None."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def load_records(names: list[str]) -> list[Record]:
    """Read the records of the named files, and of every results.jsonl below the named folders.

    Of several records of one picture and configuration the last one that is done counts. Pictures of equal names from
    different folders get their whole paths as names.

    Raises:
        ConfigError: a name does not exist or holds no record, or the records are of several models.
    """
    records: dict[tuple[Path, str | None], Record] = {}
    for name in names:
        path = Path(name)
        files = sorted(path.rglob(RESULTS)) if path.is_dir() else [path]
        found = [record for file in files for record in latest_records(read_records(file))]
        if not found:
            raise ConfigError(f"{name}: no records there: name the results.jsonl of a finished run, or its folder")
        for record in found:
            key = (record.input_path, record.config_hash)
            before = records.get(key)
            if record.status == "done" or before is None or before.status != "done":
                records[key] = record
    models = {r.model_id for r in records.values() if r.model_id}
    if len(models) > 1:
        raise ConfigError(f"records of {len(models)} models ({', '.join(sorted(models))}): report on them one by one")
    return _with_unique_names(list(records.values()))


def _with_unique_names(records: list[Record]) -> list[Record]:
    """Replace names that pictures of several folders share by whole paths."""
    places: dict[str, set[Path]] = defaultdict(set)
    for record in records:
        places[record.input].add(record.input_path)
    return [replace(r, input=str(r.input_path)) if len(places[r.input]) > 1 else r for r in records]


def latest_records(records: list[Record]) -> list[Record]:
    """Keep one record of each output: the last that is done, or the first failure where none is."""
    latest: dict[object, Record] = {}
    for record in records:
        key = record.output_path if record.output else (record.input_path, record.config_hash)
        if record.status == "done" or key not in latest or latest[key].status != "done":
            latest[key] = record
    return list(latest.values())


def group_by_effort(records: list[Record]) -> list[list[Record]]:
    """Group records by effort, the greatest last: runs at one quality are ranked by their mean number of steps."""
    runs: dict[float, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.outcome and record.quality is not None:
            runs[record.quality][record.config_hash or ""].append(record)
    ranks: dict[int, list[Record]] = defaultdict(list)
    for by_settings in runs.values():
        ranked = sorted(by_settings.values(), key=lambda rs: sum(r.measured.iters for r in rs) / len(rs))
        for distance, found in enumerate(reversed(ranked)):  # 0 is the greatest effort, which every quality has
            ranks[distance] += found
    return [ranks[distance] for distance in sorted(ranks, reverse=True)]


def series_of(
    records: list[Record], classical: list[ClassicalRecord], plain: list[Record] | None = None
) -> dict[str, Series]:
    """Return codec -> curves: plain and refined first, then classical codecs in the order of LADDERS.

    Plain encoding is that of the records `plain`, which may be of more qualities; None takes that of `records`.
    """
    plain = records if plain is None else plain
    points = [p for record in plain for p in _record_points(record) if p.codec == PLAIN]
    points += [p for record in records for p in _record_points(record) if p.codec == REFINED]
    points += [_classical_point(c) for c in classical if c.bytes is not None]
    order = {name: index for index, name in enumerate((PLAIN, REFINED, *LADDERS))}
    settings: dict[str, dict[str, None]] = defaultdict(dict)
    for codec, own in ((PLAIN, plain), (REFINED, records)):
        for record in sorted((r for r in own if r.outcome), key=lambda r: r.quality or 0):
            settings[codec][_quality(record)] = None
    for c in classical:
        if c.bytes is not None:
            settings[c.codec][c.setting] = None
    by_codec: dict[str, dict[str, dict[str, Point]]] = defaultdict(lambda: defaultdict(dict))
    for point in points:
        by_codec[point.codec][point.image][point.setting] = point
    return {
        codec: Series(
            codec,
            tuple(settings[codec]),
            {image: tuple(found.get(s) for s in settings[codec]) for image, found in by_codec[codec].items()},
        )
        for codec in sorted(by_codec, key=lambda name: order.get(name, len(order)))
    }


def complete_images(*series: Series, metric: Metric = PSNR) -> list[str]:
    """Return the pictures that have a value at every setting of all these codecs, sorted."""
    return sorted(set.intersection(*(s.complete(metric) for s in series)))


def _record_points(record: Record) -> list[Point]:
    def point(codec: str, found: Score, seconds: float | None) -> Point:
        return Point(
            image=record.input,
            codec=codec,
            setting=_quality(record),
            bytes=found.bytes,
            bpp=found.bpp,
            psnr_db=found.psnr_db,
            ms_ssim=found.ms_ssim,
            ssimulacra2=found.ssimulacra2,
            seconds=seconds,
            butteraugli=found.butteraugli,
        )

    if record.outcome is None:
        return []
    return [point(PLAIN, record.outcome.plain, None), point(REFINED, record.outcome.refined, record.seconds)]


def _quality(record: Record) -> str:
    return f"quality {record.quality:g}"


def _classical_point(c: ClassicalRecord) -> Point:
    assert c.bytes is not None and c.bpp is not None
    return Point(
        image=c.input,
        codec=c.codec,
        setting=c.setting,
        bytes=c.bytes,
        bpp=c.bpp,
        psnr_db=c.psnr_db,
        ms_ssim=c.ms_ssim,
        ssimulacra2=c.ssimulacra2,
        seconds=c.seconds,
        butteraugli=c.butteraugli,
    )
