"""`rdo-compare`: what refinement gained, against plain encoding and against classical codecs, as a page."""

import argparse
import shlex
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import cli
from jobs.encode import refine_settings
from jobs.pools.selection import add_pool_flags

if TYPE_CHECKING:
    from jobs.comparing.report import Report
    from jobs.comparing.views import View
    from rdo.config import RefineConfig

LADDER = "1,2.75,4.5,6.25,8"
EXAMPLES = """\
  rdo-compare photos/                              rdo-compare/report.html and its tables
  rdo-compare --iters 50,200,800 photos/           gain against time from three efforts
  rdo-compare --codecs jpeg,webp --qualities 2,4,6 photos/
  rdo-compare --records rdo-out/results.jsonl      report on a finished run, nothing is encoded again
  rdo-compare --anchors kodak kodak/               published curves beside ours"""


def build_parser() -> argparse.ArgumentParser:
    """All flags of the command."""
    flags = cli.parser("rdo-compare", "Compare refined with plain files and with classical codecs.", EXAMPLES)
    flags.add_argument("inputs", nargs="*", metavar="PICTURE", help="files or folders; a second run does the rest only")
    flags.add_argument("--records", nargs="+", metavar="FILE", help="results.jsonl of finished runs, or their folders")
    flags.add_argument("-o", "--output", help="folder (default rdo-compare, or that of --records)")
    what = flags.add_argument_group("what is compared")
    what.add_argument(
        "--qualities", help=f"ladder of plain and refined, 1 to 8 (default {LADDER}; or a model's only one)"
    )
    what.add_argument("--codecs", help="of jpeg, jpeg2000, webp, avif, jpegxl, heic; or none (default all there are)")
    what.add_argument("--anchors", help="published curves: kodak, tecnick, clic or none (default: by the pictures)")
    what.add_argument("--pictures", type=int, default=4, help="pictures to look at on the page")
    search = flags.add_argument_group("refinement")
    search.add_argument("--iters", help="steps; several, 10,40,160, show gain against time (default: effort 5, 40)")
    search.add_argument("--method", help="rdoq, or for comparison a relaxation: ste, sga, ... (default rdoq)")
    search.add_argument("--time-budget", type=float, metavar="S", help="about S seconds of refinement per picture")
    search.add_argument("--seed", type=int, help="of the noise (default 0)")
    search.add_argument("--config", type=Path, metavar="YAML", help="refinement settings, as in configs/refine/")
    cli.add_picture_flags(flags)
    run = flags.add_argument_group("run")
    run.add_argument("--json", action="store_true", help="print the report as JSON instead of its table")
    cli.add_model_flags(run)
    add_pool_flags(flags)
    return flags


def main(argv: list[str] | None = None) -> int:
    """Entry point; see `cli` for exit statuses."""
    arguments = build_parser().parse_args(argv)
    command = shlex.join(["rdo-compare", *(sys.argv[1:] if argv is None else argv)])
    return cli.guarded(lambda: compare(arguments, command))


def compare(arguments: argparse.Namespace, command: str) -> int:
    """Encode what is missing, then report; 1 if any picture failed."""
    from codec.errors import ConfigError
    from jobs.comparing.export import as_markdown

    if bool(arguments.inputs) == bool(arguments.records):
        raise ConfigError("name pictures or folders to encode, or finished runs with --records, not both")
    report, views = measure(arguments, command)
    folder = output_folder(arguments)
    write_report(folder, report, views)
    print(report.to_json() if arguments.json else as_markdown(report), end="\n" if arguments.json else "")
    cli.say(f"{folder / 'report.html'}: open it in a browser")
    return cli.SOME_FAILED if report.failures else cli.DONE


