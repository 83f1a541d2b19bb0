"""Load a model from a reference: find the file, recognise the network by its keys and shapes, load its weights."""

import os
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import teachers
from .checkpoint import read_checkpoint
from .classifier import Classifier, ModelSpec
from .external import from_python, from_timm
from .fitting import Fit, Shapes, cause, fit_to, nearest
from .reference import check_options, checkpoint_at, hugging_face_file, parse
from .state_dict import check_types
from .zoo import ZOO, create, normalises

__all__ = ["from_pretrained", "load"]


def load(reference: str | os.PathLike[str], *, arch: str | None = None, num_classes: int | None = None,
         mean: Iterable[float] | None = None, std: Iterable[float] | None = None) -> nn.Module:
    """Load a model in eval mode, on the CPU, without touching the random state; zoo networks are in fp32.

    Files of `save` describe themselves. In others the weights are found below the usual keys and prefixes, and the
    architecture is recognised from names and shapes; if several have the same, name one. Arguments override the
    options of a reference.

    Args:
        reference: see below.
        arch: the architecture, a name of the zoo, in place of the recognised one.
        num_classes: K; a checkpoint with another number of classes raises ValueError.
        mean, std: normalisation inside the model, one value per channel in units of pixels in [0, 1]; override the
            file's.

    `reference` is a path or `file:PATH` of a .safetensors, .pt, .pth or .ckpt file, or of a run directory,
    meaning its best checkpoint; options may follow,
    `file:t.pt?arch=resnet18&mean=0.49,0.48,0.45&std=0.2,0.2,0.2`. Or it is one of

    - `robustbench:NAME`, `robustbench:cifar100/Linf/NAME`: a published teacher, see `advdistill list teachers`
    - `hf:OWNER/NAME` or `hf:FOLDER`: a Hugging Face repository or folder that holds a safetensors file
    - `timm:NAME?pretrained=true`, `timm:NAME?checkpoint=FILE`: a model of timm
    - `python:my_module:my_function`: the network that your function or class returns; `?checkpoint=FILE` loads weights
    - `zoo:NAME`: a zoo network with untrained weights, the same ones each time

    Returns:
        The model: images `[B, C, H, W]` in [0, 1] to logits `[B, K]`.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: `reference` is neither text nor a path.
        ValueError: the file does not fit, is damaged, is a pickle that could run code, or fits several networks.

    Example:
        >>> import tempfile, torch
        >>> from advdistill import models
        >>> model, file = models.create("convnet-2", num_classes=3), tempfile.mkdtemp() + "/model.safetensors"
        >>> models.save(model, file)
        >>> again, x = models.load(file), torch.rand(2, 3, 8, 8)
        >>> again.spec.name, torch.equal(again(x), model.eval()(x))
        ('convnet-2', True)
    """
    if isinstance(reference, bytes) or not isinstance(reference, str | os.PathLike):
        raise TypeError(f"A model is named by text or a path, such as 'runs/digits.rslad'; got {reference!r}.")
    parsed = parse(os.fspath(reference))
    arguments = {"arch": arch, "num_classes": num_classes, "mean": mean, "std": std}
    given = {key: value for key, value in arguments.items() if value is not None}
    check_options(parsed.kind, given)
    with torch.random.fork_rng(devices=[]):
        return SOURCES[parsed.kind](parsed.name, parsed.options | given).eval()


def from_pretrained(name: str | os.PathLike[str]) -> nn.Module:
    """Load a model that `advdistill push` has shared; the same as `load("hf:...")`.

    Args:
        name: a Hugging Face folder on this machine, or `OWNER/NAME`.

    Returns:
        The model in eval mode: images `[B, C, H, W]` in [0, 1] to logits `[B, K]`.

    Raises:
        FileNotFoundError: there is no such folder or repository.
        ValueError: the folder or repository holds no model that fits.
        ImportError: `OWNER/NAME` needs huggingface_hub, which is missing.
    """
    return load(f"hf:{os.fspath(name)}")


