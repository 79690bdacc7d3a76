"""A full eContextformer codec that writes real files: `load`, `encode`, `decode`.

Names are imported on first use, so that a command's `--help` need not wait for torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codec.architecture import lmbda_of
    from codec.checkpoint import load
    from codec.coding import Decoded, decode, encode, write
    from codec.images.formats import write_png
    from codec.images.pixels import Pixels, to_tensor
    from codec.images.read import ImagePolicy, read_image

__all__ = [
    "Decoded", "ImagePolicy", "Pixels", "decode", "encode", "lmbda_of", "load", "read_image", "to_tensor", "write",
    "write_png",
]  # fmt: skip

_HOMES = {
    "lmbda_of": "architecture", "load": "checkpoint", "Decoded": "coding", "decode": "coding", "encode": "coding",
    "write": "coding", "to_tensor": "images.pixels",
    "ImagePolicy": "images.read", "Pixels": "images.pixels", "read_image": "images.read", "write_png": "images.formats",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'codec' has no attribute {name!r}")
    import warnings
    from importlib import import_module

    with warnings.catch_warnings():  # CompressAI imports what torch calls deprecated
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
        return getattr(import_module(f"codec.{_HOMES[name]}"), name)
