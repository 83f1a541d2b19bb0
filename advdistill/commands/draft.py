"""Recipes for data that was looked at, each figure with its reason."""

import json
from dataclasses import dataclass

from ..data.own.collection import Survey
from ..recipe import Recipe

__all__ = ["Draft"]

_SIDES = (64, 32, 16, 8)
_FEW = 10_000
_TEMPLATE = """\
# {title}
# What is left out has its default: `advdistill train THIS_FILE --help` shows every field.

method: {method}  # others: advdistill list methods
student: {student}  # others: advdistill list models
{teacher}data:
  name: {name}
{size}  validation: 0.1  # share of the training images held out to choose the checkpoint
  augment: {augment}  # crop_flip mirrors images: where that changes the class (digits, letters, signs), take shift
attack:
  steps: 10
  step_size: {step}  # a quarter of eps
  threat:
    linf: {eps}  # {why}
optimizer:
  lr: {rate}  # the highest of the schedule; lower it if the losses jump
  weight_decay: 0.0005
  nesterov: true
schedule:
  kind: onecycle
  warmup: 0.2
epochs: {epochs}  # for {images} training images; papers train 100 to 300, where there is time
batch_size: {batch}
precision: {precision}  # auto takes bf16 where it is native
"""


@dataclass(frozen=True)
class Draft:
    """What is chosen for somebody's data.

    Args:
        seen: the look at it.
        name: the reference that the recipes take.
        size: the side to resize to, if the user gave one.
    """

    seen: Survey
    name: str
    size: int | None = None

    def teacher(self) -> str:
        """YAML of a recipe for a robust teacher."""
        return self._written("A robust teacher, by adversarial training alone.", "pgd_at", self.networks()[0])

    def student(self, teacher: str) -> str:
        """YAML of a recipe for a student distilled from `teacher`."""
        line = f"teacher: {json.dumps(teacher)}  # a run folder, or file:PATH of a checkpoint\n"
        return self._written("A small student, distilled from a robust teacher.", "rslad", self.networks()[1], line)

    @property
    def side(self) -> int:
        """The shorter side of the images that are trained on."""
        return self.resized or min(next(iter(self.seen.sizes)))

    @property
    def resized(self) -> int | None:
        """The given size; else, where sizes differ, one that half of the images reach, 64 at most."""
        if self.size or len(self.seen.sizes) == 1:
            return self.size
        sides = sorted(min(look.height, look.width) for look in self.seen.looks)
        return next((side for side in _SIDES if side <= sides[len(sides) // 2]), _SIDES[-1])

    @property
    def grey(self) -> bool:
        return not any(look.colour for look in self.seen.looks)

    def networks(self) -> tuple[str, str]:
        """A teacher and a student."""
        if self.side <= 16:
            return "convnet-24", "convnet-4"
        return ("resnet20", "resnet8") if self.grey or self._images < _FEW else ("resnet18", "mobilenet_v2")

    def radius(self) -> tuple[str, str, str]:
        """eps, a quarter of it, and why."""
        if self.grey and self.side <= 16:
            return "0.2", "0.05", "tiny grey images are still read under 0.2; up to 0.3 is usual"
        if self.grey and self.side <= 32:
            return "0.1", "0.025", "usual for grey images such as Fashion-MNIST; MNIST's bold strokes take 0.3"
        if self.side < 64:
            return "8/255", "2/255", "usual for images of about 32 x 32"
        return "4/255", "1/255", "usual from 64 x 64 on, where a change is easier to see"

    @property
    def _images(self) -> int:
        return sum(self.seen.counts["train"])

    @property
    def _augment(self) -> str:
        characters = all(len(name) == 1 for name in self.seen.collection.classes)
        return "shift" if characters or self.side <= 16 else "crop_flip"

    def _written(self, title: str, method: str, network: str, teacher: str = "") -> str:
        eps, step, why = self.radius()
        resize = f"  size: {self.resized}  # the shorter side is resized to it, the centre cut out\n"
        text = _TEMPLATE.format(
            title=title, method=method, student=network, teacher=teacher,
            name=json.dumps(self.name), size=resize if self.resized else "", augment=self._augment,
            eps=eps, step=step, why=why, images=self._images,
            rate=0.1 if self._images >= 500 else 0.05,
            epochs=60 if self._images < _FEW else 30,
            batch=16 if self._images < 500 else 64 if self._images < _FEW else 128,
            precision="fp32" if self.side <= 16 else "auto",
        )  # fmt: skip
        Recipe.from_yaml(text, "the recipe")  # a wrong size is refused before anything is written
        return text