def _from_file(name: str, options: dict[str, Any]) -> Classifier:
    return _filled(checkpoint_at(name), options)


def _from_hub(name: str, options: dict[str, Any]) -> Classifier:
    return _filled(hugging_face_file(name, options.get("file"), options.get("revision")), options)


def _from_robustbench(name: str, options: dict[str, Any]) -> Classifier:
    teacher = teachers.find(name)
    path = checkpoint_at(options["file"]) if "file" in options else teachers.fetch(teacher)
    known = {"arch": teacher.arch, "num_classes": teacher.num_classes, "mean": teacher.mean, "std": teacher.std}
    return _filled(path, known, hint=f"Is it the checkpoint of {teacher.reference}?")


def _from_zoo(name: str, options: dict[str, Any]) -> Classifier:
    warnings.warn(f"zoo:{name} has untrained weights; use it as a student or in tests, not as a teacher.", stacklevel=3)
    torch.default_generator.manual_seed(0)
    return create(name, **options)


SOURCES = {
    "file": _from_file, "hf": _from_hub, "robustbench": _from_robustbench, "zoo": _from_zoo,
    "python": from_python, "timm": from_timm,
}  # fmt: skip


def _filled(path: Path, options: dict[str, Any], hint: str = "Leave arch out to have it recognised.") -> Classifier:
    checkpoint = read_checkpoint(path)
    options = checkpoint.known | options
    check_types(checkpoint.weights, str(path))
    shapes = {key: tuple(tensor.shape) for key, tensor in checkpoint.weights.items()}
    sizes = checkpoint.sizes if options.get("arch") == checkpoint.known.get("arch") else None
    fit = fit_to(options["arch"], shapes, sizes) if "arch" in options else _recognised(path, shapes)
    spec = _checked_spec(path, fit, "arch" in options, options.get("num_classes"), hint)
    if normalises(spec.name) and not options.keys() & {"mean", "std"}:
        raise ValueError(f"{path} is a {spec.name!r}, which expects normalised images, and does not say how; add for "
                         "CIFAR-10 ?mean=0.4914,0.4822,0.4465&std=0.2471,0.2435,0.2616 or for none ?mean=0,0,0.")
    model = create(spec.name, spec.num_classes, spec.in_channels, options.get("mean"), options.get("std"))
    model.load_state_dict({fit.renamed.get(key, key): tensor for key, tensor in checkpoint.weights.items()})
    return model


def _recognised(path: Path, shapes: Shapes) -> Fit:
    """Return the fit of the only zoo network that fits, or of the nearest. Raises ValueError if several fit."""
    fit, *others = nearest(shapes)
    if others and not fit.misfits:
        same = [one.spec.name for one in (fit, *others)]
        listed = " or ".join(f"?arch={name} ({ZOO[name.split('-')[0]].about})" for name in same)
        raise ValueError(f"{path} fits {len(same)} architectures with the same parameter names and shapes but "
                         f"different outputs; say which it is: {listed}.")
    return fit


def _checked_spec(path: Path, fit: Fit, named: bool, num_classes: int | None, hint: str) -> ModelSpec:
    if fit.misfits and (part := re.search(r"-0*(\d+)-of-0*(\d+)\.", path.name)):
        raise ValueError(f"{path} is part {part[1]} of {part[2]} of a checkpoint in several files; join them into one: "
                         "torch.save(model.state_dict(), FILE).")
    if fit.misfits and named:
        raise ValueError(f"{path} does not fit {fit.spec.name!r}: {fit}. {hint}")
    if fit.misfits:
        raise ValueError(f"{path} fits no known architecture; the nearest, {fit.spec.name!r}, has {fit}."
                         f"{cause(fit, path)} If it is a class of your own, name it with the file: "
                         f"python:my_module:MyNet?checkpoint={path}")
    if num_classes not in (None, fit.spec.num_classes):
        raise ValueError(f"{path} holds a model of {fit.spec.num_classes} classes, not {num_classes}; "
                         "leave num_classes out or give another checkpoint.")
    return fit.spec
