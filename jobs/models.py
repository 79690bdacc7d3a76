"""`rdo-models`: list of installed models, their cards, and verification of model files by hash."""

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
    """Return the parser of `rdo-models` and its subcommands."""
    flags = cli.parser("rdo-models", "List, describe and verify models.", EXAMPLES)
    flags.add_argument("--json", action="store_true", help="print JSON")
    actions = flags.add_subparsers(dest="action", metavar="{card,verify}")
    card = actions.add_parser("card", help="data, licences, training, results and limits of a model")
    card.add_argument("model", help="installed model, or a checkpoint with a card beside it")
    card.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    verify = actions.add_parser("verify", help="check a model's hashes, and that it loads")
    verify.add_argument("model", nargs="?", help="installed model or checkpoint (default: every installed one)")
    verify.add_argument("--sha256", metavar="HEX", help="expected hash of the file (default: that of its card)")
    return flags


def main(argv: list[str] | None = None) -> int:
    """Run the subcommand and return its exit status."""
    arguments = build_parser().parse_args(argv)
    actions = {
        None: lambda: list_models(as_json=arguments.json),
        "card": lambda: show_card(arguments.model, as_json=arguments.json),
        "verify": lambda: verify_models(arguments.model, arguments.sha256),
    }
    return cli.guarded(actions[arguments.action])


def list_models(as_json: bool) -> int:
    """Print a line of a table, or a JSON object, for each installed model."""
    from codec.checkpoint import installed_models, load_own
    from codec.identity import model_id
    from codec.model_card import read_card

    if not as_json:
        print(f"{'model':13} {'parameters':>12} {'id':8} {'steps':>9} {'hours':>7}  Kodak, plain")
    for name, path in installed_models().items():
        codec, card = load_own(path), read_card(path)
        parameters, identity = sum(p.numel() for p in codec.parameters()), model_id(codec).hex()
        if as_json:
            print(json.dumps({"model": name, "file": str(path), "parameters": parameters, "model_id": identity,
                              "card": asdict(card) if card else None}))  # fmt: skip
        else:
            trained = f"{card.steps:>9} {card.hours:>7.1f}  {_kodak(card)}" if card else "no card"
            print(f"{name:13} {parameters:>12,} {identity:8} {trained}")
    return cli.DONE


def show_card(model: str, as_json: bool) -> int:
    """Print a model's card as its YAML text, or as JSON.

    Raises:
        CheckpointError: there is no such model, or no card beside it.
    """
    from codec.checkpoint import find_model
    from codec.errors import CheckpointError
    from codec.model_card import read_card

    path = find_model(model)
    card = read_card(path)
    if card is None:
        raise CheckpointError(f"{path}: no card beside it: {path.with_suffix('.yaml').name} is missing")
    print(json.dumps(asdict(card)) if as_json else path.with_suffix(".yaml").read_text(encoding="utf-8").rstrip())
    return cli.DONE


def verify_models(model: str | None, sha256: str | None) -> int:
    """Verify one model, or all that are installed; return 1 if any installed one fails.

    Raises:
        ConfigError: a hash without a model.
        CheckpointError: the named model fails.
    """
    from codec.checkpoint import find_model, installed_models
    from codec.errors import ConfigError, RdoError

    if sha256 and not model:
        raise ConfigError("--sha256: of which file? name it")
    if model:
        _verify(find_model(model), sha256)
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
    """Check a checkpoint's hash against the one given or its card's, load it, and print hash and id.

    Raises:
        CheckpointError: the hash differs, or the checkpoint cannot be loaded.
    """
    from codec.checkpoint import file_sha256, load_own
    from codec.identity import model_id
    from codec.model_card import check_card, read_card

    codec, card = load_own(path, sha256=sha256), read_card(path)
    if card is not None:
        check_card(card, path)
    matched = "as asked" if sha256 else "as its card says" if card else "no card and no --sha256 to hold it against"
    print(cli.printable(f"{path}: {file_sha256(path)} ({matched}), {codec.config.name}, id {model_id(codec).hex()}"))


def _kodak(card: "ModelCard") -> str:
    """Summarise a card's Kodak results: both ends of the curve, and its BD-rate."""
    first, last = card.kodak[0], card.kodak[-1]
    curve = f"{first.bpp:.2f}-{last.bpp:.2f} bpp, {first.psnr_db:.1f}-{last.psnr_db:.1f} dB"
    return f"{curve}, {card.bd_rate_percent:+.1f} % BD-rate on {card.anchor}"
