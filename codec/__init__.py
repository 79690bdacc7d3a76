"""Learned image codecs that write real files: `load`, `encode`, `decode`, for our models, CompressAI's and your own.

    model = codec.load("small")
    data = codec.encode(model, codec.read_image(Path("photo.png")), quality=4)
    pixels = codec.decode(model, data).pixels

    codec.imwrite("photo.rdo", codec.imread("photo.png"), quality=4)  # arrays; `import codec.images.pillow` for Pillow

Names are imported on first use, so that a command's `--help` need not wait for torch.
"""

import os
from typing import TYPE_CHECKING, Any

from codec.lazy import lazy_attribute

if TYPE_CHECKING:
    from codec.architecture import lmbda_of
    from codec.bitstream.boxes import Box
    from codec.bitstream.container import unpack
    from codec.bitstream.tiles import Rect
    from codec.checkpoint import installed_models
    from codec.coding import Decoded, decode, read, write
    from codec.encoding import encode
    from codec.errors import BitstreamError, CheckpointError, ConfigError, ImageError, RdoError
    from codec.identity import model_id
    from codec.images.formats import write_png
    from codec.images.metadata import Metadata
    from codec.images.pixels import Pixels, to_tensor
    from codec.images.read import ImagePolicy, Picture, read_image, read_picture
    from codec.interface import AnyCodec, Latents
    from codec.loading import load
    from codec.metadata_boxes import add_metadata, metadata_of
    from codec.picture_files import imread, imwrite

__all__ = [
    "AnyCodec", "BitstreamError", "Box", "CheckpointError", "ConfigError", "Decoded", "ImageError", "ImagePolicy",
    "Latents", "Metadata", "Picture", "Pixels", "RdoError", "Rect", "add_metadata", "decode", "encode", "imread",
    "imwrite", "installed_models", "lmbda_of", "load", "metadata_of", "model_id", "read", "read_image", "read_picture",
    "to_tensor", "unpack", "write", "write_png",
]  # fmt: skip

_MODULES = {
    "architecture": ("lmbda_of",),
    "bitstream.boxes": ("Box",),
    "bitstream.container": ("unpack",),
    "bitstream.tiles": ("Rect",),
    "checkpoint": ("installed_models",),
    "coding": ("Decoded", "decode", "read", "write"),
    "encoding": ("encode",),
    "errors": ("BitstreamError", "CheckpointError", "ConfigError", "ImageError", "RdoError"),
    "identity": ("model_id",),
    "images.formats": ("write_png",),
    "images.pixels": ("Pixels", "to_tensor"),
    "images.metadata": ("Metadata",),
    "images.read": ("ImagePolicy", "Picture", "read_image", "read_picture"),
    "interface": ("AnyCodec", "Latents"),
    "loading": ("load",),
    "metadata_boxes": ("add_metadata", "metadata_of"),
    "picture_files": ("imread", "imwrite"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

# read by torch while it is imported: threads that spin while they wait take the cores from other processes
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> Any:
    return lazy_attribute(__name__, name, _MODULE_OF)


def __dir__() -> list[str]:
    return sorted(__all__)
