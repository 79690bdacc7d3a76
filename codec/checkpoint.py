"""Checkpoints: safetensors with the model's configuration inside, and an id that a file can name.

A published checkpoint holds fp16 weights and the integer rows of p(z); loading makes them fp32 again, which every
machine does alike. The model id is the first four bytes of a SHA-256 over configuration and tensors: a .rdo file names
it, and a decoder with other weights refuses. A large checkpoint is a manifest (.json) and its shards, see
`codec.shards`.
"""

import hashlib
import json
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from codec.architecture import ModelConfig
from codec.errors import CheckpointError, ConfigError
from codec.files import write_atomically
from codec.model import Codec
from codec.settings import build, load_yaml, to_mapping
from codec.shards import SHARD_BYTES, read_shards, write_shards
from codec.weight_cache import cached_by_weights

if TYPE_CHECKING:
    from codec.coding import AnyCodec

FORMAT = "rdo-codec-1"
FOREIGN = "compressai:"
LATER = ("context", "rearranged", "cached", "stride", "distortion")  # fields that came after models had been published


def installed_models() -> dict[str, Path]:
    """Name -> file of every checkpoint that came with the package."""
    folder = Path(str(resources.files("codec") / "weights"))
    found = {path.stem: path for path in folder.glob("*") if path.suffix in (".safetensors", ".json")}
    return dict(sorted(found.items()))


def find_model(model: str | Path) -> Path:
    """The file of an installed model's name, or of a path.

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
    """Refuse a checkpoint whose file, or manifest of shards, is not the one that was meant.

    Raises:
        CheckpointError: it has another SHA-256.
    """
    found = file_sha256(path)
    if found != expected.lower():
        raise CheckpointError(f"{path}: SHA-256 {found}, expected {expected}: another file, or damaged: fetch it again")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits; that of a manifest stands for its shards, whose hashes it lists."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load(model: str | Path = "small", device: str | torch.device = "cpu") -> "AnyCodec":
    """A codec ready to encode and decode: frozen, in evaluation mode, on `device`.

    Args:
        model: as of `load_own`, or one of CompressAI's models as `compressai:NAME:QUALITY:FILE`, of its variable-rate
            models as `compressai:NAME:FILE`; without FILE its published weights are downloaded (`codec.zoo.loading`).

    Raises:
        CheckpointError: no such model, or the file is corrupt or does not fit its configuration.
    """
    if str(model).startswith(FOREIGN):
        from codec.zoo import loading as zoo_load

        return zoo_load.load(str(model).removeprefix(FOREIGN), device)
    return load_own(model, device)


def load_own(model: str | Path = "small", device: str | torch.device = "cpu", sha256: str | None = None) -> Codec:
    """The same of our own architecture.

    Args:
        model: the name of an installed model, or the path of a .safetensors checkpoint or of a manifest of shards.
        sha256: what the file's SHA-256 must be.

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
    """Configuration, fp32 tensors and metadata of a checkpoint.

    Raises:
        CheckpointError: unreadable, not safetensors, not one of ours, or a shard is missing or altered.
    """
    tensors, metadata = read_shards(path) if path.suffix == ".json" else _read_file(path)
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: format {metadata.get('format')!r}, expected {FORMAT!r}: not a codec checkpoint")
    try:
        config = build(ModelConfig, json.loads(metadata["config"]), str(path))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, ConfigError) as error:
        raise CheckpointError(f"{path}: its configuration is unreadable: {error}") from error
    return config, {k: t.float() if t.is_floating_point() else t for k, t in tensors.items()}, metadata


def _read_file(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = dict(file.metadata() or {})
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118  (not a dict)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors: {error}") from error


def publish(codec: Codec, path: Path, notes: dict[str, str] | None = None) -> None:
    """Write a checkpoint for use, as one file or, where `path` ends in .json, as shards: weights rounded to fp16.

    Rows of p(z) are frozen, and `notes` go into the metadata.

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
    metadata = {**(notes or {}), "format": FORMAT, "config": json.dumps(_identity(codec.config))}
    if path.suffix == ".json":
        write_shards(tensors, metadata, path)
    else:
        write_atomically(path, save(tensors, metadata))


def export(codec: Codec, folder: Path, notes: dict[str, str] | None = None) -> Path:
    """Publish under the model's name: in one file if that is no larger than a shard may be."""
    halved = sum(2 * t.numel() if t.is_floating_point() else t.nbytes for t in codec.state_dict().values())
    path = folder / f"{codec.config.name}{'.safetensors' if halved < SHARD_BYTES else '.json'}"
    publish(codec, path, notes)
    return path


def first_line(error: Exception) -> str:
    """The gist of torch's errors, which go on for pages."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _half(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


@cached_by_weights
def model_id(codec: "AnyCodec") -> bytes:
    """Four bytes that stand for configuration and weights."""
    digest = hashlib.sha256(json.dumps(_identity(codec.config), sort_keys=True).encode())
    for name, tensor in sorted(codec.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.digest()[:4]


def _identity(config: ModelConfig) -> dict[str, object]:
    """The configuration without those `LATER` fields that are as they always were: old models keep their ids."""
    defaults = {field.name: field.default for field in fields(ModelConfig) if field.name in LATER}
    return {k: v for k, v in to_mapping(config).items() if k not in defaults or v != defaults[k]}


def model_config(name: str) -> ModelConfig:
    """The architecture of a name in configs/models, or of a YAML file.

    Raises:
        ConfigError: unknown name or bad file.
    """
    path = config_file(name, "models", "model configuration")
    return build(ModelConfig, load_yaml(path), str(path))


def config_file(name: str, folder: str, what: str) -> Path:
    """The file of a name in a folder of configs, or a YAML file that is named itself.

    Raises:
        ConfigError: no such name.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        return Path(name)
    installed = dict(sorted((path.stem, path) for path in (config_folder() / folder).glob("*.yaml")))
    if name not in installed:
        raise ConfigError(f"{name}: no such {what}; there are {', '.join(installed)}, or name a .yaml file")
    return installed[name]


def config_folder() -> Path:
    """The folder `configs` of the installed package."""
    return Path(str(resources.files("configs")))
