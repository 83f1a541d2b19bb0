"""Arguments of `train` and `preflight`: every field of a recipe, whichever recipe it is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import AvoidSubcommands, Positional, arg

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["ChosenRecipe", "parse"]

HELP = ("-h", "--help")


@dataclass(frozen=True)
class ChosenRecipe:
    """What decides which fields there are, so it is parsed first."""

    recipe: Positional[str] = "digits.rslad"
    """A name of `advdistill list recipes`, or a YAML file."""
    method: str | None = None
    """Another method, e.g. adaad+igdm, or my_module:MyMethod."""
    threat: Literal["linf", "l2"] | None = None
    """Another threat model."""

    def load(self) -> "Recipe":
        """The recipe, with another method or threat model where one is given.

        Raises:
            ValueError: an unknown name, or a file that is no recipe.
        """
        from .. import methods, recipes
        from ..attacks import PGD
        from ..recipe import THREATS

        recipe = recipes.load(self.recipe)
        if self.method is not None:
            recipe = replace(recipe, method=methods.build(self.method))
        if self.threat is not None:
            threat = THREATS[self.threat]()
            if isinstance(recipe.attack, PGD):
                recipe = replace(recipe, attack=replace(recipe.attack, threat=threat, step_size=threat.eps / 4))
            else:
                recipe = replace(recipe, attack=replace(recipe.attack, threat=threat))
        return recipe


def parse(command: type[ChosenRecipe], options: Any, argv: Sequence[str]) -> tuple["Recipe", Any]:
    """Parse the arguments of a command that takes a recipe's fields.

    Args:
        command: the dataclass of its first arguments, of the command's name.
        options: from the first arguments, the defaults of its other arguments: a dataclass instance.
        argv: the words after the command's name.

    Returns:
        The recipe and the other arguments, as typed.
    """
    name = command.__name__.lower()
    if argv and argv[0] in HELP:
        tyro.cli(command, args=argv, prog=f"advdistill {name}")
    choice, rest = tyro.cli(command, args=argv, return_unknown_args=True, add_help=False)

    from ..recipe import Recipe

    recipe, others = choice.load(), options(choice)

    @dataclass(frozen=True)
    class Fields:
        recipe: Annotated[Recipe, arg(name="")]
        options: Annotated[type(others), arg(name="")]  # type: ignore[valid-type]  # known at run time only

    program = f"advdistill {name} {choice.recipe}"
    typed = tyro.cli(AvoidSubcommands[Fields], default=Fields(recipe, others), args=rest, prog=program)
    return typed.recipe, typed.options
