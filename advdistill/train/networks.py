"""The student and the teachers of a run: passed in, created or loaded."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from .. import models
from .._internal.adapter import check_module, unwrapped
from ..data import Split
from ..data.loaded import Loaded
from ..methods.roles import FLAGS, check_roles
from ..recipe import Recipe

__all__ = ["Networks", "networks_of", "synchronised"]


@dataclass(frozen=True, eq=False)
class Networks:
    """Modules that replace the networks a recipe names: the student, and teachers by role."""

    student: nn.Module | None = None
    teachers: Mapping[str, nn.Module] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for role, network in self.teachers.items():
            check_module(f"{role} teacher", network)
        if self.student is not None:
            check_module("student", self.student)


def networks_of(recipe: Recipe, given: Networks, split: Split | Loaded) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Return the student and the teachers by role: the given modules, else the networks that the recipe names.

    If no student is given, jointly trained teachers without a reference in the recipe are created like the recipe's
    student, except `robust` and `clean`.
    """
    method, student, references = recipe.method, given.student, recipe.references
    check_roles(method, recipe.teachers, references)
    teachers = {role: network for role, network in given.teachers.items() if role in method.teachers}
    if student is None:
        student = _made(recipe.student, split)
        for role in method.trained:
            if role not in teachers and role not in references and role not in FLAGS:
                teachers[role] = _made(recipe.student, split)
    for role in method.teachers:
        if role not in teachers and role in references:
            teachers[role] = models.load(references[role])
    return unwrapped(student), {role: unwrapped(network) for role, network in teachers.items()}


def _made(student: str, split: Split | Loaded) -> nn.Module:
    """Create a network of the zoo for these images, or an instance of a user's class, `python:module:Class`."""
    if student.startswith("python:"):
        return models.load(student)
    return models.create(student, split.num_classes, split.shape[0])


def synchronised(network: nn.Module, device: torch.device) -> nn.Module:
    """Synchronise batch-norm over all processes on CUDA; on other devices, warn if the network has any."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules()):
        warnings.warn("Batch-norm is synchronised on CUDA only; each process normalises for itself.", stacklevel=3)
    return network
