"""A training run of seconds, for the tests."""

from dataclasses import replace

import torch
from safetensors.torch import load_file

from advdistill import PGD, Data, Linf, Recipe, Schedule, methods, models
from advdistill.models import save


def short(method: str = "rslad", teacher: str | None = None, **changes) -> Recipe:
    """Three epochs of six steps on 200 digits."""
    recipe = Recipe(
        method=methods.build(method),
        student="convnet-4",
        teacher=teacher,
        clean_teacher=teacher,
        data=Data("digits", train_images=192, augment="shift"),
        attack=PGD(2, 0.1, Linf(0.2)),
        schedule=Schedule("onecycle", warmup=0.3),
        epochs=3,
        batch_size=32,
    )
    return replace(recipe, **changes)


def same_weights(first, second) -> bool:
    """Whether two safetensors files hold the same tensors, bit for bit; the order of their headers is random."""
    a, b = load_file(first), load_file(second)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def make_teacher(folder) -> str:
    """An untrained teacher's checkpoint; its path."""
    path = folder / "teacher.safetensors"
    save(models.create("convnet-8", 10, 1), path)
    return str(path)
