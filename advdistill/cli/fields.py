"""Arguments of `train` and `preflight`: every field of the chosen recipe is an option."""

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
    """Arguments that decide which recipe fields exist; they are parsed first."""

    recipe: Positional[str] = "digits.rslad"
    """A name from `advdistill list recipes`, a YAML file, or a run folder, whose recipe is used."""
    method: str | None = None
    """Method in place of the recipe's, e.g. adaad+igdm, or my_module:MyMethod."""
    threat: Literal["linf", "l2"] | None = None
    """Threat model in place of the recipe's."""
    optimizer: str | None = None
    """Optimizer in place of the recipe's: sgd, adamw, lamb, or a class of torch.optim."""

    def __post_init__(self) -> None:
        if self.recipe == "[]":  # tyro's value if only options follow, which are parsed later
            object.__setattr__(self, "recipe", ChosenRecipe.recipe)

    @property
    def reference(self) -> str:
        """The recipe's name, file or run folder, as `recipes.load` accepts it."""
        return self.recipe

    def load(self) -> "Recipe":
        """Load the recipe, and replace its method, threat model and optimizer by those given.

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
    """Parse the arguments of a command whose options include a recipe's fields.

    Args:
        command: a dataclass of the command's first arguments; its name is the command's.
        options: a function of the first arguments; returns a dataclass with the defaults of the other arguments.
        argv: the arguments after the command's name.

    Returns:
        The recipe and the other arguments, with the values in `argv`.
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
    roles = {role: "" for role in method.teachers if role not in FLAGS}  # an empty reference means no teacher
    recipe = replace(recipe, teachers=recipe.teachers)
    object.__setattr__(recipe, "teachers", roles | dict(recipe.teachers))  # tyro creates an option for each key

    @dataclass(frozen=True)
    class Fields:
        recipe: Annotated[Recipe, arg(name="")]
        options: Annotated[type(others), arg(name="")]  # type: ignore[valid-type]  # known at run time only

    program = f"advdistill {name} {choice.reference}"
    typed = parsed(AvoidSubcommands[Fields], default=Fields(recipe, others), args=rest, prog=program)
    return typed.recipe, typed.options
