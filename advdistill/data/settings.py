"""The `data` fields of a recipe."""

from dataclasses import dataclass
from typing import Any

from .._internal.messages import check_between
from .augment import Augment, Kind

__all__ = ["Data"]


@dataclass(frozen=True)
class Data:
    """The training images; only evaluation reads the test split.

    >>> Data("cifar10", augment="crop_flip").validation
    0.1
    """

    name: str = "digits"
    """One of `advdistill list datasets`; or your own: a folder of images, .npz, .csv, .parquet, or hf:OWNER/NAME."""
    folder: str | None = None
    """Folder of the files, if they are not in the cache."""
    size: int | None = None
    """Side in pixels to which your own images are resized and centre-cropped; required if they differ in size."""
    stream: bool = False
    """Decode your own image files batch by batch, in worker processes: for data that does not fit into memory."""
    bits: int | None = None
    """For your own images stored with 16 bits: the number of bits that the camera used, such as 12."""
    skip_broken: bool = False
    """Skip your own images that cannot be read, and list them."""
    image_column: str | None = None
    """Column of images or paths in your own table, or array in your .npz (`x_{split}` for several parts)."""
    label_column: str | None = None
    """Column of labels in your own table, or array in your .npz (`y_{split}` for several parts)."""
    validation: float | str = 0.1
    """Fraction of the training split held out, stratified, to choose the checkpoint; or your own part, such as val."""
    train_images: int | None = None
    """Train on only this many images, stratified."""
    augment: Kind = "none"
    """`shift` by up to one pixel; `crop_flip`: crop after padding by 4, flip; the documentation explains the others."""
    flip: bool = True
    """Mirror half of the images, if `augment` includes a flip; use False if mirroring changes the class."""
    cutout: int = 0
    """Side in pixels of a black square in each image."""
    mixup: float = 0.0
    """Mixup of images and labels: parameter of the Beta distribution of the shares; 0 disables it."""
    cutmix: float = 0.0
    """CutMix, a rectangle of one image in another: the same parameter; with both, each batch uses one of them."""
    extra: tuple[str, ...] = ()
    """Files of additional, generated training images: .npz with `image`, uint8 [N, H, W, C], and if known `label`."""
    extra_fraction: float | None = None
    """Share of generated images in each batch; required with `extra`, 0.7 in the papers."""

    def __post_init__(self) -> None:
        if not isinstance(self.validation, str):
            check_between("data.validation", self.validation, 0.001, 0.5)
        check_between("data.size", self.size, 8, 512)
        check_between("data.bits", self.bits, 9, 16)
        for name in ("cutout", "mixup", "cutmix"):
            check_between(f"data.{name}", getattr(self, name), 0, 512)
        if bool(self.extra) != (self.extra_fraction is not None):
            raise ValueError("data.extra and data.extra_fraction are given together: the files of generated images, "
                             "and their share of each batch, such as 0.7.")  # fmt: skip
        check_between("data.extra_fraction", self.extra_fraction, 0, 1)

    @property
    def augmentation(self) -> Augment:
        """The augmentation, in the form that `data.batches` accepts."""
        return Augment(self.augment, self.flip, self.cutout, self.mixup, self.cutmix)

    @property
    def reading(self) -> dict[str, Any]:
        """Options for reading your own images, as keyword arguments of `data.load`."""
        named = self.validation if isinstance(self.validation, str) else None
        return {"bits": self.bits, "skip_broken": self.skip_broken, "image_column": self.image_column,
                "label_column": self.label_column, "validation": named}
