"""A codec of your own in one class: a block DCT with a Laplace prior, refined by `rdo` and written to files."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import codec
import rdo
from codec.architecture import Y_PER_Z, Y_PIXELS, Shape
from codec.bitstream.range_coder import RowCoder, SymbolReader, SymbolWriter, transfer_table


@dataclass(frozen=True)
class DctConfig:
    name: str = "block-dct"
    step: float = 0.19  # of quantisation, of pixels in [0, 1]
    largest: int = 48  # symbol that is no escape


class BlockDct(nn.Module, codec.AnyCodec):
    """y (B, 768, H/16, W/16): DCT coefficients of 16x16 blocks of red, green and blue, in steps; there is no z."""

    def __init__(self, config: DctConfig = DctConfig()) -> None:
        super().__init__()
        self.config, k = config, torch.arange(float(Y_PIXELS))
        basis = (2 / Y_PIXELS) ** 0.5 * torch.cos(torch.pi / Y_PIXELS * (k + 0.5) * k[:, None])  # (frequency, pixel)
        basis[0] /= 2**0.5
        kernel = torch.einsum("ui,vj->uvij", basis, basis).reshape(-1, 1, Y_PIXELS, Y_PIXELS).repeat(3, 1, 1, 1)
        self.register_buffer("kernel", kernel)  # (768, 1, 16, 16), orthonormal
        scales = 0.05 + 8 / (1 + k[:, None] + k).flatten() ** 3
        self.register_buffer("scales", scales.repeat(3)[:, None, None])  # (768, 1, 1), of the prior, in steps

    def latent_shapes(self, width: int, height: int) -> tuple[Shape, Shape]:
        return (1, 768, Y_PER_Z * -(-height // self.stride), Y_PER_Z * -(-width // self.stride)), (1, 0, 1, 1)

    def analyse(self, x: Tensor, quality: Tensor) -> codec.Latents:
        y = nn.functional.conv2d(x - 0.5, self.kernel, stride=Y_PIXELS, groups=3) / self.config.step
        return codec.Latents(y, y.new_zeros(len(y), 0, 1, 1))

    def synthesise(self, latents: codec.Latents, quality: Tensor) -> Tensor:
        return (
            nn.functional.conv_transpose2d(latents.y * self.config.step, self.kernel, stride=Y_PIXELS, groups=3) + 0.5
        )

    def mixture(self, y_hat: Tensor, z_hat: Tensor, quality: Tensor) -> tuple[()]:
        return ()  # the prior is fixed

    def y_bits(self, y: Tensor, mixture: tuple[()]) -> Tensor:
        high, low = (torch.distributions.Laplace(0.0, self.scales).cdf(side - y.abs()) for side in (0.5, -0.5))
        return -(high - low).clamp(min=2**-20).log2()

    def z_bits(self, z: Tensor, quality: Tensor) -> Tensor:
        return z

    def code(self, coder: RowCoder, shape: Shape, symbols: NDArray[np.int64] | None) -> Tensor:
        bits = self.y_bits(torch.arange(-self.config.largest, self.config.largest + 1.0).expand(shape[1], 1, -1), ())
        rows = nn.functional.pad((2**20 * 2**-bits).round(), (0, 1), value=1.0)  # frequencies; the last is the escape's
        table = rows.expand(-1, shape[2] * shape[3], -1).flatten(0, 1).numpy()
        return torch.from_numpy(transfer_table(coder, table, self.config.largest, symbols)).float().reshape(shape)

    def to_words(self, latents: codec.Latents, quality: Tensor) -> NDArray[np.uint32]:
        self.code(writer := SymbolWriter(), latents.y.shape, latents.y.round().flatten().long().numpy())
        return writer.finish()

    def from_words(self, words: NDArray[np.uint32], width: int, height: int, quality: Tensor) -> codec.Latents:
        y, z = self.latent_shapes(width, height)
        return codec.Latents(self.code(SymbolReader(words), y, None), torch.zeros(z))


def test_it_is_refined_written_and_decoded(photo: Callable) -> None:
    model, pixels = codec.load(f"{__name__}:BlockDct"), codec.Pixels(photo(70, 90), grey=False)
    refined = rdo.refine(model, codec.to_tensor(pixels), 4, config=rdo.recipe(iters=20))
    data = codec.write(model, refined.latents, width=pixels.width, height=pixels.height, quality=4, grey=pixels.grey)
    assert torch.equal(codec.decode(model, data).latents.y, refined.latents.y)
    assert float(refined.cost_est.total) < 0.9 * float(refined.plain_cost_est.total)
    assert len(data) < len(codec.encode(model, pixels)) and data == rdo.encode(model, pixels, iters=20)
