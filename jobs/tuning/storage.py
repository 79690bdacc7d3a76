"""Storage of a study before Optuna opens it: its printable name, a check of its server, repair of its journal."""

import socket
from pathlib import Path
from urllib.parse import urlsplit

from codec.errors import ConfigError

PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "redis": 6379, "rediss": 6379, "grpc": 13000}
CONNECT_S = 5.0


def without_password(storage: str) -> str:
    """Return a storage's URL or path without the password in it."""
    url = urlsplit(storage)
    return url._replace(netloc=url.netloc.rpartition("@")[2]).geturl() if url.password else storage


def check_server(storage: str) -> None:
    """Connect to a storage's server, if it has one, within CONNECT_S: database drivers would wait for minutes.

    Raises:
        ConfigError: no server accepts the connection.
    """
    try:
        url = urlsplit(storage)
        port = url.port or PORTS.get(url.scheme.partition("+")[0])
        if "://" in storage and url.hostname and port:
            socket.create_connection((url.hostname, port), CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--storage {without_password(storage)}: nobody answers ({error}): check address and port"
        ) from error


def repair_journal(path: Path) -> None:
    """Cut off an incomplete last line of a killed run, as the next line would be appended to it."""
    if path.is_file() and (data := path.read_bytes()) and not data.endswith(b"\n"):
        with open(path, "r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)