def measure(arguments: argparse.Namespace, command: str) -> "tuple[Report, list[View]]":
    """Everything that a report says, from files that are there already or are now written."""
    from codec.images.read import ImagePolicy
    from jobs.comparing import measurements
    from jobs.comparing.anchors import load_anchors
    from jobs.comparing.build import build_report
    from jobs.comparing.points import load_records
    from jobs.pools.selection import hire, load_driver_codec
    from jobs.running.encode_settings import EncodeConfig
    from jobs.running.worklist import build_worklist

    steps = cli.numbers(arguments.iters, "--iters") if arguments.iters else []
    iters: list[int | None] = [cli.whole(value) for value in steps]
    iters = iters or [None]  # None: those of --config, else of the default effort
    names, notes = codec_names(arguments.codecs, bool(arguments.records))
    asked = load_anchors(arguments.anchors) if arguments.anchors not in (None, "none") else None
    recipes = [refine_settings(argparse.Namespace(**{**vars(arguments), "effort": None, "iters": n})) for n in iters]
    policy = ImagePolicy(arguments.alpha, arguments.depth, arguments.first_frame)
    codec = load_driver_codec(arguments)
    ladder = LADDER if codec.variable_rate else f"{codec.default_quality}"
    qualities = cli.numbers(arguments.qualities or ladder, "--qualities")
    folder = output_folder(arguments)
    if arguments.records:
        records = load_records(arguments.records)
        settings = {"command": command}
    else:
        for quality in qualities:
            codec.level(quality)  # refuses what is out of range, before anything is made
        config = EncodeConfig(arguments.model, policy=policy)
        items = build_worklist(arguments.inputs, str(folder))
        folder.mkdir(parents=True, exist_ok=True)
        with closing(hire(arguments, codec, len(items), folder, (Path(items[0].input),))) as pool:
            records = measurements.encode_ladder(
                inputs=arguments.inputs,
                folder=folder,
                codec=codec,
                config=config,
                qualities=qualities,
                recipes=recipes,
                pool=pool,
            )
        settings = {"command": command, "refinement": "; ".join(as_text(recipe) for recipe in recipes)}
    folder.mkdir(parents=True, exist_ok=True)
    points, unread = measurements.encode_classical(records, names, policy, folder / measurements.CLASSICAL)
    if arguments.records and not names:
        points = measurements.known_classical(records, policy, folder / measurements.CLASSICAL)
    anchors, rough = (
        measurements.check_anchors(asked, records) if arguments.anchors else measurements.find_anchors(records)
    )
    views, unseen = measurements.make_views(
        records, codec, policy, count=arguments.pictures, folder=folder / measurements.VIEWS
    )
    if arguments.records:
        splits = measurements.known_splits(records, views, folder / measurements.BIT_SPLITS)
    else:
        splits = measurements.measure_splits(records, codec, policy, folder / measurements.BIT_SPLITS)
    return build_report(
        records,
        classical=points,
        splits=splits,
        anchors=anchors,
        notes=[*notes, *rough, *unread, *unseen],
        settings=settings,
    ), views


def write_report(folder: Path, report: "Report", views: "list[View]") -> None:
    """report.html, .json, .csv and .md, each whole or not at all."""
    from codec.files import write_atomically
    from jobs.comparing.export import as_csv, as_markdown
    from jobs.comparing.page import render

    texts = {"html": render(report, views), "json": report.to_json(), "csv": as_csv(report), "md": as_markdown(report)}
    for suffix, text in texts.items():
        write_atomically(folder / f"report.{suffix}", text.encode("utf-8", "backslashreplace"))  # names may be no UTF-8


def output_folder(arguments: argparse.Namespace) -> Path:
    """Where the report goes: what was named, else beside the first records, else rdo-compare."""
    if arguments.output:
        return Path(arguments.output)
    if not arguments.records:
        return Path("rdo-compare")
    first = Path(arguments.records[0])
    return first if first.is_dir() else first.parent


def codec_names(text: str | None, finished: bool) -> tuple[list[str], list[str]]:
    """Classical codecs to run, and a note for each that cannot; of a finished run none unless named.

    Raises:
        ConfigError: an unknown name.
    """
    from codec.errors import ConfigError
    from jobs.comparing.classical import LADDERS, available

    if text == "none" or (text is None and finished):
        return [], []
    short = {name.lower().replace(" ", ""): name for name in LADDERS}
    chosen = list(short) if text is None else [name.strip().lower() for name in text.split(",")]
    unknown = [name for name in chosen if name not in short]
    if unknown:
        raise ConfigError(f"--codecs {', '.join(unknown)}: unknown; there are {', '.join(short)}, or none")
    return available([short[name] for name in dict.fromkeys(chosen)])


def as_text(config: "RefineConfig") -> str:
    """Settings for a reader: those of the method used."""
    from codec.settings import to_mapping

    search = {"iters", "method", "temperature_bits", "move_fraction_start", "move_fraction_end", "time_budget", "seed"}
    shown = to_mapping(config).items()
    return ", ".join(f"{k} {v}" for k, v in shown if v is not None and (config.method != "rdoq" or k in search))
