"""MS-SSIM (Wang, Simoncelli and Bovik, 2003): the published score, and a distortion made from it for optimisation.

The published score slides windows that lie within the picture, so the outermost pixels count next to nothing: a codec
optimised for it spends nothing on them, and every picture gets a frame. The distortion therefore mirrors pictures
beyond their edges. With `EDGE_PX` mirrored pixels the outermost count 0.4 to 1.1 times as much as the middle, the next
two 0.6 to 1.6 times (by noise, on five pictures of Kodak; without, 0.001 to 0.004 and 0.01 to 0.04).
"""

import statistics

import torch
from torch import Tensor
from torch.nn.functional import pad

from codec.architecture import MS_SSIM_SIDE_MIN
from codec.errors import ConfigError
from codec.images.pixels import Pixels, Samples

# CompressAI's published pairs of lambdas for models trained on mse and on MS-SSIM have ratios of 1220 to 1330, 1280 in
# the middle of the range: so scaled, lambda keeps its meaning.
MS_SSIM_SCALE = 1280.0
EDGE_PX = 6
WHOLE_PIXELS_MAX = 1_000_000  # of pictures whose score is computed at once, in 40 bytes a pixel
BAND_PX, BAND_ROWS_MIN = 1 << 19, 32  # of a band: so few stay in the cache, which is four times as fast as 4 megapixels
WINDOW, WINDOW_SIGMA = 11, 1.5  # pixels
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, the largest first


def ms_ssim(original: Pixels, decoded: Pixels) -> float | None:
    """Return the published MS-SSIM of 8-bit pictures, at most 1; None if a side is below 161 pixels."""
    if min(original.width, original.height) < MS_SSIM_SIDE_MIN:
        return None
    from pytorch_msssim import ms_ssim as ms_ssim_within

    # The mean over channels, one at a time: a third of the memory.
    pairs = ([each.data[..., channel] for each in (original, decoded)] for channel in range(3))
    if original.width * original.height > WHOLE_PIXELS_MAX:
        return statistics.fmean(_ms_ssim_in_bands(*map(torch.from_numpy, pair)) for pair in pairs)
    return statistics.fmean(float(ms_ssim_within(*map(_levels, pair), data_range=1.0)) for pair in pairs)


def _levels(rows: Samples | Tensor) -> Tensor:
    """Return rows of a channel (H, W), of 8 bits or halved before, as a tensor (1, 1, H, W) in [0, 1]."""
    found = torch.as_tensor(rows)[None, None]
    return found if found.is_floating_point() else found.float() / 255


def _ms_ssim_in_bands(a: Tensor, b: Tensor) -> float:
    """Return the MS-SSIM of channels (H, W) of 8 bits, from maps of bands of rows that overlap by a window."""
    from pytorch_msssim.ssim import _fspecial_gauss_1d, _ssim

    window, result = _fspecial_gauss_1d(WINDOW, WINDOW_SIGMA)[None], 1.0
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            a, b = _halved(a), _halved(b)
        windows = a.shape[0] - WINDOW + 1  # rows of them
        total = 0.0
        height = _band_rows(a.shape[1])
        for top in range(0, windows, height):
            rows = slice(top, min(top + height, windows) + WINDOW - 1)
            pair = _levels(a[rows]), _levels(b[rows])
            ssim, contrast = _ssim(*pair, data_range=1.0, win=window, size_average=False)
            mean = ssim if scale == len(WEIGHTS) - 1 else contrast
            total += float(mean) * (rows.stop - top - WINDOW + 1)
        result *= max(0.0, total / windows) ** weight
    return result


def _halved(channel: Tensor) -> Tensor:
    """Average 2x2 samples of a channel (H, W), an odd side extended by 0 at both ends, in bands of rows."""
    odd_rows, odd_columns = (side % 2 for side in channel.shape)
    found = torch.empty([(side + 1) // 2 for side in channel.shape])
    height = _band_rows(channel.shape[1])
    for top in range(0, len(found), height):
        first, end = 2 * top - odd_rows, 2 * min(top + height, len(found)) - odd_rows
        rows = pad(_levels(channel[max(0, first) : end]), (odd_columns, odd_columns, max(0, -first), 0))
        found[top : top + height] = torch.nn.functional.avg_pool2d(rows, 2)[0, 0]
    return found


def _band_rows(width: int) -> int:
    """Return the rows of a band of a channel so wide."""
    return max(BAND_ROWS_MIN, BAND_PX // width)


def ms_ssim_distortion(x_hat: Tensor, x: Tensor) -> Tensor:
    """Return `MS_SSIM_SCALE` * (1 - MS-SSIM) (B,) of x_hat and x (B, 3, H, W) in [0, 1], mirrored beyond their edges.

    Raises:
        ConfigError: a side is below 161 pixels.
    """
    if min(x.shape[-2:]) < MS_SSIM_SIDE_MIN:
        raise ConfigError(
            f"MS-SSIM needs sides of {MS_SSIM_SIDE_MIN} pixels or more: take the mse (--ms-ssim 0), or a larger --tile"
        )
    from pytorch_msssim import ms_ssim as ms_ssim_within

    with torch.autocast(x.device.type, enabled=False):  # variances are differences of near equals
        mirrored = (pad(image, 4 * (EDGE_PX,), "reflect") for image in (x_hat, x))
        similarity: Tensor = ms_ssim_within(*mirrored, data_range=1.0, size_average=False)
    return MS_SSIM_SCALE * (1 - similarity)
