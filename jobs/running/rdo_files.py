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
from jobs.cli import MODEL


def find_rdo_files(inputs: list[str]) -> list[tuple[Path, Path]]:
    """Return (path, path relative to the named folder) of every .rdo file named or found below a named folder.

    Raises:
        ConfigError: a folder holds none, or standard input is mixed with files.
    """
    if "-" in inputs:
        if len(inputs) > 1:
            raise ConfigError("-: standard input is one file and cannot be mixed with others")
        return [(Path("-"), Path("-"))]
    found: list[tuple[Path, Path]] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            files = find.find_files(path, lambda file: file.name.endswith(".rdo"))
            if not files:
                raise ConfigError(f"{name}: no .rdo files found")
            found += [(file, file.relative_to(path)) for file in files]
        else:
            found.append((path, Path(path.name)))
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
