"""Checkpoints in shards: safetensors files of bounded size, and a manifest that lists each with its SHA-256.

The manifest is JSON: {"format", "metadata", "shards": [{"file", "bytes", "sha256"}, ...]}. The name of a
shard holds the start of its hash and the manifest is written last, so that an export never overwrites the shards of an
earlier one. Invariant: at any moment the manifest on disk and its shards agree.
"""

import glob
import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from codec.errors import CheckpointError
from codec.files import write_atomically

FORMAT = "rdo-shards-1"
SHARD_BYTES = 15_000_000  # maximum size of a shard
SUFFIX = ".shard"


def write_shards(tensors: dict[str, Tensor], metadata: dict[str, str], path: Path, limit: int = SHARD_BYTES) -> None:
    """Write tensors as shards of at most `limit` bytes beside the manifest `path`, and remove shards of an older one.

    Raises:
        CheckpointError: a single tensor exceeds `limit`.
    """
    listed = []
    for group in _groups(tensors, limit, path):
        data = save(group)
        digest = hashlib.sha256(data).hexdigest()
        name = f"{path.stem}.{digest[:8]}{SUFFIX}"
        write_atomically(path.with_name(name), data)
        listed.append({"file": name, "bytes": len(data), "sha256": digest})
    manifest = {"format": FORMAT, "metadata": metadata, "shards": listed}
    write_atomically(path, json.dumps(manifest, indent=1).encode())
    kept = {shard["file"] for shard in listed}
    for old in path.parent.glob(f"{glob.escape(path.stem)}.????????{SUFFIX}"):
        if old.name not in kept:
            old.unlink()


def read_shards(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and metadata of a manifest, checking each shard against its hash.

    Raises:
        CheckpointError: `path` is no manifest, or a shard is missing or altered.
    """
    named, metadata = _read_manifest(path)
    tensors: dict[str, Tensor] = {}
    for name, digest in named:
        tensors |= _read_shard(path, name, digest)
    return tensors, metadata


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a manifest, without its shards.

    Raises:
        CheckpointError: `path` is no manifest.
    """
    return _read_manifest(path)[1]


def _read_manifest(path: Path) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Read a manifest: names and hashes of its shards, and its metadata."""
    try:
        manifest = json.loads(path.read_bytes())
        shards, metadata = manifest["shards"], manifest["metadata"]
        named = [(str(shard["file"]), str(shard["sha256"])) for shard in shards]
        good = manifest["format"] == FORMAT and all(isinstance(value, str) for value in metadata.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as a manifest of shards: {error!r}") from error
    if not good:
        raise CheckpointError(f"{path}: format {manifest['format']!r}, expected {FORMAT!r}: not a manifest of shards")
    return named, metadata


def _read_shard(manifest: Path, name: str, digest: str) -> dict[str, Tensor]:
    """Read the tensors of one shard beside its manifest, checking name and hash."""
    if Path(name).name != name:
        raise CheckpointError(f"{manifest}: shard {name!r} is no plain file name: not a manifest to trust")
    path = manifest.parent / name
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise CheckpointError(f"{path}: shard cannot be read: {error}: fetch it again") from error
    if (found := hashlib.sha256(data).hexdigest()) != digest:
        raise CheckpointError(f"{path}: shard has SHA-256 {found}, expected {digest}: fetch it again")
    try:
        return dict[str, Any](load(data))
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: shard is no safetensors file: {error}") from error


def _groups(tensors: dict[str, Tensor], limit: int, path: Path) -> list[dict[str, Tensor]]:
    """Group tensors, in order, as many to a shard of `limit` bytes as fit."""
    groups: list[dict[str, Tensor]] = []
    room = 0
    for name, tensor in tensors.items():
        need = tensor.nbytes + 200 + len(name)  # its line in the shard's header
        if need > limit:
            raise CheckpointError(f"{path}: {name} has {tensor.nbytes} bytes, a shard at most {limit}")
        if need > room or not groups:
            groups.append({})
            room = limit - 100
        groups[-1][name] = tensor
        room -= need
    return groups
