"""Encoding of batches of pictures in memory, for pipelines of others: Ray Data, a data loader, a service.

    import ray
    from jobs.running.encode_batch import EncodeBatch

    pictures = ray.data.read_images("photos/", mode="RGB", include_paths=True)
    settings = {"quality": 4, "iters": 40}
    files = pictures.map_batches(EncodeBatch, fn_constructor_kwargs=settings, batch_size=8, concurrency=4)
    for row in files.iter_rows():
        Path(f"{row['path']}.rdo").write_bytes(row["rdo"])

It imports nothing of Ray. The invariant: the bytes of a picture are those that `rdo-encode --batch 1` writes for its
pixels with as many threads, whatever else is in its batch.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec.errors import ConfigError
from codec.images.pixels import Pixels
from codec.images.read import STRICT
from jobs.cli import MODEL
from jobs.running.encode_pixels import encode_pixels
from jobs.running.encode_settings import RateFlags, encode_config
from jobs.running.encoding import set_up
from jobs.running.refine_settings import RefineFlags, refine_config
from jobs.runtime import THREADS

Batch = dict[str, Any]


class EncodeBatch:
    """Function of a batch, a mapping from column names to arrays, with a model that is loaded once.

    Args:
        model: name for `codec.load`.
        device: `cpu`, `cuda`, ...
        threads: of torch; files depend on it a little.
        column: of the pictures, uint8 arrays (H, W, 3), or (H, W) for grey ones.
        iters: refinement steps; 0 is plain encoding, None the default effort.
        quality, tune, target_bytes, target_ssimulacra2: as the flags of `rdo-encode`; None leaves one out.

    Raises:
        RdoError: no such model or device, or a setting out of range.
    """

    def __init__(
        self,
        *,
        model: str = MODEL,
        device: str = "cpu",
        threads: int = THREADS,
        column: str = "image",
        iters: int | None = None,
        quality: float | None = None,
        tune: str | None = None,
        target_bytes: int | None = None,
        target_ssimulacra2: float | None = None,
    ) -> None:
        self.column = column
        self.codec = set_up(model, device, threads)
        flags = RateFlags(quality=quality, tune=tune, target_bytes=target_bytes, target_ssimulacra2=target_ssimulacra2)
        refine = refine_config(RefineFlags(iters=iters), model, flags.tune)
        self.config = encode_config(self.codec, flags, model=model, refine=refine, policy=STRICT)

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with its pictures replaced by their files.

        Columns that are added: `rdo`, the bytes of each file; `gain_percent`, the fall of its cost from plain encoding;
        `psnr_db`, infinite for exact ones; `quality`.

        Raises:
            ConfigError: no such column, or an array that is no picture.
        """
        if self.column not in batch:
            raise ConfigError(f"column {self.column}: not in the batch, which has {', '.join(batch)}")
        found = [
            encode_pixels([_pixels(image)], self.codec, self.config, progress=lambda step: None)[0]
            for image in batch[self.column]
        ]
        scores = [each.outcome.refined.psnr_db for each in found]
        return {
            **{name: values for name, values in batch.items() if name != self.column},
            "rdo": np.array([each.data for each in found], dtype=object),
            "gain_percent": np.array([each.outcome.gain_percent for each in found]),
            "psnr_db": np.array([np.inf if score is None else score for score in scores]),
            "quality": np.array([each.quality for each in found]),
        }


def _pixels(image: NDArray[Any]) -> Pixels:
    """Return an array as pixels.

    Raises:
        ConfigError: it is not uint8, or not of one or three channels.
    """
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    grey = array.ndim == 2
    if array.dtype != np.uint8 or not array.size or not (grey or (array.ndim == 3 and array.shape[2] == 3)):
        raise ConfigError(
            f"a picture of shape {array.shape} and {array.dtype}: give uint8 (H, W, 3), or (H, W) for grey"
        )
    return Pixels(np.repeat(array[..., None], 3, 2) if grey else np.ascontiguousarray(array), grey)
