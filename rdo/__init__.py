"""Online rate-distortion optimisation of learned image codecs: `refine(codec, x, quality, config, lmbda)`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rdo.config import RefineConfig
    from rdo.refine import Refined, refine

__all__ = ["RefineConfig", "Refined", "refine"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'rdo' has no attribute {name!r}")
    from importlib import import_module

    # `rdo.refine` is the function; its module stays reachable as sys.modules["rdo.refine"]
    value = getattr(import_module("rdo.config" if name == "RefineConfig" else "rdo.refine"), name)
    globals()[name] = value
    return value
