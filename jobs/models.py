"""`rdo-models`: which models are installed, what their cards say, and whether a file is the one it should be."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import cli

if TYPE_CHECKING:
    from codec.model_card import ModelCard

EXAMPLES = """\
  rdo-models                                    name, size, id, training and Kodak results of each
  rdo-models card small                         data, licences, training, rate and distortion, limits
  rdo-models verify                             every installed model against its card
  rdo-models verify base.json --sha256 3f2a...  a file fetched from elsewhere: its hash, its shards', that it loads"""


def build_parser() -> argparse.ArgumentParser:
    """All flags of the command."""
    flags = cli.parser("rdo-models", "List, describe and verify models.", EXAMPLES)
    flags.add_argument("--json", action="store_true", help="print JSON")
    actions = flags.add_subparsers(dest="action", metavar="{card,verify}")
    card = actions.add_parser("card", help="what to know before using a model")
    card.add_argument("model", help="installed model, or a checkpoint with a card beside it")
    card.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    verify = actions.add_parser("verify", help="check hashes, and that the model loads")
    verify.add_argument("model", nargs="?", help="installed model or checkpoint (default: every installed one)")
    verify.add_argument("--sha256", metavar="HEX", help="of the file (default: that of its card)")
    return flags


def main(argv: list[str] | None = None) -> int:
    """Entry point; see `cli` for exit statuses."""
    arguments = build_parser().parse_args(argv)
    actions = {None: list_models, "card": show_card, "verify": verify_models}
    return cli.guarded(lambda: actions[arguments.action](arguments))


def list_models(arguments: argparse.Namespace) -> int:
    """A line for each installed model, or a JSON object."""
    from codec.checkpoint import installed_models, load_own
    from codec.identity import model_id
    from codec.model_card import read_card

    if not arguments.json:
        print(f"{'model':13} {'parameters':>12} {'id':8} {'steps':>9} {'hours':>7}  Kodak, plain")
    for name, path in installed_models().items():
        codec, card = load_own(path), read_card(path)
        parameters, identity = sum(p.numel() for p in codec.parameters()), model_id(codec).hex()
        if arguments.json:
            print(json.dumps({"model": name, "file": str(path), "parameters": parameters, "model_id": identity,
                              "card": asdict(card) if card else None}))  # fmt: skip
        else:
            trained = f"{card.steps:>9} {card.hours:>7.1f}  {_kodak(card)}" if card else "no card"
            print(f"{name:13} {parameters:>12,} {identity:8} {trained}")
    return cli.DONE


def show_card(arguments: argparse.Namespace) -> int:
    """Print a card: its YAML text, or JSON."""
    from codec.checkpoint import find_model
    from codec.errors import CheckpointError
    from codec.model_card import read_card

    path = find_model(arguments.model)
    card = read_card(path)
    if card is None:
        raise CheckpointError(f"{path}: no card beside it: {path.with_suffix('.yaml').name} is missing")
    print(
        json.dumps(asdict(card)) if arguments.json else path.with_suffix(".yaml").read_text(encoding="utf-8").rstrip()
    )
    return cli.DONE


def verify_models(arguments: argparse.Namespace) -> int:
    """Check one model, or all that are installed; 1 if any of them fails."""
    from codec.checkpoint import find_model, installed_models
    from codec.errors import ConfigError, RdoError

    if arguments.sha256 and not arguments.model:
        raise ConfigError("--sha256: of which file? name it")
    if arguments.model:
        _verify(find_model(arguments.model), arguments.sha256)
        return cli.DONE
    failed = 0
    for path in installed_models().values():
        try:
            _verify(path, None)
        except RdoError as error:
            failed += 1
            cli.say(str(error))
    return cli.SOME_FAILED if failed else cli.DONE


def _verify(path: Path, sha256: str | None) -> None:
    """Print hash and id of a checkpoint that is what it should be.

    Raises:
        CheckpointError: it is not.
    """
    from codec.checkpoint import file_sha256, load_own
    from codec.identity import model_id
    from codec.model_card import check_card, read_card

    codec, card = load_own(path, sha256=sha256), read_card(path)
    if card is not None:
        check_card(card, path)
    told = "as asked" if sha256 else "as its card says" if card else "no card and no --sha256 to hold it against"
    print(cli.printable(f"{path}: {file_sha256(path)} ({told}), {codec.config.name}, id {model_id(codec).hex()}"))


def _kodak(card: "ModelCard") -> str:
    """The ends of the curve, and how far it lies from the anchor."""
    first, last = card.kodak[0], card.kodak[-1]
    curve = f"{first.bpp:.2f}-{last.bpp:.2f} bpp, {first.psnr_db:.1f}-{last.psnr_db:.1f} dB"
    return f"{curve}, {card.bd_rate_percent:+.1f} % BD-rate on {card.anchor}"
