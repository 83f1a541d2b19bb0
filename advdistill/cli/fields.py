"""Arguments of `train` and `preflight`: every field of any recipe."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import AvoidSubcommands, Positional, arg

from .early import check_options, check_recipe
from .sentences import HELP, parsed

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["ChosenRecipe", "parse"]

TEACHERS = "--teachers."


@dataclass(frozen=True)
class ChosenRecipe:
    """The choices that decide which fields there are; they are parsed first."""

    recipe: Positional[str] = "digits.rslad"
    """A name from `advdistill list recipes`, a YAML file, or a run folder, whose recipe it has."""
    method: str | None = None
    """Another method, e.g. adaad+igdm, or my_module:MyMethod."""
    threat: Literal["linf", "l2"] | None = None
    """Another threat model."""
    optimizer: str | None = None
    """Another optimizer: sgd, adamw, lamb, or a class of torch.optim."""

    def __post_init__(self) -> None:
        if self.recipe == "[]":  # of tyro, where only options follow that are parsed later
            object.__setattr__(self, "recipe", ChosenRecipe.recipe)

    @property
    def reference(self) -> str:
        """The recipe that is meant, as `recipes.load` understands it."""
        return self.recipe

    def load(self) -> "Recipe":
        """The recipe, with another method, threat model or optimizer if one is given.

        Raises:
            ValueError: an unknown name, or a file that is not a recipe.
        """
        from .. import methods, recipes
        from ..attacks import PGD
        from ..config import THREATS
        from ..optimizers import OPTIMIZERS, TorchOptimizer

        recipe = recipes.load(self.reference)
        if self.method is not None:
            recipe = replace(recipe, method=methods.build(self.method))
        if self.threat is not None:
            threat = THREATS[self.threat]()
            if isinstance(recipe.attack, PGD):
                recipe = replace(recipe, attack=replace(recipe.attack, threat=threat, step_size=threat.eps / 4))
            else:
                recipe = replace(recipe, attack=replace(recipe.attack, threat=threat))
        if self.optimizer is not None:
            kind = OPTIMIZERS.get(self.optimizer.lower())
            recipe = replace(recipe, optimizer=kind() if kind else TorchOptimizer(self.optimizer))
        return recipe


def parse(command: type[ChosenRecipe], options: Any, argv: Sequence[str]) -> tuple["Recipe", Any]:
    """Parse the arguments of a command that takes a recipe's fields.

    Args:
        command: a dataclass with the command's name and its first arguments.
        options: a function of the first arguments; returns a dataclass with the defaults of the other arguments.
        argv: the words after the command's name.

    Returns:
        The recipe and the other arguments, as typed.
    """
    name = command.__name__.lower()
    if argv and argv[0] in HELP:
        parsed(command, args=argv, prog=f"advdistill {name}")
    choice, rest = parsed(command, args=argv, return_unknown_args=True, add_help=False)
    check_recipe(choice.reference)
    check_options(argv)

    from ..methods.roles import FLAGS, check_roles
    from ..recipe import Recipe

    recipe, others = choice.load(), options(choice)
    method = recipe.method
    given = [word[len(TEACHERS) :].partition("=")[0] for word in rest if word.startswith(TEACHERS)]
    check_roles(method, given)
    roles = {role: "" for role in method.teachers if role not in FLAGS}  # an empty one is none
    recipe = replace(recipe, teachers=recipe.teachers)
    object.__setattr__(recipe, "teachers", roles | dict(recipe.teachers))  # tyro makes an option of each key

    @dataclass(frozen=True)
    class Fields:
        recipe: Annotated[Recipe, arg(name="")]
        options: Annotated[type(others), arg(name="")]  # type: ignore[valid-type]  # known at run time only

    program = f"advdistill {name} {choice.reference}"
    typed = parsed(AvoidSubcommands[Fields], default=Fields(recipe, others), args=rest, prog=program)
    return typed.recipe, typed.options
