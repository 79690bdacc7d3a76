"""Storage behind URLs (s3://, gs://, az://, sftp://, https:// to read): alone imports fsspec, once a URL is named.

The invariant: what stands under its final name is whole, and no message holds a password or a signature. Credentials
are those of the usual environment: AWS_PROFILE, an ssh agent, FSSPEC_SFTP_PASSWORD.
"""

import errno
import posixpath
import random
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from codec.errors import ConfigError, StorageError, first_line
from codec.urls import READ_ONLY, SSH, public, scheme_of

T = TypeVar("T")
PAUSES_S = (0.5, 2.0, 8.0)  # before each further try, besides those of the libraries; shortened at random by up to half
STAMP_AGE_S = 2.0  # since a change, before size and time of a file without a checksum tell it from other contents
REPLACES_WHOLE = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory")  # a put is seen whole or not at all
_PERMANENT = (errno.EINVAL, errno.ENAMETOOLONG, errno.EPERM, errno.EMSGSIZE, errno.ENOSYS)
_STATUS_OF_HASTE = (408, 429)  # of HTTP: too slow or too often, which passes
_REFUSED = ("NoCredentialsError", "PermissionDenied", "HostKeyNotVerifiable")  # errors of libraries, by name


class Found(NamedTuple):
    """File or folder behind a URL.

    Attributes:
        name: its URL.
        bytes: size.
        stamp: size and checksum (or time of change), which stay while the content does; None where they cannot tell.
        is_folder: whether it is a folder, or a prefix of keys.
    """

    name: str
    bytes: int
    stamp: str | None
    is_folder: bool = False


def checked(url: str, to_write: bool = False) -> str:
    """Return a URL without a slash at its end; `file://` ones as paths.

    Raises:
        ConfigError: it holds a password, its file system is unknown or not installed, or cannot be written.
    """
    scheme, shown, rest = scheme_of(url), public(url), url.partition("://")[2]
    if scheme == "file":
        return rest
    if not rest.strip("/"):
        raise ConfigError(f"{shown}: names no bucket and no host: write {scheme}://NAME/FOLDER")
    if re.match(r"[^/]*@" if scheme in READ_ONLY else r"[^/]*:[^/]*@", rest):
        mend = f"use a key, or set FSSPEC_{scheme.upper()}_PASSWORD" if scheme in SSH else "leave it out"
        raise ConfigError(f"{shown}: a password in a URL can be seen by others: {mend}")
    if to_write and scheme in READ_ONLY:
        raise ConfigError(f"{shown}: {scheme}:// can only be read: name a folder, or a bucket")
    _file_system_class(scheme, shown)
    return f"{scheme}://{rest if scheme in READ_ONLY else rest.rstrip('/')}"


def find(url: str) -> Found | None:
    """Return the file or folder at a URL, None where there is none.

    Raises:
        StorageError: it cannot be told.
    """
    try:
        return _tried(url, lambda fs, path: _found(url, fs.info(path)))
    except StorageError as error:
        if error.is_missing:
            return None
        raise


def walk(folder: str, skip: str | None = None, hidden: bool = False) -> Iterator[Found]:
    """Yield the files below a folder, listed a folder at a time.

    Args:
        skip: URL of a folder whose files are left out.
        hidden: whether to yield those too whose names, or folders' names, begin with a dot.

    Raises:
        StorageError: it cannot be listed.
    """
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        path, infos = _tried(here, lambda fs, path: (path, fs.ls(path, detail=True)))
        infos.reverse()
        while infos:  # a store's words on a key take a kilobyte, so each is let go of
            info = infos.pop()
            name = str(info["name"]).rstrip("/")[len(path.rstrip("/")) + 1 :]
            each = _found(f"{here}/{name}", info)
            if (name.startswith(".") and not hidden) or each.name == skip or name in ("", ".", ".."):
                continue
            if each.is_folder:
                waiting.append(each.name)
            else:
                yield each


def read(url: str, length: int | None = None) -> bytes:
    """Return the content of a file.

    Args:
        length: bytes at its beginning to read; None is all.

    Raises:
        StorageError: it cannot be read.
    """
    part = {} if length is None else {"start": 0, "end": length}
    return _tried(url, lambda fs, path: bytes(fs.cat_file(path, **part)))


def write(url: str, data: bytes) -> str | None:
    """Write a file, whole or not at all, and return its stamp.

    Raises:
        StorageError: it cannot be written; what was there stays.
    """
    return _tried(url, lambda fs, path: _put(fs, path, data, scheme_of(url)))


def open_chain(url: str, mode: str) -> Any:
    """Open a chain of URLs (`zip://a.png::s3://bucket/a.zip`) as fsspec does: as a context that gives a stream."""
    import fsspec

    return fsspec.open(url, mode)


def remove(url: str) -> None:
    """Remove a file, if it is there.

    Raises:
        StorageError: it cannot be removed.
    """
    try:
        _tried(url, lambda fs, path: fs.rm_file(path))
    except StorageError as error:
        if not error.is_missing:
            raise


