"""Plan of what of a picture to store exactly, chosen before it is refined, by what refinement is expected to gain."""

from dataclasses import dataclass, replace

import torch

from codec.bitstream.boxes import Box
from codec.encoding import estimate, worth_a_look
from codec.exact_choice import Costs, block_errors, choose_blocks, may_pay, plain_costs
from codec.images.mosaic import Mask
from codec.images.pixels import Pixels
from codec.interface import AnyCodec
from codec.latents import no_latents
from codec.tiling import tile_side
from rdo.config import RefineConfig
from rdo.distortion import Distortion
from rdo.encoded import EncodedPicture, PricedFile
from rdo.encoding import encode_pictures
from rdo.exact_part import PictureDistortion, whole_file
from rdo.objective import Cost
from rdo.refinement import Progress, Refined
from rdo.resuming import Store
from rdo.tune import Tune

# of what is learned, cost that refinement is expected to save: of the mse and MS-SSIM, and more of SSIMULACRA 2
REFINEMENT_GAIN, REFINEMENT_GAIN_VISUAL = 0.07, 0.4


@dataclass(frozen=True, eq=False)
class ExactPlan:
    """Plan of which blocks of a picture to store exactly.

    Attributes:
        plain: plain encoding by the networks.
        distortion: of the picture.
        gain: 1 - cost over that of the networks alone, both as they are expected to be once refined.
        mask: (rows, columns) of 64 px blocks to store exactly; None where no part pays.
        whole: the lossless file where it costs little more than others, else None.
        done: whether that file costs less than any other is expected to.
    """

    plain: EncodedPicture
    distortion: PictureDistortion
    gain: float
    mask: Mask | None
    whole: PricedFile | None
    done: bool


@dataclass(frozen=True)
class ExactTask:
    """Settings that all pictures of a call share."""

    codec: AnyCodec
    tune: Tune
    quality: float
    lmbda: float
    config: RefineConfig
    progress: Progress
    tile: int
    boxes: tuple[Box, ...]
    store: Store | None

    def learned(self, pictures: list[Pixels], distortion: Distortion | None = None) -> list[EncodedPicture]:
        """Encode pictures by the networks alone."""
        if not pictures:
            return []
        tune = self.tune if distortion is None else replace(self.tune, distortion=distortion)
        return encode_pictures(
            self.codec, pictures, tune=tune, quality=self.quality, lmbda=self.lmbda,
            config=self.config, progress=self.progress, tile=self.tile, boxes=self.boxes, store=self.store,
        )  # fmt: skip

    def lossless(self, pixels: Pixels) -> EncodedPicture:
        """Encode a picture as exact blocks alone."""
        file = whole_file(self.codec, pixels, self.quality, self.boxes)
        latents, none = no_latents(self.codec, pixels.width, pixels.height), Cost(*(3 * (torch.zeros(1),)))
        distortion, method = self.tune.distortion, self.config.method
        refined = Refined(latents, latents, none, none, distortion, method, iters=0, seconds=0.0)
        return EncodedPicture(file, file, self.quality, self.lmbda, refined)

    def plan(self, pixels: Pixels, hoped: Costs) -> ExactPlan | None:
        """Choose what of a picture is to be exact; None where nothing pays, as on photographs.

        Args:
            hoped: costs of a picture (`codec.exact_choice.hoped_costs`).
        """
        level = self.codec.level(self.quality)
        if not worth_a_look(self.codec, pixels, hoped, level, self.lmbda):
            return None
        [plain] = replace(self, config=replace(self.config, iters=0)).learned([pixels])
        distortion, lmbda_pixels = self.distortion(pixels, plain), self.lmbda * pixels.width * pixels.height
        weight = distortion.metric.weight
        weights = None if weight is None else weight[0, 0].cpu().numpy()
        errors = block_errors(pixels, plain.file.pixels, weights)
        kept = self.kept_cost
        y = plain.refined.plain.y
        costs = plain_costs(y, len(plain.file.data), errors, lmbda_pixels * plain.file.distortion).scaled(kept)
        if not may_pay(hoped, costs):
            return None

        def cost(mask: Mask) -> float:
            found = estimate(self.codec, pixels, mask, level, tile=distortion.tile)
            learned = found.learned_bits_est + lmbda_pixels * distortion.of(found.decoded)
            return found.section_bits + kept * learned

        choice = choose_blocks(pixels, costs, hoped, cost)
        done = choice.mask is not None and bool(choice.mask.all())
        whole = whole_file(self.codec, pixels, self.quality, self.boxes) if choice.whole_close else None
        part = None if done else choice.mask
        if part is None and whole is None:
            return None
        return ExactPlan(plain, distortion, 1 - choice.cost / costs.total, part, whole, done)

    def distortion(self, pixels: Pixels, plain: EncodedPicture) -> PictureDistortion:
        """Return the distortion of a picture, fitted to it by its plain encoding."""
        tile = tile_side(self.codec, pixels.width, pixels.height, self.tile)
        return PictureDistortion(self.codec, pixels, tile, plain.refined.distortion)

    @property
    def kept_cost(self) -> float:
        """Cost that refinement is expected to leave of what is learned, as a fraction."""
        if not self.config.iters:
            return 1.0
        visual = self.tune.distortion.visual_share
        return 1 - REFINEMENT_GAIN * (1 - visual) - REFINEMENT_GAIN_VISUAL * visual

    @property
    def with_usual_lmbda(self) -> "ExactTask":
        """Task whose lmbda suits its quality."""
        return replace(self, lmbda=self.codec.lmbda_of(self.quality))
