"""8 x 8 digits from scikit-learn, Linf eps 0.2: minutes on a laptop. See `advdistill quickstart`.

Every method has a recipe here under its own name: a small student, the method's default coefficients but temperature 1;
five have another with IGDM, of weight 1 (benchmarks/results/igdm.md).
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from ..attacks import PGD
from ..methods import METHODS, PGDAT, Method, Standard, from_config
from ..methods.roles import FLAGS
from ..recipe import SGD, Data, Recipe, Schedule
from ..threat import Linf

OTHERS = {"ard": {"distill_weight": 0.8}, "fair_ard": {"distill_weight": 0.8}}  # coefficients that are not the default
WITH_IGDM = ("pgd_at", "trades", "ard", "rslad", "adaad")


def teacher() -> Recipe:
    """A robust teacher: convnet-24 by PGD-AT."""
    return _student(PGDAT()).replace(student="convnet-24", epochs=40)


def standard() -> Recipe:
    """Standard training: accurate, not robust."""
    return _student(Standard()).replace(select_by="clean")


def by_method() -> dict[str, Callable[[], Recipe]]:
    """A recipe for each registered method, by the method's name; `standard` has its own above."""
    kinds = {name: kind for name, kind in METHODS.items() if issubclass(kind, Method) and kind is not Standard}
    alone = {name: _recipe_of(name, kind) for name, kind in kinds.items()}
    return alone | {f"{name}_igdm": _recipe_of(name, kinds[name], {"igdm": {"weight": 1}}) for name in WITH_IGDM}


def _recipe_of(name: str, kind: type[Method], term: Mapping[str, Any] | None = None) -> Callable[[], Recipe]:
    def recipe() -> Recipe:
        temperature = {field.name: 1.0 for field in fields(kind) if field.name == "temperature"}
        return _student(from_config({name: temperature | OTHERS.get(name, {}), **(term or {})}))

    roles = kind.teachers or ("robust",) if term else kind.teachers
    flags = [FLAGS[role] for role in roles if role in FLAGS]
    said, given = kind.__name__ + (" + IGDM" if term else ""), f"give {' and '.join(flags)}" if flags else "no teacher"
    recipe.__doc__ = f"A small student by {said}; {given}."
    return recipe


def _student(method: Method) -> Recipe:
    return Recipe(
        method=method,
        student="convnet-4",
        data=Data("digits", augment="shift"),
        attack=PGD(steps=10, step_size=0.05, threat=Linf(0.2)),
        optimizer=SGD(lr=0.1, weight_decay=5e-4, nesterov=True),
        schedule=Schedule("onecycle", warmup=0.2),
        epochs=60,
        batch_size=64,
    )
