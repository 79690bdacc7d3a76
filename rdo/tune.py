"""Tunings: what refinement optimises a picture for, by name, with the quantisation steps and presets that suit it.

mse           the mean squared error, as the paper does
ms-ssim       MS-SSIM
visual        the eye: SSIMULACRA 2 and Butteraugli, with a tenth of mse, and steps for the eye (`codec.gain_profiles`)
visual:SHARE  the eye, with another share of these two than 0.9, from 0 to 1
package.module:function  a distortion of your own, by the name of its function (`Distortion.own`)
"""

from dataclasses import dataclass

from codec.architecture import Metric
from codec.errors import ConfigError
from codec.interface import Refinable
from codec.metrics.distortion import is_too_small
from codec.own_functions import import_function, is_function_name
from rdo.distortion import MSE, Distortion, distortion_of

VISUAL_SHARE = 0.9
VISUAL_PROFILES = (3, 4)  # tried by plain encoding, and the cheaper taken
NAMES = "mse, ms-ssim, visual, visual:SHARE or package.module:function"


@dataclass(frozen=True)
class Tune:
    """Aim of refinement: what it is to be good at.

    Attributes:
        distortion: to be minimised, not yet fitted to a picture.
        gain_profiles: the codec's gain profiles to choose from for each picture; (0,) are its own steps.
        presets: prefix of the efforts' names in configs/refine.
    """

    distortion: Distortion
    gain_profiles: tuple[int, ...] = (0,)
    presets: str = ""

    @property
    def middle_profile(self) -> int:
        """Gain profile under a goal, for which none is chosen by cost."""
        return self.gain_profiles[len(self.gain_profiles) // 2]


def tune_of(name: str | None, codec: Refinable, side: int | None = None) -> Tune:
    """Return the tuning of a name; None is what the codec was trained for, or the mse where a picture is too small.

    Args:
        side: shorter side of the picture in pixels; None is large enough for anything.

    Raises:
        ConfigError: no such tuning, module or function, or a share outside 0..1.
    """
    if name is None:
        small = side is not None and is_too_small(side, codec.distortion)
        return Tune(MSE if small else distortion_of(codec), presets=presets_of(None, codec.distortion))
    kind, _, share = name.partition(":")
    if kind == "visual":
        profiles = tuple(profile for profile in VISUAL_PROFILES if profile < codec.gain_profiles) or (0,)
        return Tune(Distortion(visual_share=_share(name, share)), profiles, presets_of(name))
    if kind not in ("mse", "ms-ssim") and is_function_name(name):
        return Tune(Distortion(own=import_function(name, "returns the error of x_hat and x"), own_share=1.0))
    if share or kind not in ("mse", "ms-ssim"):
        raise ConfigError(f"tune {name}: must be one of {NAMES}")
    return Tune(Distortion(ms_ssim_share=float(kind == "ms-ssim")), presets=presets_of(name, codec.distortion))


def presets_of(name: str | None, trained_for: Metric = "mse") -> str:
    """Return the prefix of the names of a tuning's presets in configs/refine.

    Those for MS-SSIM suit codecs that were trained for it. With others, whose latents have further to go, the discrete
    search gains more: 27 % of cost instead of 22 with `small`, on 5 crops in 40 steps.

    Args:
        name: of the tuning; None is what the codec was trained for.
        trained_for: that distortion.
    """
    if is_visual(name):
        return "visual-"
    return "ms-ssim-" if trained_for == "ms_ssim" and name in (None, "ms-ssim") else ""


def is_visual(name: str | None) -> bool:
    """Tell whether a tuning is for the eye."""
    return name is not None and name.partition(":")[0] == "visual"


def _share(name: str, text: str) -> float:
    try:
        share = float(text or VISUAL_SHARE)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ConfigError(f"tune {name}: write visual:SHARE with a share of 0 to 1")
    return share
