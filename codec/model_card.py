"""Model cards: training data and results of a checkpoint, in a YAML file beside the weights.

A card identifies its weights by hash, model id, parameters and steps, so that `check_card` detects an outdated one.
"""

from dataclasses import dataclass
from pathlib import Path

from codec.checkpoint import file_sha256, load_own, read_checkpoint
from codec.errors import CheckpointError
from codec.identity import model_id
from codec.settings import build, load_yaml


@dataclass(frozen=True)
class KodakPoint:
    """Plain encoding at one quality, from files and 8-bit pixels: means over the 24 Kodak images."""

    quality: float
    bpp: float
    psnr_db: float
    ms_ssim: float


@dataclass(frozen=True)
class ModelCard:
    """Facts about a checkpoint: identity, training, data, results and limits.

    Attributes:
        sha256: of the file, or of the manifest of its shards, in hex.
        model_id: id of the model in .rdo files, in hex.
        parameters: number of weights.
        steps, hours: length of training, over all calls of a resumed run, without that of a model given by `--init`.
        hardware: machine that trained it.
        data, licences: training photographs and the terms of their sources.
        kodak: rate and distortion of plain encoding, by quality.
        anchor: codec compared with, and the metric if it is not PSNR.
        bd_rate_percent: BD-rate against `anchor` over their common range of the metric; negative is better.
        limits: known weaknesses, and content that was not tested.
    """

    sha256: str
    model_id: str
    parameters: int
    steps: int
    hours: float
    hardware: str
    data: str
    licences: str
    kodak: tuple[KodakPoint, ...]
    anchor: str
    bd_rate_percent: float
    limits: tuple[str, ...]


def read_card(weights: Path) -> ModelCard | None:
    """Read the card beside a checkpoint; None if there is none.

    Raises:
        ConfigError: the file is no valid card.
    """
    path = weights.with_suffix(".yaml")
    return build(ModelCard, load_yaml(path), str(path)) if path.is_file() else None


def check_card(card: ModelCard, weights: Path) -> None:
    """Load a checkpoint and compare it with its card.

    Raises:
        CheckpointError: the checkpoint does not load, or differs from its card.
    """
    codec = load_own(weights)
    notes = read_checkpoint(weights)[2]
    found: dict[str, object] = {
        "sha256": file_sha256(weights),
        "model_id": model_id(codec).hex(),
        "parameters": sum(p.numel() for p in codec.parameters()),
        "steps": int(notes.get("steps", card.steps)),
        "hours": round(float(notes.get("train_seconds", 3600 * card.hours)) / 3600, 1),
    }
    claimed = {name: getattr(card, name) for name in found} | {"hours": round(card.hours, 1)}
    if stale := [f"{name} is {found[name]}, not {claimed[name]}" for name in found if found[name] != claimed[name]]:
        raise CheckpointError(f"{weights}: not what its card says: {'; '.join(stale)}: renew the card, or fetch again")
