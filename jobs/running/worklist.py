"""Images to encode, and the names of their .rdo files."""

import io
import posixpath
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from codec import storage
from codec.errors import ConfigError, StorageError
from codec.images.find import SUFFIXES, find_images
from codec.images.read import image_size
from codec.places import joined
from codec.urls import is_url
from jobs.running.buckets import Named, find_files, has_suffix

STDIO = "-"
NOT_WRITTEN = ""
OUTPUT = "rdo-out"  # folder, unless another is named
HEAD_BYTES = 64 << 10  # of a file behind a URL, to find the size of its picture in
READERS = 16  # threads that wait for a store


@dataclass(frozen=True, slots=True)
class Item:
    """Image to encode and the file to write.

    Attributes:
        input: path or URL of the image, `-` for standard input.
        output: path or URL of its file, `-` for standard output; NOT_WRITTEN is encoded, verified and scored, but not
            kept.
        pixels: number of pixels by the file's header, 0 where unknown, as of those behind URLs.
        bytes: size of an image behind a URL.
        stamp: size and checksum of an image behind a URL when it was listed.
        signed: URL to read the image by where `input` lacks its signature.
    """

    input: str
    output: str
    pixels: int
    bytes: int = 0
    stamp: str | None = None
    signed: str = field(default="", repr=False)

    @property
    def source(self) -> str:
        """Name to read the image by, which may hold a signature and is not to be shown."""
        return self.signed or self.input

    @property
    def work(self) -> int:
        """Measure of the work: pixels, or bytes where they are unknown."""
        return self.pixels or self.bytes


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
    folder = output or OUTPUT
    if not is_url(folder):
        _check_folder(folder, output)
    elif posixpath.splitext(folder)[1].lower() in SUFFIXES:
        raise ConfigError(f"-o {output}: name a folder, or one file that ends in .rdo")
    single, taken, names = names_one_file(output), dict[str, Item](), set[str]()
    for each in (each for name in inputs for each in _named(name, folder)):
        item = _item(each, str(output) if single else joined(folder, f"{each.relative}.rdo"))
        before = taken.setdefault(item.output, item)
        if single:
            names.add(item.input if is_url(item.input) else str(Path(item.input).resolve()))
        elif before is not item and not _is_same(item, before):
            both = f"{item.input} and {before.input}"
            raise ConfigError(f"{both} would both become {item.output}: encode them into two folders")
    if not taken:
        raise ConfigError(f"{', '.join(inputs)}: no pictures found")
    if len(names) > 1:
        raise ConfigError(f"{output}: names one file, but there are {len(names)} pictures: name a folder")
    return sorted(taken.values(), key=lambda item: -item.work)


def _check_folder(folder: str, output: str | None) -> None:
    """Raise ConfigError where a path can be no output."""
    path = Path(folder)
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
        raise ConfigError(f"-o {output}: name a folder, or one file that ends in .rdo")
    if path.is_file() and not names_one_file(output):
        raise ConfigError(f"-o {output}: a file has this name: name a folder, or one file that ends in .rdo")


def _named(name: str, folder: str) -> Iterator[Named]:
    """Yield each image of a named file or folder; none is below the output `folder`.

    Raises:
        ConfigError: there is no such file or folder.
    """
    if is_url(name):
        yield from find_files(name, has_suffix(SUFFIXES), folder if is_url(folder) else None)
    else:
        output = None if is_url(folder) else Path(folder)
        yield from (Named(str(p), str(r), None, str(p)) for p, r in named_pictures(Path(name), output))


def _is_same(one: Item, other: Item) -> bool:
    """Return whether two items are of one image."""
    if is_url(one.input) or is_url(other.input):
        return one.source == other.source
    return Path(one.input).samefile(other.input)


def _item(named: Named, target: str) -> Item:
    if named.found:
        signed = named.source if named.source != named.name else ""
        return Item(named.name, target, 0, named.found.bytes, named.found.stamp, signed)
    path = Path(named.name)
    size = image_size(path) if path.is_file() else None  # a pipe can be read only once
    return Item(named.name, target, size[0] * size[1] if size else 0)


def with_pixels(items: list[Item]) -> list[Item]:
    """Return items with the pixels that those behind URLs lack, by the beginnings of their files.

    A picture whose size cannot be read has none, as one on a disk that cannot be.
    """
    unknown = [item for item in items if is_url(item.input) and not item.pixels]
    pixels = dict[Item, int]()
    with ThreadPoolExecutor(READERS) as readers:
        for begin in range(0, len(unknown), READERS):  # so many at a time in memory, and looked into in this thread
            some = unknown[begin : begin + READERS]
            heads = readers.map(lambda item: _read(item, HEAD_BYTES), some)
            pixels |= {
                item: _pixels_of(head) or _pixels_of(_read(item)) for item, head in zip(some, heads, strict=True)
            }
    return [replace(item, pixels=pixels.get(item, item.pixels)) for item in items]


def _read(item: Item, length: int | None = None) -> bytes:
    """Return the beginning of an image behind a URL, or all of it; nothing where it cannot be read."""
    try:
        return storage.read(item.source, length)
    except StorageError:  # told when the picture is encoded
        return b""


def _pixels_of(data: bytes) -> int:
    """Return the number of pixels of an image by its header, 0 where that cannot be read."""
    size = image_size(io.BytesIO(data)) if data else None
    return size[0] * size[1] if size else 0


def names_one_file(output: str | None) -> bool:
    """Return whether an output is the name of one file, or standard output, not of a folder."""
    if output == STDIO:
        return True
    return output is not None and output.lower().endswith(".rdo") and (is_url(output) or not Path(output).is_dir())


def named_pictures(path: Path, output: Path | None) -> list[tuple[Path, Path]]:
    """Return (path, path relative to the named folder) of each image at `path` that is not below `output`.

    Raises:
        ConfigError: `path` does not exist.
    """
    if path.is_dir():
        # images decoded into an output folder below must not be encoded again
        exclude = output if output and not path.resolve().is_relative_to(output.resolve()) else None
        return [(p, p.relative_to(path)) for p in find_images(path, exclude)]
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder")
    return [(path, Path(path.name))]
