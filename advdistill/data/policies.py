"""The published augmentations: crops, CropShift and IDBH, RandAugment, TrivialAugment, cutout.

Each policy maps floats `[B, C, H, W]` in [0, 1] to the same form, with numbers drawn for each image. `flip`: whether
half of the images are mirrored. Sizes in pixels that papers state for 32 x 32 scale with the image's side.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from . import operations as op
from .crops import crop

__all__ = ["POLICIES", "Draws", "cutout"]

# of 32 columns and rows CropShift removes up to 10 in all, 8 for SVHN; IDBH's tables (probability and range of each
# operation), share of erased images and largest erased area are those of the release: TreeLLi/DA-Alone-Improves-AT
LARGEST_CROP = {"idbh_svhn": 8 / 32}
COLOUR = {
    "saturation": (0.125, 0.1, 1.9), "brightness": (0.125, 0.5, 1.9), "contrast": (0.125, 0.5, 1.9),
    "sharpness": (0.125, 0.1, 1.9), "autocontrast": (0.125, 0, 0), "equalise": (0.125, 0, 0),
    "shear": (0.125, 0.05, 0.15), "rotate": (0.125, 1, 10),
}  # fmt: skip
SHAPE = {
    "saturation": (0.08, 0.1, 1.9), "brightness": (0.08, 0.5, 1.9), "contrast": (0.04, 0.5, 1.9),
    "sharpness": (0.08, 0.1, 1.9), "autocontrast": (0.04, 0, 0), "equalise": (0.08, 0, 0),
    "shear": (0.30, 0.05, 0.35), "rotate": (0.30, 1, 30),
}  # fmt: skip
IDBH = {"idbh": (COLOUR, 0.5, 0.33), "idbh_strong": (COLOUR, 1.0, 0.33), "idbh_svhn": (SHAPE, 1.0, 0.5)}
ERASED, RATIO, TRIES = 0.02, (0.3, 3.3), 10

# torchvision's operations of RandAugment and TrivialAugmentWide, with their largest strengths
RAND = {
    "identity": 0.0, "shear_x": 0.3, "shear_y": 0.3, "translate_x": 150 / 331, "translate_y": 150 / 331, "rotate": 30.0,
    "brightness": 0.9, "saturation": 0.9, "contrast": 0.9, "sharpness": 0.9, "posterise": 4.0, "solarise": 1.0,
    "autocontrast": 0.0, "equalise": 0.0,
}  # fmt: skip
TRIVIAL = RAND | {
    "shear_x": 0.99, "shear_y": 0.99, "translate_x": 1.0, "translate_y": 1.0, "rotate": 135.0, "brightness": 0.99,
    "saturation": 0.99, "contrast": 0.99, "sharpness": 0.99, "posterise": 6.0,
}  # fmt: skip
RAND_OPERATIONS, RAND_MAGNITUDE, BINS = 2, 14, 31  # RandAugment(2, 14) as in Wang et al. 2023
CROPPED, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)  # random resized crop: ranges of area share and aspect ratio


class Draws:
    """Random numbers for each image of a batch, taken in order from uniform numbers `[B, MOST]`."""

    MOST = 48

    def __init__(self, uniform: Tensor):
        self.uniform, self.taken = uniform, 0

    def take(self, count: int = 1) -> Tensor:
        """Return the next uniform numbers, `[B, count]` in [0, 1)."""
        self.taken += count
        return self.uniform[:, self.taken - count : self.taken]

    def integers(self, end: int | Tensor, count: int = 1) -> Tensor:
        """Return `[B, count]` integers in 0 .. end - 1; `end` may differ between images, `[B, count]`."""
        return (self.take(count) * end).floor().long()

    def chance(self, probability: float) -> Tensor:
        """Return `[B]`, true with this probability."""
        return self.take()[:, 0] < probability

    def between(self, low: float, high: float) -> Tensor:
        """Return `[B]`, uniform between `low` and `high`."""
        return low + (high - low) * self.take()[:, 0]

    def sign(self) -> Tensor:
        """Return `[B]`, -1 or 1."""
        return 2.0 * self.chance(0.5) - 1


def _flipped(x: Tensor, draws: Draws, flip: bool) -> Tensor:
    mirrored = (draws.chance(0.5) & flip).to(x.device)
    return torch.where(mirrored[:, None, None, None], x.flip(3), x)


def _resized_crop(x: Tensor, draws: Draws, kind: str, flip: bool) -> Tensor:
    """Szegedy et al. 2015: a rectangle of 0.08 to 1 of the area and a ratio of 3/4 to 4/3, clipped to the image."""
    x, side = _flipped(x, draws, flip), torch.tensor(x.shape[2:], dtype=torch.float64)
    area, ratio = draws.between(*CROPPED), draws.between(math.log(ASPECT[0]), math.log(ASPECT[1])).exp()
    share = torch.stack([(area / ratio).sqrt(), (area * ratio).sqrt()], 1).clamp(max=1)
    corner = draws.take(2) * (1 - share) * side
    return op.resampled(x, corner.float().to(x.device), (share * side).float().to(x.device))


def _crop_shift(x: Tensor, draws: Draws, kind: str, flip: bool) -> Tensor:
    """Li and Spratling 2023: remove columns and rows, and put the remaining rectangle elsewhere."""
    x, side = _flipped(x, draws, flip), torch.tensor(x.shape[2:])
    most = max(1, round(LARGEST_CROP.get(kind, 10 / 32) * min(x.shape[2:])))
    total = draws.integers(most + 1)
    columns = draws.integers(total + 1)
    removed = torch.cat([total - columns, columns], 1)
    corner, place = (draws.integers(removed + 1, 2) for _ in range(2))
    return op.move_rectangle(x, *(values.to(x.device) for values in (corner, place, side - removed)))


def _idbh(x: Tensor, draws: Draws, kind: str, flip: bool) -> Tensor:
    """Li and Spratling 2023: flip and CropShift, one operation on colour or shape, random erasing."""
    table, erased, largest = IDBH[kind]
    x = _crop_shift(x, draws, kind, flip)
    chances = torch.tensor([chance for chance, *_ in table.values()], dtype=torch.float64).cumsum(0)
    chosen = torch.searchsorted(chances, draws.take()[:, 0].contiguous()).clamp(max=len(table) - 1)
    where, sign, vertical = draws.take()[:, 0], draws.sign(), draws.chance(0.5)
    for number in chosen.unique().tolist():
        name, mine = list(table)[number], (chosen == number).nonzero()[:, 0]
        _, low, high = table[name]
        strength = low + (high - low) * where[mine]
        if name == "rotate":
            strength = (low + (high + 1 - low) * where[mine]).floor() * sign[mine]
        if name == "shear":  # an angle in radians
            strength = strength.tan() * sign[mine]
            for axis, these in (("x", ~vertical[mine]), ("y", vertical[mine])):
                x = _applied(f"shear_{axis}", x, mine[these], strength[these])
        else:
            x = _applied(name, x, mine, strength)
    return _erased(x, draws, erased, largest)


def _erased(x: Tensor, draws: Draws, chance: float, largest: float) -> Tensor:
    """torchvision's random erasing: the first of ten rectangles that fits."""
    height, width = x.shape[2:]
    chosen = draws.chance(chance)
    area = (ERASED + (largest - ERASED) * draws.take(TRIES)) * height * width
    low, high = (math.log(end) for end in RATIO)
    ratio = (low + (high - low) * draws.take(TRIES)).exp()
    sizes = torch.stack([(area * ratio).sqrt().round(), (area / ratio).sqrt().round()], 2)
    fits = (sizes[:, :, 0] < height) & (sizes[:, :, 1] < width)
    first = fits.int().argmax(1)
    size = sizes[torch.arange(len(x)), first].long() * (chosen & fits.any(1))[:, None]
    corner = draws.integers(torch.tensor([height, width]) - size + 1, 2)
    return op.erased(x, corner.to(x.device), size.to(x.device))