def _put(fs: Any, path: str, data: bytes, scheme: str) -> str | None:
    """Write a file and return its stamp; one that could be seen half written goes to its name by a move."""
    if scheme in REPLACES_WHOLE:
        answer = fs.pipe_file(path, data)
        etag = answer.get("ETag") if isinstance(answer, Mapping) else None
        return _stamp(len(data), {"ETag": etag} if etag else fs.info(path))
    parent = posixpath.dirname(path)
    temporary = posixpath.join(parent, f".rdo-{secrets.token_hex(6)}.part")
    fs.makedirs(parent, exist_ok=True)
    try:
        fs.pipe_file(temporary, data)
        fs.mv(temporary, path)
    except BaseException:
        with suppress(Exception):  # the first error tells more
            fs.rm_file(temporary)
        raise
    return _stamp(len(data), fs.info(path))


def _found(url: str, info: Mapping[str, Any]) -> Found:
    size = int(info.get("size") or 0)
    return Found(url, size, _stamp(size, info), info.get("type") == "directory")


def _stamp(size: int, info: Mapping[str, Any]) -> str | None:
    """Return a stamp from what a file system tells of a file: a checksum, else a time that is old enough."""
    for key in ("ETag", "etag", "md5Hash", "content_md5"):
        if info.get(key):
            return f"{size}-{str(info[key]).strip(chr(34))}"
    changed = info.get("mtime")
    seconds = changed.timestamp() if isinstance(changed, datetime) else changed
    if not isinstance(seconds, (int, float)) or time.time() - seconds < STAMP_AGE_S:
        return None
    return f"{size}-{seconds:.0f}"


def _tried(url: str, action: Callable[[Any, str], T]) -> T:
    """Return what an action on file system and path gives, tried again where another try may help.

    Raises:
        StorageError: it failed.
    """
    for pause in (*PAUSES_S, None):
        kind = _file_system_class(scheme_of(url), public(url))
        try:
            fs = kind(**kind._get_kwargs_from_urls(url), **_options(scheme_of(url)))
            return action(fs, kind._strip_protocol(url))
        except Exception as error:
            if pause is None or _is_permanent(error):
                tries = 1 if _is_permanent(error) else len(PAUSES_S) + 1
                raise _explained(url, error, tries) from None  # the error's own text may hold a signature
            kind.clear_instance_cache()  # with its connection, which may be dead
            time.sleep(pause * random.uniform(0.5, 1.0))
    raise AssertionError("the last try returns or raises")


def _options(scheme: str) -> dict[str, object]:
    """Return the options of a file system, but those that the user's configuration of fsspec sets."""
    from fsspec.config import conf

    options: dict[str, object] = {}
    if scheme in SSH:
        options = {"known_hosts": ()}  # those of ~/.ssh: by default sshfs would trust any host
    elif scheme in REPLACES_WHOLE and scheme != "memory":
        options = {"use_listings_cache": False}  # a listing must be that of the moment
    return {key: value for key, value in options.items() if key not in conf.get(scheme, {})}


def _file_system_class(scheme: str, shown: str) -> Any:
    """Return fsspec's class for a scheme.

    Raises:
        ConfigError: there is none, or it is not installed; `shown` is the URL to name.
    """
    mend = 'pip install ".[cloud]", which has s3, sftp and https'
    try:
        import fsspec

        kind = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise ConfigError(f"{shown}: {first_line(error)}: {mend}") from None
    except ValueError:
        known = "s3://, gs://, az://, sftp:// or https://"
        raise ConfigError(f"{shown}: {scheme}:// is not known: write {known}, or a path") from None
    if scheme in SSH and not kind.__module__.startswith("sshfs"):
        raise ConfigError(f"{shown}: sshfs is not installed: {mend}")
    return kind


def _is_permanent(error: Exception) -> bool:
    """Return whether another try would fail alike."""
    if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)):
        return True
    if any(each.__name__ in _REFUSED for each in type(error).__mro__) or isinstance(error, (ValueError, TypeError)):
        return True
    status = _status(error)
    return getattr(error, "errno", None) in _PERMANENT or (400 <= status < 500 and status not in _STATUS_OF_HASTE)


def _status(error: Exception) -> int:
    """Return the status of HTTP that an error is of, 0 where it is of none."""
    found = (getattr(error, name, 0) for name in ("status", "code", "status_code"))
    return next((status for status in found if isinstance(status, int) and status), 0)


def _explained(url: str, error: Exception, tries: int) -> StorageError:
    """Return the error of a URL: what happened, what the store said, what to do."""
    said = public(getattr(error, "strerror", None) or first_line(error))
    names = {each.__name__ for each in type(error).__mro__}
    if isinstance(error, FileNotFoundError):
        bucket = f" ({said})" if "bucket" in said.lower() and " " in said else ""
        return StorageError(public(url), f"no such file or folder{bucket}: check the name", is_missing=True)
    status, denied = _status(error), {"PermissionDenied", "NoCredentialsError"}
    if isinstance(error, PermissionError) or names & denied or status in (401, 403):
        text = f"access denied ({said}): check the credentials of the environment, and what they may do"
    elif "HostKeyNotVerifiable" in names:
        text = f"the host is not known ({said}): connect once with ssh, which keeps its key in ~/.ssh/known_hosts"
    elif getattr(error, "errno", None) == errno.EBUSY or status in (429, 503):
        text = f"the store is too busy ({said}), {tries} tries: run again later, or with fewer workers"
    else:
        after = f", {tries} tries" if tries > 1 else ""
        text = f"{type(error).__name__} ({said}){after}: check the address and the network, then run again"
    return StorageError(public(url), text)
