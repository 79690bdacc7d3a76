"""Failures of one image or file as one line, for its record and the terminal: what happened, what to do."""

import torch

from codec.errors import RdoError, StorageError, first_line
from codec.urls import public

OUT_OF_MEMORY = "out of memory"


def explain(error: Exception, subject: str = "") -> str:
    """Describe an error and its remedy in one line.

    Args:
        subject: name of the file that the line will be printed after, not to be repeated.
    """
    if isinstance(error, StorageError) and error.url == public(subject):
        return error.text
    if isinstance(error, RdoError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename and error.filename != subject else ""
        mend = "check the path" if isinstance(error, FileNotFoundError) else "check the disk and the permissions"
        return f"{where}{error.strerror}: {mend}"
    if is_out_of_memory(error):
        return f"{OUT_OF_MEMORY}: downscale the picture or use a machine with more"
    return f"{type(error).__name__}: {first_line(error)}: please report this picture and settings"


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether memory ran out, by the type or the text of an error or of its context.

    The CPU allocator, CUDA and cuBLAS have a text each. The context counts because a CUDA graph (`rdo.cuda_graph`)
    that runs out of memory while it is captured fails once more at the end of its capture.
    """
    while error is not None:
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
            return True
        if isinstance(error, RuntimeError) and any(word in str(error).lower() for word in ("alloc", "out of memory")):
            return True
        error = error.__context__
    return False
