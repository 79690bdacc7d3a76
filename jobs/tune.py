"""`rdo-tune`: search of the refinement settings that gain most on photos like yours, evaluated on held-out photos."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import cli
from jobs.pools.selection import PoolSettings, add_pool_flags

if TYPE_CHECKING:
    from jobs.tuning.run import TuneSettings

EXAMPLES = """\
  rdo-tune rdoq photos/ -o study/                  schedules of the discrete search; a second run resumes
  rdo-tune paper photos/ -o study/ --trials 100    the paper's search; more trials of the same study
  rdo-tune mine.yaml photos/ -o study/ -j 4        a study of your own, on four cores
  rdo-tune front photos/ -o study/ --storage sqlite:///studies.db   many studies in one database
  optuna-dashboard study/study.journal             watch it, running or done
  rdo-encode --config study/best.yaml photos/      encode with the best recipe"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `rdo-tune`."""
    flags = cli.parser("rdo-tune", "Search the settings of refinement that gain most on photos like yours.", EXAMPLES)
    flags.add_argument("study", metavar="STUDY", help="a name in configs/tune, or a YAML file")
    flags.add_argument("photos", nargs="+", metavar="PHOTO", help="files or folders")
    flags.add_argument(
        "-o", "--output", type=Path, required=True, help="folder of the study; an existing study resumes"
    )
    search = flags.add_argument_group("search")
    search.add_argument("--trials", type=int, metavar="N", help="trials in all, those of earlier runs included")
    search.add_argument(
        "--time-budget", type=float, metavar="S", help="begin no trial later than S seconds after the start"
    )
    search.add_argument(
        "--holdout",
        metavar="X",
        help="photos kept from the search, to judge it by: a folder, or a share of PHOTO, as 0.2",
    )
    search.add_argument("--seed", type=int, default=0, help="seed of the sampler")
    search.add_argument(
        "--storage",
        metavar="URL",
        help="Optuna's storage, for several runs of one study: a journal file that all share, a database's URL, "
        "redis://..., or grpc://HOST:PORT of Optuna's storage proxy (default study.journal in the folder)",
    )
    search.add_argument("--name", help="name of the study in its storage (default: that of the YAML file)")
    cli.add_picture_flags(flags)
    run = flags.add_argument_group("run")
    run.add_argument("--json", action="store_true", help="print the summary as JSON instead of its table")
    cli.add_model_flags(run)
    add_pool_flags(flags)
    return flags


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = build_parser().parse_args(argv)

    def run() -> int:
        from jobs.tuning.run import tune

        return tune(parse(arguments))

    return cli.guarded(run)


def parse(arguments: argparse.Namespace) -> "TuneSettings":
    """Load the study, check the flags and return them as settings.

    Raises:
        ConfigError: Optuna is not installed, there is no such study, or a bad value.
    """
    from codec.images.read import ImagePolicy
    from codec.settings import override
    from jobs.tuning.open_study import require_optuna
    from jobs.tuning.run import TuneSettings, parse_holdout
    from jobs.tuning.space import load_study

    seconds = float("inf") if arguments.time_budget is None else arguments.time_budget
    deadline = time.monotonic() + seconds
    require_optuna()
    config = load_study(arguments.study)
    if arguments.trials is not None:
        config = override(config, {"trials": arguments.trials}, "")
    return TuneSettings(
        study=arguments.study,
        config=config,
        photos=tuple(arguments.photos),
        holdout=parse_holdout(arguments.holdout, config.holdout),
        output=arguments.output,
        storage=arguments.storage or str(arguments.output / "study.journal"),
        name=arguments.name or Path(arguments.study).stem,
        seed=arguments.seed,
        deadline=deadline,
        policy=cli.from_flags(ImagePolicy, arguments),
        pool=cli.from_flags(PoolSettings, arguments),
        json=arguments.json,
    )
