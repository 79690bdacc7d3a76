"""A study's storage before Optuna opens it: what to call it, whether it answers, and what a crash left of it."""

import socket
from pathlib import Path
from urllib.parse import urlsplit

from codec.errors import ConfigError

PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "redis": 6379, "rediss": 6379}
CONNECT_S = 5.0


def shown(storage: str) -> str:
    """A storage's name without its password."""
    url = urlsplit(storage)
    return url._replace(netloc=url.netloc.rpartition("@")[2]).geturl() if url.password else storage


def check_answers(storage: str) -> None:
    """A server that is not there is found out now: drivers wait for minutes.

    Raises:
        ConfigError: nobody listens there.
    """
    try:
        url = urlsplit(storage)
        port = url.port or PORTS.get(url.scheme.partition("+")[0])
        if "://" in storage and url.hostname and port:
            socket.create_connection((url.hostname, port), CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise ConfigError(f"--storage {shown(storage)}: nobody answers ({error}): check address and port") from error


def mend_journal(path: Path) -> None:
    """Cut off a last line that a killed run left incomplete: the next one would be appended to it."""
    if path.is_file() and (data := path.read_bytes()) and not data.endswith(b"\n"):
        with open(path, "r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)
