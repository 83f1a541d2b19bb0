"""Measure the cost of each augmentation: milliseconds per batch, and the share of a training step.

    python benchmarks/augmentation.py --student resnet8 --batch 128

The images are random, 32 x 32. The step is the trainer's step of PGD-AT with PGD-10 and crop_flip; a share is
(time of a batch with the augmentation - time of a batch with crop_flip) / time of the step.
"""

import statistics
import time
from itertools import cycle
from typing import get_args

import torch
import tyro
from lightning_fabric import Fabric
from machine import DEVICE, wait
from receipt import receipt

from advdistill import PGD, PGDAT, Data, Distiller, Linf, Recipe, models
from advdistill.data import Split
from advdistill.data.augment import Augment, Kind
from advdistill.data.batches import Batches
from advdistill.train.step import Step, beginning

CLASSES = tuple("0123456789")


def main(student: str = "resnet8", batch: int = 128, steps: int = 5, images: int = 2560, repeats: int = 7) -> None:
    split = Split(torch.randint(256, (images, 3, 32, 32), dtype=torch.uint8), torch.arange(images) % 10, CLASSES, "r")
    kinds = {kind: Augment(kind) for kind in get_args(Kind) if kind != "crop_flip"}
    kinds |= {name: Augment("crop_flip", **{name: value}) for name, value in
              (("cutout", 16), ("mixup", 1.0), ("cutmix", 1.0))}  # fmt: skip
    step, plain = step_seconds(split, student, batch, steps), seconds(split, Augment("crop_flip"), batch, repeats)
    print(f"{receipt()}\n\nA step of PGD-AT, PGD-10, {student}, batch {batch}, takes {1000 * step:.0f} ms; "
          f"augmenting a batch with crop_flip takes {1000 * plain:.2f} ms.\n")  # fmt: skip
    print("| augmentation | ms per batch | difference from crop_flip, share of a step |\n|---|--:|--:|")
    for name, augment in kinds.items():
        found = seconds(split, augment, batch, repeats)
        print(f"| {name} | {1000 * found:.2f} | {(found - plain) / step:+.2%} |")


def seconds(split: Split, augment: Augment, batch: int, repeats: int) -> float:
    """Return the seconds per batch: the median over epochs of the epoch's mean, without the first epoch."""
    batches, found = Batches(split, batch, augment, 0, DEVICE), []
    for epoch in range(repeats + 1):
        wait()
        began = time.perf_counter()
        for _ in batches.epoch(epoch):
            pass
        wait()
        found.append((time.perf_counter() - began) / len(batches))
    return statistics.median(found[1:])


def step_seconds(split: Split, student: str, batch: int, steps: int) -> float:
    recipe = Recipe(PGDAT(), student, data=Data("r", augment="crop_flip"), attack=PGD(10, 2 / 255, Linf()),
                    batch_size=batch)  # fmt: skip
    fabric, network = Fabric(accelerator=DEVICE.type, devices=1), models.create(student, 10)
    distiller = Distiller(recipe.method, attack=recipe.attack, fast=torch.float32)
    step = Step(fabric, recipe, distiller, beginning(fabric, recipe, network, distiller, 1))
    found = []
    for share in cycle(Batches(split, batch, "crop_flip", 0, DEVICE).epoch(0)):
        wait()
        began = time.perf_counter()
        step(share, 0, 0.0)
        wait()
        found.append(time.perf_counter() - began)
        if len(found) > steps:
            return statistics.median(found[1:])


if __name__ == "__main__":
    tyro.cli(main)
