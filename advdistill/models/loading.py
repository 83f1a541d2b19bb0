"""A model from a reference: find the file, recognise the network, fill it."""

import os
from collections.abc import Iterable
from pathlib import Path

import torch

from .checkpoint import read
from .classifier import Classifier, ModelSpec
from .identify import Shapes, compare, nearest
from .reference import parse
from .zoo import create


def load(reference: str | os.PathLike, *, arch: str | None = None, num_classes: int | None = None,
         mean: Iterable[float] | None = None, std: Iterable[float] | None = None) -> Classifier:
    """Load a model in fp32 and eval mode, on the CPU, without touching the random state.

    `reference` is a path or `file:PATH` of a .safetensors, .pt, .pth or .ckpt file, or of a run directory,
    meaning its best checkpoint; options may follow,
    `file:t.pt?arch=resnet18&mean=0.49,0.48,0.45&std=0.2,0.2,0.2`.

    Files of `save` describe themselves. In others the weights are found below the usual keys and prefixes,
    and the architecture is recognised from names and shapes unless `arch` gives it. `mean` and `std`, one
    value per channel, are put inside the model and win over what the file says; `num_classes` is checked.
    Arguments win over options.

    Raises FileNotFoundError, or ValueError saying what does not fit. Pickles that could run code are refused.
    """
    path, options = parse(os.fspath(reference))
    arguments = {"arch": arch, "num_classes": num_classes, "mean": mean, "std": std}
    options |= {key: value for key, value in arguments.items() if value is not None}
    checkpoint = read(path)
    options = checkpoint.known | options
    shapes = {key: tuple(tensor.shape) for key, tensor in checkpoint.weights.items()}
    spec = _recognise(path, shapes, options.get("arch"), options.get("num_classes"))
    with torch.random.fork_rng(devices=[]):
        model = create(spec.name, spec.num_classes, spec.in_channels, options.get("mean"), options.get("std"))
    model.load_state_dict(checkpoint.weights)
    return model.eval()


def _recognise(path: Path, shapes: Shapes, arch: str | None, num_classes: int | None) -> ModelSpec:
    fit = compare(arch, shapes) if arch else nearest(shapes)
    if fit.misfits and arch:
        raise ValueError(f"{path} does not fit {arch!r}: {fit}. Leave arch out to have it recognised.")
    if fit.misfits:
        raise ValueError(f"{path} fits no known architecture; the nearest, {fit.spec.name!r}, has {fit}.")
    if num_classes not in (None, fit.spec.num_classes):
        raise ValueError(f"{path} holds a model of {fit.spec.num_classes} classes, not {num_classes}; "
                         "leave num_classes out or give another checkpoint.")
    return fit.spec
