"""Model cards: what a checkpoint was trained on and how well it does, in a YAML file beside the weights.

A card names the weights it speaks of by hash, id, size and steps, so `check_card` finds one that went stale.
"""

from dataclasses import dataclass
from pathlib import Path

from codec.checkpoint import file_sha256, load_own, read_checkpoint
from codec.errors import CheckpointError
from codec.identity import model_id
from codec.settings import build, load_yaml


@dataclass(frozen=True)
class KodakPoint:
    """Plain encoding at one quality: means over the 24 Kodak pictures, from file bytes and decoded 8-bit pixels."""

    quality: float
    bpp: float
    psnr_db: float
    ms_ssim: float


@dataclass(frozen=True)
class ModelCard:
    """What to know before using a checkpoint.

    Attributes:
        sha256, model_id: of the file (or the manifest of its shards), and what .rdo files call it, in hex.
        parameters, steps, hours: size and training; a run that was resumed counts as one, the model of `--init` apart.
        hardware: what the hours were spent on.
        data, licences: training photographs and what their sources allow.
        kodak: rate and distortion of plain encoding.
        bd_rate_percent: against `anchor`, over the range that both share of PSNR, or of the measure that it names.
        limits: what it does badly or was not tried on.
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


def card_of(weights: Path) -> ModelCard | None:
    """The card beside a checkpoint, None if there is none.

    Raises:
        ConfigError: it is no valid card.
    """
    path = weights.with_suffix(".yaml")
    return build(ModelCard, load_yaml(path), str(path)) if path.is_file() else None


def check_card(card: ModelCard, weights: Path) -> None:
    """Load a checkpoint and hold it against its card.

    Raises:
        CheckpointError: the checkpoint does not load, or the card speaks of another.
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
    told = {name: getattr(card, name) for name in found} | {"hours": round(card.hours, 1)}
    if stale := [f"{name} is {found[name]}, not {told[name]}" for name in found if found[name] != told[name]]:
        raise CheckpointError(f"{weights}: not what its card says: {'; '.join(stale)}: renew the card, or fetch again")
