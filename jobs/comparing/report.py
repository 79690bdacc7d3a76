"""Contents of a report, which the page, the JSON and the tables all show.

The invariant: every number in it is finite or None, and a None that a reader may miss has a sentence in `notes` or a
`reason` beside it.
"""

import json
from dataclasses import asdict, dataclass

from jobs.comparing.anchors import AnchorSet
from jobs.comparing.bit_split import BitSplit
from jobs.comparing.comparison import Comparison, Published
from jobs.comparing.savings import AtQuality

SCHEMA = "rdo-report-1"


CurvePoint = tuple[float, float | None, float | None, float | None, int, float | None, float | None]


@dataclass(frozen=True)
class CodecCurve:
    """Averaged curve of one codec, over the pictures that every codec encoded at every setting, and each picture's own.

    `family` is the codec of a ladder named `codec`, `ms_ssim_db` the mean over pictures of -10 log10(1 - MS-SSIM);
    `butteraugli_db` that of -20 log10(3-norm);
    `points` holds (bpp, psnr_db, ms_ssim, seconds, bytes, ssimulacra2, butteraugli) of each setting, or None.
    """

    codec: str
    settings: tuple[str, ...]
    bpp: list[float]
    psnr_db: list[float]
    ms_ssim: list[float | None]
    ms_ssim_db: list[float | None]
    ssimulacra2: list[float | None]
    butteraugli_db: list[float | None]
    points: dict[str, list[CurvePoint | None]]
    family: str


@dataclass(frozen=True)
class Effort:
    """Refinement at one quality and number of steps: means over pictures, with `seconds` from reading to writing."""

    quality: float
    iters: float
    images: int
    gain_percent: float
    seconds: float
    megapixels: float


@dataclass(frozen=True)
class Picture:
    """Size of one picture in px, and its gain and encoding seconds at each quality."""

    image: str
    width: int | None
    height: int | None
    gain_percent: dict[str, float]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Failure:
    """Picture that a codec failed on, with the reason."""

    image: str
    codec: str
    error: str


@dataclass(frozen=True)
class Report:
    """Figures, notes and settings of one comparison, the contents of report.json.

    Attributes:
        schema: version of this form.
        model: name of the model.
        model_id: identity of its weights, hexadecimal.
        iters: greatest number of refinement steps.
        averaged_over: pictures of the averaged curves.
        pictures: every picture of the greatest effort.
        curves: curves of every codec.
        comparisons: refined against plain and classical codecs, then plain against classical codecs, on each metric.
        qualities: effect of refinement at each quality.
        efforts: gain against time at each quality and effort.
        splits: bytes of y, z and overhead.
        anchors: published curves, if any are shown.
        published: averaged curves against the published anchor.
        failures: pictures that a codec failed on.
        notes: sentences on what the figures do not tell.
        settings: the command, and the settings of each codec.
        versions: versions of libraries and the machine.
        lead: name of the metric that the page opens with.
        verdict: sentences on refined files against what one would use instead, on that metric; empty without files.
        best: metric -> classical codec -> its best ladder on that metric, which `comparisons` and `qualities` take.
    """

    schema: str
    model: str
    model_id: str
    iters: float
    averaged_over: list[str]
    pictures: list[Picture]
    curves: list[CodecCurve]
    comparisons: list[Comparison]
    qualities: list[AtQuality]
    efforts: list[Effort]
    splits: list[BitSplit]
    anchors: AnchorSet | None
    published: list[Published]
    failures: list[Failure]
    notes: list[str]
    settings: dict[str, str]
    versions: dict[str, str]
    best: dict[str, dict[str, str]]
    lead: str
    verdict: str

    def to_json(self) -> str:
        """Return the report as JSON; raise ValueError where a number is not finite."""
        return json.dumps(asdict(self), allow_nan=False)
