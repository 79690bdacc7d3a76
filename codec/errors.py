"""Errors that a user's input can cause, in one tree, so that a caller catches those it can handle.

    RdoError
    |-- ConfigError       a configuration file, flag or value that is not valid
    |-- ImageError        a picture that cannot be read, or not without a decision by the user
    |-- BitstreamError    bytes that are no valid .rdo file for this model
    |-- CheckpointError   weights that are missing, altered or of another model
    `-- StorageError      a URL that cannot be read or written: denied, missing, too busy, out of reach

The message of each says what was found, with the offending value, and what to do.
"""


class RdoError(Exception):
    """Base of all errors that a user's input can cause."""


class ConfigError(RdoError):
    """Wrong configuration key, value or flag."""


class ImageError(RdoError):
    """Picture that is unreadable, or needs a decision (alpha, depth, animation) that was not given."""


class BitstreamError(RdoError):
    """Bytes that are truncated, altered, no .rdo file, or written by another model."""


class CheckpointError(RdoError):
    """Checkpoint that is missing, corrupt, or does not fit its configuration."""


class StorageError(RdoError):
    """URL that cannot be read or written.

    Attributes:
        url: what could not, without secrets.
        text: what happened, and what to do.
        is_missing: whether nothing is there.
    """

    def __init__(self, url: str, text: str, is_missing: bool = False) -> None:
        super().__init__(f"{url}: {text}")
        self.url, self.text, self.is_missing = url, text, is_missing


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, as torch's are pages long, or its type's name if that is empty."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
