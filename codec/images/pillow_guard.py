"""Pillow under our rules: a context manager that leaves limits of size to us and turns every error into `ImageError`.

Invariant: Pillow's globals and Python's warning filters are as they were once the last thread has left the context.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from PIL import Image, UnidentifiedImageError

from codec.errors import ImageError

# Not all that Pillow opens: EPS runs Ghostscript, TGA has no magic number, others are films or cannot be loaded.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "QOI", "AVIF")


@contextmanager
def pillow_guard() -> Iterator[None]:
    """Switch off Pillow's size limit, silence warnings and translate errors for a block of code that calls Pillow.

    Threads may be inside at once.

    Raises:
        ImageError: the block raised anything but MemoryError; the original error is its `__cause__`.
    """
    with _globals:
        try:
            yield
        except (ImageError, MemoryError):
            raise
        except UnidentifiedImageError as error:
            raise ImageError(f"no picture, or a damaged header: give one of {', '.join(FORMATS)}") from error
        except Exception as error:  # on damaged files Pillow's plugins raise nearly any type
            if isinstance(error, OSError) and error.errno:
                raise ImageError(f"cannot be read: {error.strerror}: check the path and its permissions") from error
            what = f"{type(error).__name__}: {error}"
            raise ImageError(f"corrupt or truncated image ({what}): copy or export it again") from error


class _Globals:
    """Pillow's size limit and Python's warning filters, changed while at least one thread is inside."""

    def __init__(self) -> None:
        self.lock, self.threads_inside, self.before = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if not self.threads_inside:
                self.before.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                self.before.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
                Image.MAX_IMAGE_PIXELS = None  # `codec.images.read` checks the header by the caller's limit
            self.threads_inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.threads_inside -= 1
            if not self.threads_inside:
                self.before.close()


_globals = _Globals()
