"""Online rate-distortion optimisation of learned image codecs: `refine(codec, x, quality, config, lmbda)`.

Imported eagerly, so that `rdo.refinement` is the function and not the module of that name.
"""

import warnings

with warnings.catch_warnings():  # CompressAI imports what torch calls deprecated
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
    from rdo.config import RefineConfig
    from rdo.distortion import Distortion
    from rdo.presets import effort, recipe
    from rdo.refinement import Refined, refine

__all__ = ["Distortion", "RefineConfig", "Refined", "effort", "recipe", "refine"]
