"""A model from a reference: find the file, recognise the network by its keys and shapes, fill it."""

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .._internal.reading import printable
from . import teachers
from .checkpoint import read_checkpoint
from .classifier import Classifier, ModelSpec
from .external import from_python, from_timm
from .reference import check_options, checkpoint_at, hugging_face_file, parse
from .zoo import ZOO, create, normalises

__all__ = ["Fit", "fit_to", "from_pretrained", "load", "nearest"]

def load(reference: str | os.PathLike[str], *, arch: str | None = None, num_classes: int | None = None,
         mean: Iterable[float] | None = None, std: Iterable[float] | None = None) -> nn.Module:
    """Load a model in eval mode, on the CPU, without touching the random state; our own networks in fp32.

    Files of `save` describe themselves. In others the weights are found below the usual keys and prefixes, and the
    architecture is recognised from names and shapes. Arguments win over the options of a reference.

    Args:
        reference: see below.
        arch: the architecture, a name of the zoo, in place of the recognised one.
        num_classes: K; a checkpoint of another number is refused.
        mean, std: put inside the model, one value per channel in units of pixels in [0, 1]; win over the file's.

    `reference` is a path or `file:PATH` of a .safetensors, .pt, .pth or .ckpt file, or of a run directory,
    meaning its best checkpoint; options may follow,
    `file:t.pt?arch=resnet18&mean=0.49,0.48,0.45&std=0.2,0.2,0.2`. Or it is one of

    - `robustbench:NAME`, `robustbench:cifar100/Linf/NAME`: a published teacher, see `advdistill list teachers`
    - `hf:OWNER/NAME` or `hf:FOLDER`: a Hugging Face repository or folder that holds a safetensors file
    - `timm:NAME?pretrained=true`, `timm:NAME?checkpoint=FILE`: a model of timm
    - `python:my_module:my_function`: what your function or class returns; `?checkpoint=FILE` has its weights
    - `zoo:NAME`: a network of ours with untrained weights, the same ones each time

    Returns:
        The model: images `[B, C, H, W]` in [0, 1] to logits `[B, K]`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file does not fit, is damaged, or is a pickle that could run code.

    Example:
        >>> import tempfile, torch
        >>> from advdistill import models
        >>> model, file = models.create("convnet-2", num_classes=3), tempfile.mkdtemp() + "/model.safetensors"
        >>> models.save(model, file)
        >>> again, x = models.load(file), torch.rand(2, 3, 8, 8)
        >>> again.spec.name, torch.equal(again(x), model.eval()(x))
        ('convnet-2', True)
    """
    parsed = parse(os.fspath(reference))
    arguments = {"arch": arch, "num_classes": num_classes, "mean": mean, "std": std}
    given = {key: value for key, value in arguments.items() if value is not None}
    check_options(parsed.kind, given)
    with torch.random.fork_rng(devices=[]):
        return SOURCES[parsed.kind](parsed.name, parsed.options | given).eval()


