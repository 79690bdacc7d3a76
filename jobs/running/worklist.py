"""Which pictures to encode, and what each file will be called."""

from dataclasses import dataclass
from pathlib import Path

from codec.errors import ConfigError
from codec.images.find import SUFFIXES, find_images
from codec.images.read import image_size

STDIO = "-"
NOWHERE = ""


@dataclass(frozen=True)
class Item:
    """One picture: where it is, what to call it, where its file goes.

    `-` stands for standard input and output; a file that goes NOWHERE is encoded, verified and scored all the same.
    """

    input: str
    output: str
    pixels: int


def build_worklist(inputs: list[str], output: str | None) -> list[Item]:
    """Every picture of the named files and folders, largest first, with its output.

    `dir/a/b.jpg` below the named `dir/` becomes `<output>/a/b.jpg.rdo`. An output that ends in .rdo names the one file.

    Raises:
        ConfigError: nothing found, a name that does not exist, or two pictures that would share an output.
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
        size = image_size(path) if path.is_file() else None  # a pipe gives what it holds but once
        items.append(Item(str(path), target, size[0] * size[1] if size else 0))
    return sorted(items, key=lambda item: -item.pixels)


def names_one_file(output: str | None) -> bool:
    """Whether an output is a file's name, or standard output, and no folder's."""
    return output == STDIO or (output is not None and output.lower().endswith(".rdo") and not Path(output).is_dir())


def named_pictures(path: Path, output: Path) -> list[tuple[Path, Path]]:
    """(path, name relative to what the user named) of each picture at `path`, none of them below `output`.

    Raises:
        ConfigError: `path` does not exist.
    """
    if path.is_dir():
        # pictures decoded into an output folder below are not to be encoded again
        exclude = None if path.resolve().is_relative_to(output.resolve()) else output
        return [(p, p.relative_to(path)) for p in find_images(path, exclude)]
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder")
    return [(path, Path(path.name))]