def cutout(x: Tensor, draws: Draws, side: int) -> Tensor:
    """DeVries and Taylor 2017: a black square around a random pixel, clipped to the image."""
    centre = draws.integers(torch.tensor(x.shape[2:]), 2)
    return op.erased(x, (centre - side // 2).to(x.device), torch.full((len(x), 2), side, device=x.device))


def _rand_augment(x: Tensor, draws: Draws, kind: str, flip: bool) -> Tensor:
    """Cubuk et al. 2020: two of 14 operations with one strength, then the crop and flip of CIFAR."""
    for _ in range(RAND_OPERATIONS):
        x = _one_of(RAND, x, draws, torch.full((len(x),), RAND_MAGNITUDE / (BINS - 1), dtype=torch.float64))
    return _crop_flip(x, draws, flip)


def _trivial_augment(x: Tensor, draws: Draws, kind: str, flip: bool) -> Tensor:
    """Mueller and Hutter 2021: one of 14 operations with any strength, then the crop and flip of CIFAR."""
    x = _one_of(TRIVIAL, x, draws, draws.integers(BINS)[:, 0] / (BINS - 1))
    return _crop_flip(x, draws, flip)


def _crop_flip(x: Tensor, draws: Draws, flip: bool) -> Tensor:
    pad = max(1, x.shape[2] // 8)
    corners = draws.integers(2 * pad + 1, 2).to(x.device)
    return _flipped(crop(F.pad(x, [pad] * 4), corners, (x.shape[2], x.shape[3])), draws, flip)


def _one_of(operations: dict[str, float], x: Tensor, draws: Draws, share: Tensor) -> Tensor:
    """Apply one random operation to each image, at a share `[B]` of the operation's largest strength."""
    chosen, sign = draws.integers(len(operations))[:, 0], draws.sign()
    for number in chosen.unique().tolist():
        name, mine = list(operations)[number], (chosen == number).nonzero()[:, 0]
        strength = operations[name] * share[mine]
        match name:
            case "posterise":
                strength = 8 - strength.round()
            case "solarise":
                strength = 1 - strength
            case "brightness" | "saturation" | "contrast" | "sharpness":
                strength = 1 + strength * sign[mine]
            case _:
                strength = strength * sign[mine]
        x = _applied(name, x, mine, strength)
    return x


def _applied(name: str, x: Tensor, mine: Tensor, strength: Tensor) -> Tensor:
    """Apply an operation to some images of the batch; their indices and strengths are on the CPU."""
    if name == "identity" or not len(mine):
        return x
    mine, strength = mine.to(x.device), strength.to(x.device, x.dtype)
    return x.index_copy(0, mine, _operation(name, x[mine], strength))


def _operation(name: str, x: Tensor, strength: Tensor) -> Tensor:
    match name:
        case "posterise":
            return op.posterised(x, strength)
        case "solarise":
            return op.solarised(x, strength)
        case "autocontrast":
            return op.autocontrast(x)
        case "equalise":
            return op.equalised(x)
        case "rotate":
            return op.warped(x, op.rotation(strength))
        case "shear_x" | "shear_y" | "translate_x" | "translate_y":
            row = int(name.endswith("y"))
            matrix = torch.eye(2, 3, device=x.device, dtype=x.dtype).repeat(len(x), 1, 1)
            matrix[:, row, 1 - row if name.startswith("shear") else 2] = strength * (
                1 if name.startswith("shear") else x.shape[3 - row]
            )
            return op.warped(x, matrix)
        case _:
            return op.adjust(name, x, strength)


POLICIES: dict[str, Callable[[Tensor, Draws, str, bool], Tensor]] = {
    "random_resized_crop": _resized_crop, "crop_shift": _crop_shift, "idbh": _idbh, "idbh_strong": _idbh,
    "idbh_svhn": _idbh, "rand_augment": _rand_augment, "trivial_augment": _trivial_augment,
}  # fmt: skip