def from_pretrained(name: str | os.PathLike[str]) -> nn.Module:
    """A model that `advdistill push` has shared; as `load("hf:...")`.

    Args:
        name: a Hugging Face folder on this machine, or `OWNER/NAME`.

    Returns:
        The model in eval mode: images `[B, C, H, W]` in [0, 1] to logits `[B, K]`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no model that fits.
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
    warnings.warn(f"zoo:{name} has untrained weights: it is a student or a test, and teaches nothing.", stacklevel=3)
    torch.default_generator.manual_seed(0)
    return create(name, **options)


SOURCES = {
    "file": _from_file, "hf": _from_hub, "robustbench": _from_robustbench, "zoo": _from_zoo,
    "python": from_python, "timm": from_timm,
}  # fmt: skip


def _filled(path: Path, options: dict[str, Any], hint: str = "Leave arch out to have it recognised.") -> Classifier:
    checkpoint = read_checkpoint(path)
    options = checkpoint.known | options
    shapes = {key: tuple(tensor.shape) for key, tensor in checkpoint.weights.items()}
    sizes = checkpoint.sizes if options.get("arch") == checkpoint.known.get("arch") else None
    fit = fit_to(options["arch"], shapes, sizes) if "arch" in options else nearest(shapes)
    spec = _checked_spec(path, fit, "arch" in options, options.get("num_classes"), hint)
    if normalises(spec.name) and not options.keys() & {"mean", "std"}:
        raise ValueError(f"{path} is a {spec.name!r}, which expects normalised images, and does not say how; add for "
                         "CIFAR-10 ?mean=0.4914,0.4822,0.4465&std=0.2471,0.2435,0.2616 or for none ?mean=0,0,0.")
    model = create(spec.name, spec.num_classes, spec.in_channels, options.get("mean"), options.get("std"))
    model.load_state_dict(checkpoint.weights)
    return model


def _checked_spec(path: Path, fit: "Fit", named: bool, num_classes: int | None, hint: str) -> ModelSpec:
    if fit.misfits and named:
        raise ValueError(f"{path} does not fit {fit.spec.name!r}: {fit}. {hint}")
    if fit.misfits:
        raise ValueError(f"{path} fits no known architecture; the nearest, {fit.spec.name!r}, has {fit}. If "
                         f"it is a class of your own, name it with the file: python:my_module:MyNet?checkpoint={path}")
    if num_classes not in (None, fit.spec.num_classes):
        raise ValueError(f"{path} holds a model of {fit.spec.num_classes} classes, not {num_classes}; "
                         "leave num_classes out or give another checkpoint.")
    return fit.spec


Shapes = dict[str, tuple[int, ...]]
STEMS = ("conv1.weight", "init_conv.weight", "conv_2d.weight")


@dataclass(frozen=True)
class Fit:
    """How a state dict compares with the network `spec`; its text says what does not fit."""

    spec: ModelSpec
    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]

    @property
    def misfits(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.reshaped)

    def __str__(self) -> str:
        return ", ".join([
            f"{len(self.missing)} keys missing{_few(self.missing)}",
            f"{len(self.unexpected)} unexpected{_few(self.unexpected)}",
            f"{len(self.reshaped)} of another shape{_few(self.reshaped)}",
        ])


def fit_to(name: str, shapes: Shapes, sizes: tuple[int, int] | None = None) -> Fit:
    """Hold `shapes` against the architecture `name` of so many classes and channels, unless given those they show."""
    classes, channels = sizes or (_num_classes(shapes), _in_channels(shapes))
    try:
        with torch.device("meta"):
            model = create(name, classes, channels)
    except (RuntimeError, TypeError, OverflowError, ZeroDivisionError):
        raise ValueError(f"There is no {name!r} of {classes} classes and {channels} channels.") from None
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    # BatchNorm's counter came with PyTorch 0.4.1 and is filled in when an older file lacks it.
    missing = [key for key in wanted if key not in shapes and not key.endswith("num_batches_tracked")]
    reshaped = [f"{key} is {list(shapes[key])}, not {list(wanted[key])}"
                for key in wanted if key in shapes and shapes[key] != wanted[key]]
    return Fit(model.spec, missing, [key for key in shapes if key not in wanted], reshaped)


def nearest(shapes: Shapes) -> Fit:
    """The architecture of the zoo that fits best, sizes such as depth and width read off the shapes."""
    return min((fit_to(name, shapes) for name in _candidates(shapes)), key=lambda fit: fit.misfits)


def _candidates(shapes: Shapes) -> Iterable[str]:
    for family, entry in ZOO.items():
        yield "-".join([family, *map(str, entry.infer(shapes))])


def _num_classes(shapes: Shapes) -> int:
    """Rows of the only matrix, the head, in any network of the zoo."""
    return next((shape[0] for shape in shapes.values() if len(shape) == 2), 10)


def _in_channels(shapes: Shapes) -> int:
    stem = next((shapes[key] for key in STEMS if key in shapes), ())
    return stem[1] if len(stem) == 4 else 3


def _few(keys: list[str], count: int = 3) -> str:
    if not keys:
        return ""
    return f" ({', '.join(map(printable, keys[:count]))}{', ...' if len(keys) > count else ''})"
