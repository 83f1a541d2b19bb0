"""Operations on a batch of images, with a strength for each image, as Pillow and torchvision define them.

Images are floats `[B, C, H, W]` in [0, 1]; strengths are `[B]`. No result depends on other images of the batch. Unlike
Pillow's, results are not rounded to 256 levels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "adjust", "autocontrast", "equalised", "erased", "move_rectangle", "posterised", "resampled", "solarised", "warped",
]  # fmt: skip

GREY = (0.299, 0.587, 0.114)  # ITU-R 601


def adjust(kind: str, x: Tensor, factor: Tensor) -> Tensor:
    """Multiply brightness, contrast, saturation or sharpness by a factor: 0 removes it, 1 changes nothing."""
    match kind:
        case "brightness":
            other = torch.zeros_like(x)
        case "contrast":
            other = _grey(x).mean((1, 2, 3), keepdim=True).expand_as(x)
        case "saturation":
            other = _grey(x).expand_as(x)
        case _:
            other = _smooth(x)
    return (other + factor[:, None, None, None] * (x - other)).clamp(0, 1)


def _grey(x: Tensor) -> Tensor:
    """Return `[B, 1, H, W]`, for colour images their luminance."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    return GREY[0] * x[:, :1] + GREY[1] * x[:, 1:2] + GREY[2] * x[:, 2:]


def _smooth(x: Tensor) -> Tensor:
    """Return means of 3 x 3 pixels, the centre counted five times; the border is unchanged."""
    height, width = x.shape[2:]
    if min(height, width) < 3:
        return x
    total = 4 * x[:, :, 1:-1, 1:-1]
    for row in range(3):
        for column in range(3):
            total = total + x[:, :, row : height - 2 + row, column : width - 2 + column]
    smooth = x.clone()
    smooth[:, :, 1:-1, 1:-1] = total / 13
    return smooth


def posterised(x: Tensor, bits: Tensor) -> Tensor:
    """Keep only the highest `bits` of the 8 bits of each pixel."""
    step = 2 ** (8 - bits.round())[:, None, None, None]
    return (_levels(x) / step).floor() * step / 255


def solarised(x: Tensor, threshold: Tensor) -> Tensor:
    """Invert pixels at or above a threshold in [0, 1]."""
    return torch.where(x >= threshold[:, None, None, None], 1 - x, x)


def autocontrast(x: Tensor) -> Tensor:
    """Stretch each channel to 0 .. 1: Pillow's autocontrast."""
    low, high = (end(x.flatten(2), 2)[..., None, None] for end in (torch.amin, torch.amax))
    return torch.where(high > low, (x - low) / (high - low).clamp(min=1e-6), x)


def equalised(x: Tensor) -> Tensor:
    """Equalise the histogram of each channel: Pillow's equalize."""
    levels = _levels(x).long().flatten(2)
    counts = torch.zeros(*levels.shape[:2], 256, dtype=torch.long, device=x.device)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    last = counts.gather(2, levels.amax(2, keepdim=True))
    step = (counts.sum(2, keepdim=True) - last) // 255
    table = ((counts.cumsum(2) - counts + step // 2) // step.clamp(min=1)).clamp(max=255)
    even = table.gather(2, levels).view(x.shape).to(x.dtype) / 255
    return torch.where(step[..., None] > 0, even, x)


def _levels(x: Tensor) -> Tensor:
    return (255 * x).round()


def warped(x: Tensor, matrix: Tensor) -> Tensor:
    """Warp each image by an affine map, nearest neighbour, 0 outside.

    Args:
        matrix: `[B, 2, 3]`, maps (column, row, 1) of an output pixel, counted from the centre, to the column and row
            of the input pixel.
    """
    height, width = x.shape[2:]
    rows = torch.arange(height, device=x.device, dtype=matrix.dtype) - (height - 1) / 2
    columns = torch.arange(width, device=x.device, dtype=matrix.dtype) - (width - 1) / 2
    places = torch.stack([columns.expand(height, -1), rows[:, None].expand(-1, width), torch.ones_like(columns)
                          .expand(height, -1)])  # fmt: skip
    column, row = (matrix @ places.flatten(1)).unbind(1)
    column, row = (column + (width - 1) / 2).round().long(), (row + (height - 1) / 2).round().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    index = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1))[:, None].expand(-1, x.shape[1], -1)
    return (x.flatten(2).gather(2, index) * inside[:, None]).view(x.shape)


def move_rectangle(x: Tensor, corner: Tensor, place: Tensor, size: Tensor) -> Tensor:
    """Move a rectangle of each image to another place, on black.

    Args:
        corner: row and column of the rectangle's first pixel, integers `[B, 2]`.
        place: row and column of its first pixel in the result, likewise.
        size: height and width of the rectangle, likewise.
    """
    index, inside = [], []
    for axis in (0, 1):
        at = torch.arange(x.shape[2 + axis], device=x.device) - place[:, axis, None]
        inside.append((at >= 0) & (at < size[:, axis, None]))
        index.append((at + corner[:, axis, None]).clamp(0, x.shape[2 + axis] - 1))
    image = torch.arange(len(x), device=x.device)[:, None, None]
    taken = x[image, :, index[0][:, :, None], index[1][:, None, :]].permute(0, 3, 1, 2)
    return taken * (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


def resampled(x: Tensor, corner: Tensor, size: Tensor) -> Tensor:
    """Resize a rectangle of each image to the whole image, bilinear without antialiasing.

    Args:
        corner: row and column of the rectangle in pixels, floats `[B, 2]`.
        size: height and width of the rectangle, likewise.
    """
    whole = torch.tensor(x.shape[2:], device=x.device, dtype=corner.dtype)
    scale, centre = size / whole, (2 * corner + size) / whole - 1
    matrix = torch.zeros(len(x), 2, 3, device=x.device, dtype=x.dtype)
    for axis, (row, column) in enumerate(((1, 1), (0, 0))):  # the grid has columns first
        matrix[:, row, column], matrix[:, row, 2] = scale[:, axis].to(x.dtype), centre[:, axis].to(x.dtype)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False).clamp(0, 1)


def erased(x: Tensor, corner: Tensor, size: Tensor) -> Tensor:
    """Fill a rectangle of each image with black; it may extend beyond the image. Arguments as in `move_rectangle`."""
    inside = []
    for axis in (0, 1):
        at = torch.arange(x.shape[2 + axis], device=x.device) - corner[:, axis, None]
        inside.append((at >= 0) & (at < size[:, axis, None]))
    return x.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0)


def rotation(degrees: Tensor) -> Tensor:
    """Return the rotation matrices for `warped`, `[B, 2, 3]`."""
    angle = degrees * (math.pi / 180)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return torch.stack([torch.stack([cos, sin, zero], 1), torch.stack([-sin, cos, zero], 1)], 1)
