""".rdo files to read: those that a command names, and the codec of each."""

from collections.abc import Callable
from pathlib import Path

from codec.bitstream.container import unpack
from codec.checkpoint import installed_models
from codec.errors import ConfigError
from codec.identity import model_id
from codec.images import find
from codec.interface import AnyCodec
from codec.loading import load
from codec.urls import is_url
from jobs.cli import MODEL
from jobs.running import buckets
from jobs.running.buckets import has_suffix

RDO = frozenset({".rdo"})


def find_rdo_files(inputs: list[str]) -> list[tuple[str, str]]:
    """Return (name, name below the named folder) of every .rdo file named or found below a named folder.

    Args:
        inputs: paths and URLs, or `-` alone for standard input.

    Raises:
        ConfigError: a folder holds none, or standard input is mixed with files.
        StorageError: a folder behind a URL cannot be listed.
    """
    if "-" in inputs:
        if len(inputs) > 1:
            raise ConfigError("-: standard input is one file and cannot be mixed with others")
        return [("-", "-")]
    found: list[tuple[str, str]] = []
    for name in inputs:
        path = Path(name)
        if is_url(name):
            files = [(each.source, each.relative) for each in buckets.find_files(name, has_suffix(RDO))]
        elif path.is_dir():
            below = find.find_files(path, lambda file: file.name.endswith(".rdo"))
            files = [(str(file), str(file.relative_to(path))) for file in below]
        else:
            files = [(str(path), path.name)]
        if not files:
            raise ConfigError(f"{name}: no .rdo files found")
        found += files
    return found


def codec_loader(model: str | None, device: str) -> Callable[[bytes], AnyCodec]:
    """Return a function from a file's bytes to its codec, which loads each model once.

    Args:
        model: name of the one model to use; None is the installed model whose id is in the file. Where no model has
            that id, the first is returned, which then refuses the file with a message of what to do.
    """
    loaded = {} if model is None else {model: load(model, device)}
    names = [model] if model is not None else [MODEL, *(name for name in installed_models() if name != MODEL)]

    def codec_of(data: bytes) -> AnyCodec:
        wanted = unpack(data, salvage=True).header.model_id
        for name in names:
            if name not in loaded:
                loaded[name] = load(name, device)
            if model_id(loaded[name]) == wanted:
                return loaded[name]
        return loaded[names[0]]

    return codec_of
