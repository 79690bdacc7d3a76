"""`rdo-bench`: gain of refinement against seconds, and the codec's operations, seconds and memory."""

import argparse
from functools import partial

from jobs import cli
from jobs.measuring import before_after, complexity, refinement, reproduce, roofline, speed

EXAMPLES = """\
  rdo-bench refine photos/                                          rdoq and sga, 10 to 100 steps, qualities 2, 4, 6
  rdo-bench refine --methods rdoq,sga,ste,soft.yaml --iters 25,100 photos/ -o bench/
  rdo-bench refine --vary temperature_bits=0,1,2 --iters 40 photos/ one setting at a time
  rdo-bench complexity                                              operations and parameters of each part
  rdo-bench speed --model base --sizes kodak,4k --plot speed.svg    seconds and memory of each stage
  rdo-bench roofline --model small                                  each stage against this machine's floor
  rdo-bench reproduce kodak/ -o measured/                           the README's figures anew, and which moved
  rdo-bench reproduce --charts charts/                              the README's tables and chart from kept figures
  rdo-bench before-after photo.jpg                                  what refining changes, in a row"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `rdo-bench` and its subcommands."""
    flags = cli.parser("rdo-bench", "Measure refinement, operations, speed, and show them.", EXAMPLES)
    commands = flags.add_subparsers(dest="what", required=True, metavar="WHAT")
    add = partial(commands.add_parser, formatter_class=flags.formatter_class)
    refinement.add_flags(add("refine", help="gain against seconds of ways to refine"))
    complexity.add_flags(add("complexity", help="parameters and operations of each part"))
    speed.add_flags(add("speed", help="seconds and memory of each stage, by picture size"))
    roofline.add_flags(add("roofline", help="seconds of each stage, against what this machine could do"))
    reproduce.add_flags(add("reproduce", help="the figures of the README from scratch, and which moved"))
    before_after.add_flags(add("before-after", help="a picture, its plain file and its refined one, in a row"))
    return flags


def main(argv: list[str] | None = None) -> int:
    """Run the subcommand and return its exit status."""
    arguments = build_parser().parse_args(argv)
    commands = {
        "refine": lambda: refinement.run(refinement.parse(arguments)),
        "complexity": lambda: complexity.run(complexity.parse(arguments)),
        "speed": lambda: speed.run(speed.parse(arguments)),
        "roofline": lambda: roofline.run(roofline.parse(arguments)),
        "before-after": lambda: before_after.run(before_after.parse(arguments)),
        "reproduce": lambda: reproduce.run(reproduce.parse(arguments)),
    }
    return cli.guarded(commands[arguments.what])
