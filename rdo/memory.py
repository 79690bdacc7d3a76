"""Memory of a refinement: what the codec's networks save for the backward pass, and strips that fit a limit.

Bytes per pixel are measured on the codec at hand, by counting the tensors that autograd saves for a small picture.
"""

import math
from typing import NamedTuple

import psutil
import torch
from torch import Tensor

from codec.allocator import release_memory
from codec.architecture import STRIDE, Y_PIXELS
from codec.errors import ConfigError
from codec.interface import Priced, Refinable
from rdo.config import RefineConfig
from rdo.strips import Strips, halo_rows, random_latents

TEMPORARY_RATIO = 2.2  # peak bytes of forward and backward for each byte saved between them: 1.7 to 2.2 measured
STRIP_PIXELS = 3 << 20  # a tile that took what remained of a picture has up to 2.8 megapixels with its halo
GPU_FREE_FRACTION = 0.8  # of the free memory of a GPU; other processes may want the rest
LATENT_COPIES_SEARCH = 15  # copies of y that the discrete search holds besides
LATENT_COPIES_DESCENT = 36  # that descent holds: Adam's state, and all that relaxations save for the backward pass


@torch.enable_grad()
def within_memory(codec: Refinable, shape: torch.Size, config: RefineConfig) -> Priced:
    """Return the codec, or strips of it where images of a shape (B, 3, H, W) would take more memory than allowed.

    Raises:
        ConfigError: not even the narrowest strips fit, or a limit is set for a codec that cannot be run in strips.
    """
    memory_gib = config.memory_gib
    if not codec.strip_rows:
        if memory_gib is not None:
            raise ConfigError("--memory-limit: only our own models are refined in strips: leave it out")
        return codec
    y_rows, row_pixels = _rows(shape)
    if memory_gib is None:
        pixels_max = strip_pixels(config, codec.device)
        if y_rows * row_pixels <= (STRIP_PIXELS if pixels_max == math.inf else pixels_max):
            return codec
        if pixels_max < math.inf:
            rows = max(1, int(pixels_max) // row_pixels // codec.strip_rows) * codec.strip_rows
            return Strips(codec, rows, halo_rows(codec))
    release_memory()
    if memory_gib is None:
        available, limit = GPU_FREE_FRACTION * free_bytes(codec.device), "the GPU"
    else:
        available, limit = memory_gib * 2**30 - used_bytes(codec), f"--memory-limit {memory_gib:g}"
    copies = LATENT_COPIES_SEARCH if config.method == "rdoq" else LATENT_COPIES_DESCENT
    return _fitted(codec, y_rows, row_pixels, copies, available, limit)


def _rows(shape: torch.Size) -> tuple[int, int]:
    """Return the rows of y of padded images of a shape (B, 3, H, W), and the pixels of one such row in all images."""
    images, height, width = shape[0], *(-(-side // STRIDE) * STRIDE for side in shape[2:])
    return height // Y_PIXELS, images * width * Y_PIXELS


def _fitted(
    codec: Refinable, y_rows: int, row_pixels: int, latent_copies: int, available: float, limit: str
) -> Refinable | Strips:
    """Return the codec or the highest strips of it that fit the available bytes.

    A picture in strips takes bytes for each of its rows, saved between strips, and bytes for each row of the one strip
    that is computed, of one network at a time.

    Raises:
        ConfigError: the narrowest strips do not fit; names `limit` and what would do.
    """
    window, parts = codec.strip_rows, saved_bytes(codec)
    latent_bytes = latent_copies * 4 * codec.latent_shapes(1, 1)[0][1] / Y_PIXELS**2
    if (TEMPORARY_RATIO * sum(parts) + latent_bytes) * y_rows * row_pixels <= available:
        return codec
    halo = halo_rows(codec)
    row_between = (TEMPORARY_RATIO * sum(saved_bytes(Strips(codec, window, 0))) + latent_bytes) * row_pixels
    row_within = TEMPORARY_RATIO * max(parts) * row_pixels
    fit, narrowest = int((available - row_between * y_rows) / row_within), min(y_rows, window + 2 * halo)
    if fit < narrowest:
        least = used_bytes(codec) + row_between * y_rows + row_within * narrowest
        least_gib = math.ceil(100 * least / 2**30 + 2) / 100  # enough for a process that holds a little more than this
        raise ConfigError(f"{limit}: these pixels need at least {least_gib:.2f} GiB")
    rows = y_rows + window - 1 if fit >= y_rows else fit - 2 * halo  # no strip is higher than the picture
    return Strips(codec, rows // window * window, halo)


def strip_pixels(config: RefineConfig, device: torch.device | str) -> float:
    """Return the pixels of a batch up to which it is refined whole; infinite where a GPU's free memory decides."""
    if config.strip_pixels is not None:
        return config.strip_pixels
    return math.inf if torch.device(device).type == "cuda" else STRIP_PIXELS


def free_bytes(device: torch.device) -> int:
    """Return the bytes of a GPU that this process could still take."""
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + cached


def used_bytes(codec: Refinable) -> int:
    """Return the bytes in use: of the process on a CPU, of its tensors on a GPU."""
    device = codec.device
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return int(psutil.Process().memory_info().rss)


class SavedBytes(NamedTuple):
    """Bytes per pixel that autograd saves for the backward pass of each part of the codec, weights not counted."""

    mixture: float
    y_bits: float
    synthesis: float


def saved_bytes(codec: Refinable | Strips) -> SavedBytes:
    """Measure the bytes per pixel that autograd saves, on random latents."""
    own = codec.codec if isinstance(codec, Strips) else codec
    counted = {t.untyped_storage().data_ptr() for t in own.state_dict().values()}
    tensors: list[Tensor] = []  # kept alive, so that no storage is taken for another at the same address

    def count(tensor: Tensor) -> Tensor:
        tensors.append(tensor.detach())  # a tensor itself would hold its graph, which holds this hook: a leak
        return tensors[-1]

    def new_bytes() -> int:
        new = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
        total = sum(size for at, size in new.items() if at not in counted)
        counted.update(new)
        return total

    latents, quality = random_latents(own, 2 * own.strip_rows)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        mixture = codec.mixture(*latents, quality)
        for out in mixture:
            count(out)
        parts = [new_bytes()]
        count(codec.y_bits(latents.y, mixture))
        parts.append(new_bytes())
        count(codec.synthesise(latents, quality))
        parts.append(new_bytes())
    pixels = latents.y.shape[2] * latents.y.shape[3] * Y_PIXELS**2
    return SavedBytes(*(part / pixels for part in parts))
