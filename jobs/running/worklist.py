"""Images to encode, and the names of their .rdo files."""

from dataclasses import dataclass
from pathlib import Path

from codec.errors import ConfigError
from codec.images.find import SUFFIXES, find_images
from codec.images.read import image_size

STDIO = "-"
NOT_WRITTEN = ""


@dataclass(frozen=True)
class Item:
    """Image to encode and the file to write.

    Attributes:
        input: path of the image, `-` for standard input.
        output: path of its file, `-` for standard output; NOT_WRITTEN is encoded, verified and scored, but not kept.
        pixels: number of pixels by the file's header, 0 where unknown.
    """

    input: str
    output: str
    pixels: int


def build_worklist(inputs: list[str], output: str | None) -> list[Item]:
    """Return every image of the named files and folders, largest first, with its output.

    `dir/a/b.jpg` below the named `dir/` becomes `<output>/a/b.jpg.rdo`. An output that ends in .rdo names the one file.

    Raises:
        ConfigError: no images found, a name that does not exist, or two images with the same output.
    """
    if STDIO in inputs:
        if len(inputs) > 1:
            raise ConfigError("-: standard input is one picture and cannot be mixed with others")
        if output is not None and output != STDIO and not output.endswith(".rdo"):
            raise ConfigError(f"-o {output}: standard input has no name; name its .rdo file, or - for standard output")
        return [Item(STDIO, output or STDIO, 0)]
    folder = Path(output or "rdo-out")
    if folder.suffix.lower() in SUFFIXES and not folder.is_dir():
        raise ConfigError(f"-o {output}: name a folder, or one file that ends in .rdo")
    if folder.is_file() and not names_one_file(output):
        raise ConfigError(f"-o {output}: a file has this name: name a folder, or one file that ends in .rdo")
    found = [pair for name in inputs for pair in named_pictures(Path(name), folder)]
    if not found:
        raise ConfigError(f"{', '.join(inputs)}: no pictures found")
    single = names_one_file(output)
    if single and len({path.resolve() for path, _ in found}) > 1:
        raise ConfigError(f"{output}: names one file, but there are {len(found)} pictures: name a folder")
    items = []
    taken: dict[str, Path] = {}
    for path, relative in found:
        target = str(output) if single else str(folder / f"{relative}.rdo")
        if target in taken and path.samefile(taken[target]):
            continue  # named twice
        if target in taken:
            raise ConfigError(f"{path} and {taken[target]} would both become {target}: encode them into two folders")
        taken[target] = path
        size = image_size(path) if path.is_file() else None  # a pipe can be read only once
        items.append(Item(str(path), target, size[0] * size[1] if size else 0))
    return sorted(items, key=lambda item: -item.pixels)


def names_one_file(output: str | None) -> bool:
    """Return whether an output is the name of one file, or standard output, not of a folder."""
    return output == STDIO or (output is not None and output.lower().endswith(".rdo") and not Path(output).is_dir())


def named_pictures(path: Path, output: Path) -> list[tuple[Path, Path]]:
    """Return (path, path relative to the named folder) of each image at `path` that is not below `output`.

    Raises:
        ConfigError: `path` does not exist.
    """
    if path.is_dir():
        # images decoded into an output folder below must not be encoded again
        exclude = None if path.resolve().is_relative_to(output.resolve()) else output
        return [(p, p.relative_to(path)) for p in find_images(path, exclude)]
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder")
    return [(path, Path(path.name))]
