"""Online rate-distortion optimisation of learned image codecs: spend encoder time to make files smaller.

    model = codec.load("small")
    data = rdo.encode(model, codec.read_image(Path("photo.png")), quality=4, iters=40)  # bytes of a .rdo file

`encode` gives a verified file; `refine` gives the latents, to look into or to write by `codec.write`. Names are
imported on first use, so that a command's `--help` need not wait for torch.
"""

from typing import TYPE_CHECKING, Any

import codec  # noqa: F401  (before torch: it sets what torch reads while it is imported)
from codec.lazy import lazy_attribute

if TYPE_CHECKING:
    from rdo.config import RefineConfig
    from rdo.distortion import Distortion
    from rdo.one_picture import encode
    from rdo.presets import effort, recipe
    from rdo.rd_curves import BdRate, bd_rate
    from rdo.refinement import Refined, refine

__all__ = ["BdRate", "Distortion", "RefineConfig", "Refined", "bd_rate", "effort", "encode", "recipe", "refine"]

_MODULE_OF = {
    "BdRate": "rd_curves", "Distortion": "distortion", "RefineConfig": "config", "Refined": "refinement",
    "bd_rate": "rd_curves", "effort": "presets", "encode": "one_picture", "recipe": "presets", "refine": "refinement",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    return lazy_attribute(__name__, name, _MODULE_OF)


def __dir__() -> list[str]:
    return sorted(__all__)
