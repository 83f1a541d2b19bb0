"""A network of timm as a student: fresh weights, saved and loaded like one of ours."""

from types import ModuleType

import torch
from torch import Tensor, nn

from .._internal.messages import check_hugging_face, first_line, unknown
from .._internal.optional import require
from .classifier import Classifier, ModelSpec

__all__ = ["PREFIX", "TimmStudent", "built", "library"]

PREFIX = "timm:"


class TimmStudent(Classifier):
    """`timm:NAME` with the spec's classes and channels.

    Raises ImportError without timm, ValueError for a name that it does not know, OSError if it cannot make it so.
    """

    def __init__(self, spec: ModelSpec):
        super().__init__(spec)
        name = spec.name.removeprefix(PREFIX)
        timm = library()
        if not timm.is_model(name):
            raise unknown("timm model", name, timm.list_models())
        sizes = {"num_classes": spec.num_classes, "in_chans": spec.in_channels}
        self.body = built(timm, name, False, sizes)

    def network(self, x: Tensor) -> Tensor:
        return self.body(x)


def library() -> ModuleType:
    try:
        return require("timm", "A timm: model", "timm")
    except RuntimeError as error:  # of a torchvision made for another torch
        raise ImportError(f"A timm: model needs a torchvision that fits your torch {torch.__version__} "
                          f"({first_line(error)}); install the two together: pip install torch torchvision") from error


def built(timm: ModuleType, name: str, pretrained: bool, options: dict[str, int]) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except Exception as error:  # of timm, of the hub's client, of the network
        check_hugging_face(error)
        raise OSError(f"timm cannot make {name!r}: {first_line(error)}") from error
