"""Every error a user can cause, in one tree, so that a caller catches what it can mend.

    RdoError
    |-- ConfigError       a configuration file, flag or value that makes no sense
    |-- ImageError        a picture that cannot be read, or not without a decision by the user
    |-- BitstreamError    bytes that are no valid .rdo file for this model
    `-- CheckpointError   weights that are missing, altered or of another model

The message of each says what was found, with the offending value, and what to do.
"""


class RdoError(Exception):
    """Base of all errors that a user's input can cause."""


class ConfigError(RdoError):
    """A configuration key, value or flag is wrong."""


class ImageError(RdoError):
    """A picture is unreadable, or needs a decision (alpha, depth, animation) that was not given."""


class BitstreamError(RdoError):
    """The bytes are truncated, altered, foreign, or written by another model."""


class CheckpointError(RdoError):
    """A checkpoint is missing, corrupt, or does not fit its configuration."""


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type's name: messages of torch go on for pages."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
