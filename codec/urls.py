"""URLs as text: told from paths, and shown without passwords and signatures."""

import re

READ_ONLY = ("http", "https")
SSH = ("sftp", "ssh")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE | re.ASCII)
_URL = re.compile(r"([a-z][\w+.-]+://)(?:([^\s/@:'\"]*)(?::[^\s/'\"]*)?(@))?([^\s?'\"]*)(\?[^\s'\"]*)?", re.IGNORECASE)


def is_url(name: str) -> bool:
    """Return whether a name is a URL and not a path."""
    return _SCHEME.match(name) is not None


def scheme_of(url: str) -> str:
    """Return the scheme of a URL, as `s3`."""
    return _SCHEME.match(url)[1].lower()  # type: ignore[index]


def public(text: str) -> str:
    """Return a text without the passwords of URLs in it, and without users and queries (signatures) of web pages."""
    return _URL.sub(_public_url, text) if "://" in text else text


def _public_url(found: re.Match[str]) -> str:
    scheme, user, at, place, query = (part or "" for part in found.groups())
    return f"{scheme}{place}" if scheme.lower().startswith("http") else f"{scheme}{user}{at}{place}{query}"
