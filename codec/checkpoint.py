"""Checkpoints of our own models: safetensors with the model's configuration inside.

A published checkpoint holds fp16 weights and the integer rows of p(z); loading makes them fp32 again, which every
machine does alike. A large checkpoint is a manifest (.json) and its shards (`codec.shards`).
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from codec.architecture import Metric, ModelConfig
from codec.errors import CheckpointError, ConfigError, first_line
from codec.files import write_atomically
from codec.identity import identity_fields
from codec.model import Codec
from codec.settings import build
from codec.shards import SHARD_BYTES, read_metadata, read_shards, write_shards

FORMAT = "rdo-codec-1"


def installed_models() -> dict[str, Path]:
    """Return name -> file of every checkpoint that comes with the package."""
    folder = Path(str(resources.files("codec") / "weights"))
    found = {path.stem: path for path in folder.glob("*") if path.suffix in (".safetensors", ".json")}
    return dict(sorted(found.items()))


def find_model(model: str | Path) -> Path:
    """Return the file of an installed model's name, or of a path.

    Raises:
        CheckpointError: no such model or file.
    """
    installed = installed_models()
    path = installed.get(str(model), Path(model))
    if path.is_dir() and (inside := sorted([*path.glob("*.safetensors"), *path.glob("*.json")])):
        raise CheckpointError(f"{model}: is a folder; did you mean {inside[0]}?")
    if not path.is_file():
        raise CheckpointError(f"{model}: no such model or file; installed models: {', '.join(installed) or 'none'}")
    return path


def check_sha256(path: Path, expected: str) -> None:
    """Raise if a checkpoint's file, or its manifest of shards, is not the one expected.

    Raises:
        CheckpointError: it has another SHA-256.
    """
    found = file_sha256(path)
    if found != expected.lower():
        raise CheckpointError(f"{path}: SHA-256 {found}, expected {expected}: another file, or damaged: fetch it again")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits; a manifest's covers its shards, as it lists their hashes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_own(model: str | Path = "small", device: str | torch.device = "cpu", sha256: str | None = None) -> Codec:
    """Load a checkpoint of our own architecture: frozen, in evaluation mode, on `device`.

    Args:
        model: the name of an installed model, or the path of a .safetensors checkpoint or of a manifest of shards.
        sha256: expected hash of the file; None accepts any.

    Raises:
        CheckpointError: no such model, or the file is corrupt, not the one meant, or does not fit its configuration.
    """
    path = find_model(model)
    if sha256 is not None:
        check_sha256(path, sha256)
    config, tensors, _ = read_checkpoint(path)
    try:
        codec = Codec(config)
        codec.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: weights do not fit their configuration: {first_line(error)}") from error
    return codec.eval().requires_grad_(False).to(device)


def read_checkpoint(path: Path) -> tuple[ModelConfig, dict[str, Tensor], dict[str, str]]:
    """Return the configuration, fp32 tensors and metadata of a checkpoint.

    Raises:
        CheckpointError: unreadable, not safetensors, not one of ours, or a shard is missing or altered.
    """
    tensors, metadata = read_shards(path) if path.suffix == ".json" else _read_file(path)
    config = _config(metadata, path)
    return config, {k: t.float() if t.is_floating_point() else t for k, t in tensors.items()}, metadata


def own_distortion(model: str | Path) -> Metric:
    """Return the distortion that a checkpoint of ours was trained for, without reading its weights.

    Args:
        model: as of `load_own`.

    Raises:
        CheckpointError: no such model, or the file is not one of ours.
    """
    path = find_model(model)
    metadata = read_metadata(path) if path.suffix == ".json" else _read_header(path)
    return _config(metadata, path).distortion


def _config(metadata: dict[str, str], path: Path) -> ModelConfig:
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: format {metadata.get('format')!r}, expected {FORMAT!r}: not a codec checkpoint")
    try:
        return build(ModelConfig, json.loads(metadata["config"]), str(path))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, ConfigError) as error:
        raise CheckpointError(f"{path}: its configuration is unreadable: {error}") from error


def _read_file(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with _opened(path) as file:
        names = file.keys()  # not a dict
        return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})


def _read_header(path: Path) -> dict[str, str]:
    with _opened(path) as file:
        return dict(file.metadata() or {})


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file.

    Raises:
        CheckpointError: it is not one.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors: {error}") from error


def publish(codec: Codec, path: Path, notes: dict[str, str] | None = None) -> None:
    """Write a checkpoint for use, weights rounded to fp16 and rows of p(z) made from the rounded weights.

    Args:
        path: one file; where it ends in .json, a manifest with shards beside it.
        notes: metadata to store.

    Raises:
        CheckpointError: a weight that fp16 does not hold, and nothing is written.
    """
    halves = {k: _half(t) for k, t in codec.state_dict().items()}
    if lost := [k for k, t in halves.items() if not bool(t.isfinite().all())]:
        raise CheckpointError(f"{path}: {lost[0]} is not finite, or beyond fp16's 65504: not published")
    rounded = Codec(codec.config)
    rounded.load_state_dict(halves)  # which makes them fp32 again
    rounded.prior.freeze()  # from the weights as they will be loaded
    tensors = {k: _half(t).contiguous() for k, t in rounded.state_dict().items()}
    metadata = {**(notes or {}), "format": FORMAT, "config": json.dumps(identity_fields(codec.config))}
    if path.suffix == ".json":
        write_shards(tensors, metadata, path)
    else:
        write_atomically(path, save(tensors, metadata))


def export(codec: Codec, folder: Path, notes: dict[str, str] | None = None) -> Path:
    """Publish under the model's name, in one file if that is no larger than a shard may be, and return its path."""
    halved = sum(2 * t.numel() if t.is_floating_point() else t.nbytes for t in codec.state_dict().values())
    path = folder / f"{codec.config.name}{'.safetensors' if halved < SHARD_BYTES else '.json'}"
    publish(codec, path, notes)
    return path


def _half(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor
