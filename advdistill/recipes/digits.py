"""8 x 8 digits from scikit-learn, Linf eps 0.2: minutes on a laptop. See `advdistill quickstart`.

Every method has a recipe here under its own name: a small student, the method's default coefficients but temperature 1
(NuAT, LIET: their one step); five have another with IGDM. Two numbers have the highest PGD-10 accuracy on held-out
images: the student's rate, 0.4 of 0.1, 0.2 and 0.4, mean of all methods, and IGDM's weight, 0.5 of 0.5, 1 and 5, mean
of five methods and three seeds.
"""

from collections.abc import Callable
from dataclasses import fields

from ..attacks import PGD
from ..methods import IGDM, LIET, METHODS, PGDAT, Method, NuAT, Standard, from_config
from ..methods.roles import FLAGS
from ..recipe import SGD, Data, Recipe, Schedule
from ..threat import Linf
from .common import RATE, three_attack_steps

ONE_STEP = PGD(steps=1, step_size=0.2, threat=Linf(0.2))
RATES = {"fair_iad": 0.1}  # which does not train at 0.4
OTHERS = {"ard": {"distill_weight": 0.8}, "fair_ard": {"distill_weight": 0.8}}  # coefficients that are not the default


def teacher() -> Recipe:
    """A robust teacher: convnet-24 by PGD-AT."""
    return _student(PGDAT(), 0.1).replace(student="convnet-24", epochs=40)


def standard() -> Recipe:
    """Standard training: accurate, not robust."""
    return _student(Standard(), 0.1).replace(select_by="clean")


def best() -> Recipe:
    """PGD-AT + IGDM with three attack steps, 112 epochs and adversarial statistics; give --teacher.

    It has the passes of `digits.rslad`, and the network of the last epoch is saved; chosen among eight by AutoAttack on
    held-out images. Measured, mean of nine seeds: 90.9 clean, 34.2 AutoAttack; with ten steps 86.1 and 31.8.
    `digits.best_without_teacher` is level.
    """
    return three_attack_steps(pgd_at_igdm(), 0.1, epochs=112)


def best_without_teacher() -> Recipe:
    """PGD-AT with the three attack steps, passes and statistics of `digits.best`, in 195 epochs; no teacher.

    Measured, mean of nine seeds: 92.3 clean, 36.0 AutoAttack; with ten steps 85.8 and 32.5. LIET, whose attack has one
    step, has 87.1 and 37.1.
    """
    return three_attack_steps(by_method()["pgd_at"](), 0.1, epochs=195)


def pgd_at_igdm() -> Recipe:
    """A small student by PGD-AT + IGDM; give --teacher."""
    return _with_igdm("pgd_at")


def trades_igdm() -> Recipe:
    """A small student by TRADES + IGDM; give --teacher."""
    return _with_igdm("trades")


def ard_igdm() -> Recipe:
    """A small student by ARD + IGDM; give --teacher."""
    return _with_igdm("ard")


def rslad_igdm() -> Recipe:
    """A small student by RSLAD + IGDM; give --teacher."""
    return _with_igdm("rslad")


def adaad_igdm() -> Recipe:
    """A small student by AdaAD + IGDM; give --teacher."""
    return _with_igdm("adaad")


def by_method() -> dict[str, Callable[[], Recipe]]:
    """A recipe for each registered method, by the method's name; `standard` has its own above."""
    return {
        name: _recipe_of(name, kind)
        for name, kind in METHODS.items()
        if issubclass(kind, Method) and kind is not Standard
    }


def _recipe_of(name: str, kind: type[Method]) -> Callable[[], Recipe]:
    def recipe() -> Recipe:
        temperature = {field.name: 1.0 for field in fields(kind) if field.name == "temperature"}
        made = _student(from_config({name: temperature | OTHERS.get(name, {})}), RATES.get(name, RATE))
        return made.replace(attack=ONE_STEP) if kind in (NuAT, LIET) else made

    flags = [FLAGS[role] for role in kind.teachers if role in FLAGS]
    recipe.__doc__ = f"A small student by {kind.__name__}; {'give ' + ' and '.join(flags) if flags else 'no teacher'}."
    return recipe


def _with_igdm(name: str) -> Recipe:
    recipe = by_method()[name]()
    return recipe.replace(method=recipe.method + IGDM(weight=0.5))


def _student(method: Method, rate: float = RATE) -> Recipe:
    return Recipe(
        method=method,
        student="convnet-4",
        data=Data("digits", augment="shift"),
        attack=PGD(steps=10, step_size=0.05, threat=Linf(0.2)),
        optimizer=SGD(lr=rate, weight_decay=5e-4, nesterov=True),
        schedule=Schedule("onecycle", warmup=0.2),
        epochs=60,
        batch_size=64,
    )
