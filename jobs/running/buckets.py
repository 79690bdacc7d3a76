"""Names of commands that may be URLs: checked, and what is found behind them.

In a bucket files are known by their suffix, as to look into each would take a request.
"""

import posixpath
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from codec import storage
from codec.errors import ConfigError
from codec.storage import Found
from codec.urls import READ_ONLY, is_url, public, scheme_of


class Named(NamedTuple):
    """File that was named, or found below a named folder.

    Attributes:
        name: path or URL, without secrets.
        relative: its name below the named folder.
        found: what its store tells of it, None for a path.
        source: URL to read it by where `name` lacks a signature, else `name`.
    """

    name: str
    relative: str
    found: Found | None
    source: str


def checked_input(name: str) -> str:
    """Return an input's name, if it is a URL one that can be read here.

    Raises:
        ConfigError: it cannot.
    """
    return storage.checked(name) if is_url(name) else name


def checked_output(name: str | None) -> str | None:
    """Return an output's name, if it is a URL one that can be written here.

    Raises:
        ConfigError: it cannot.
    """
    return storage.checked(name, to_write=True) if name is not None and is_url(name) else name


def find_files(url: str, wanted: Callable[[str], bool], skip: str | None = None) -> Iterator[Named]:
    """Yield the file at a URL, or the files below it whose names are `wanted`, listed a folder at a time.

    Args:
        skip: URL of a folder whose files are left out.

    Raises:
        ConfigError: nothing is there.
        StorageError: it cannot be listed.
    """
    shown, here = public(url), storage.find(url)
    if here is None:
        raise ConfigError(f"{shown}: no such file, folder or bucket")
    if not here.is_folder or scheme_of(url) in READ_ONLY:
        yield Named(shown, _base_name(url), here._replace(name=shown), url)
        return
    for found in storage.walk(url, skip):
        if wanted(found.name):
            yield Named(found.name, found.name[len(url) + 1 :], found, found.name)


def has_suffix(suffixes: frozenset[str]) -> Callable[[str], bool]:
    """Return a function that tells whether a name ends in one of the suffixes."""
    return lambda name: posixpath.splitext(name)[1].lower() in suffixes


def _base_name(url: str) -> str:
    """Return the name of a file from its URL, that of a web page's without its escapes.

    Raises:
        ConfigError: it has none.
    """
    path = unquote(urlsplit(url).path) if scheme_of(url) in READ_ONLY else url
    name = posixpath.basename(path)
    if name in ("", ".", ".."):
        raise ConfigError(f"{public(url)}: names no file")
    return name
