"""A study's YAML file: axes of choices. Each combination of choices is a cell, with its own recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from .. import recipes
from .._internal.messages import is_whole, unknown
from .._internal.reading import parse_yaml, read_text
from ..attacks.base import Attack
from ..attacks.suites import attacks
from ..config import build, to_config
from ..methods.roles import check_roles, name_of
from ..models.zoo import count_parameters
from ..recipe import Recipe
from .axes import Levels, read_levels, set_field, slug

__all__ = ["SEED", "Cell", "Study"]

SEED = "seed"  # the axis over which means and standard deviations are taken
TEACHER_FREE = ("PGDAT", "TRADES")  # methods that distillation must be compared with
METHOD = ("recipe", "method")  # recipe fields that choose the method


@dataclass(frozen=True)
class Cell:
    """One combination of levels, one of each axis.

    Attributes:
        name: the name of the cell's folder, such as `rslad-adversarial-seed0`.
        levels: the name of the cell's level, by axis.
    """

    name: str
    levels: Mapping[str, str]
    recipe: Recipe

    @property
    def group(self) -> tuple[str, ...]:
        """The cell's levels without the seed: cells of one group differ only in the seed."""
        return tuple(level for axis, level in self.levels.items() if axis != SEED)


@dataclass(frozen=True)
class Study:
    """A matrix of recipes, and how each trained student is evaluated.

    Args:
        axes: for each axis, its levels by name. A cell has one level of each axis.
        recipe: name or file of the recipe that all cells start from; a level's field `recipe` takes its place.
        fields: values for every recipe, by dotted name, such as `{"optimizer.lr": 0.1}`; a level's override them.
        attacks: a suite, or comma-separated attacks, as for `advdistill evaluate`.
        n: the first n images of the test split; `None` means all.
        accelerated: attacks search on a fast copy of the network, as in `evaluate`.
        baseline: by axis, the level that others are compared with; by default the axis's first level.
        source: the file, for messages and the study's name.
    """

    axes: Mapping[str, Levels]
    recipe: str | None = None
    fields: Mapping[str, Any] | None = None
    attacks: str = "clean,pgd-20,autoattack"
    n: int | None = None
    accelerated: bool = False
    baseline: Mapping[str, str] | None = None
    source: str = "study"

    @staticmethod
    def load(path: Path | str) -> "Study":
        """Read and check a study's file.

        Args:
            path: YAML with `axes` and any of the other fields. An axis is a list of values of the recipe's field of
                that name, or a mapping from names of levels to fields:
                `averaging: {none: {}, ema: {ema: 0.99}}`.

        Returns:
            The study, whose cells have been created and checked.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: not YAML, an unknown field, axis or value, cells with the same name or recipe, or cells that
                differ in test data or threat model.

        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "study.yaml")
        >>> _ = file.write_text("recipe: digits.pgd_at\\naxes: {epochs: [30, 60], seed: [0, 1]}")
        >>> [cell.name for cell in Study.load(file).cells]
        ['epochs30-seed0', 'epochs60-seed0', 'epochs30-seed1', 'epochs60-seed1']
        """
        config = parse_yaml(read_text(path), str(path))
        if not isinstance(config, dict) or not isinstance(config.get("axes"), dict) or not config["axes"]:
            raise ValueError(f"{path} must hold axes such as 'axes: {{method: [pgd_at, rslad], seed: [0, 1, 2]}}'.")
        known = [one.name for one in fields(Study) if one.name != "source"]
        for name in config:
            if name not in known:
                raise unknown(f"field of {path}", str(name), known)
        given = config.pop("axes")
        axes = {str(axis): read_levels(str(axis), levels, f"{path}: {axis}") for axis, levels in given.items()}
        study = Study(axes, **config, source=str(path))
        study.check()
        return study

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return Path(self.source).stem

    @cached_property
    def cells(self) -> list[Cell]:
        """Every combination of levels; all cells of the first seed come first, so that an unfinished study is balanced.

        Raises:
            ValueError: a level has an unknown field or value.
        """
        names = sorted(self.axes, key=lambda axis: axis != SEED)
        found = []
        for chosen in product(*(self.axes[axis] for axis in names)):
            levels = dict(zip(names, chosen, strict=True))
            in_order = {axis: levels[axis] for axis in self.axes}
            name = "-".join(slug(axis, level) for axis, level in in_order.items())
            found.append(Cell(name, in_order, self._recipe(in_order, name)))
        return found

    def reference(self, axis: str) -> str:
        """Return the level of an axis that the others are compared with."""
        return (self.baseline or {}).get(axis, next(iter(self.axes[axis])))

    def of_method(self, axis: str) -> bool:
        """Return whether an axis chooses the method, or a part of it."""
        return any(field.partition(".")[0] in METHOD for level in self.axes[axis].values() for field in level)

    @cached_property
    def suite(self) -> list[Attack]:
        """The attacks. Raises ValueError for an unknown attack, ImportError if a package is missing."""
        return attacks(self.attacks, self.cells[0].recipe.attack.threat)

    @property
    def robust(self) -> str:
        """The attack under which cells are compared: AutoAttack, or without it the last one."""
        names = [attack.name for attack in self.suite]
        return "autoattack" if "autoattack" in names else names[-1]

    def check(self) -> None:
        """Raise ValueError if the figures of the cells would not be comparable, or a cell cannot run."""
        self._check_fields()
        cells = self.cells
        for one, message in (
            (lambda c: c.name, "Two cells of {source} are called {first}; name their levels apart."),
            (lambda c: str(to_config(c.recipe)), "Cells {first} and {second} of {source} have the same recipe."),
        ):
            seen: dict[str, str] = {}
            for cell in cells:
                if one(cell) in seen:
                    raise ValueError(message.format(source=self.source, first=seen[one(cell)], second=cell.name))
                seen[one(cell)] = cell.name
        for what, of in (("test data", _test_data), ("threat models", lambda recipe: str(recipe.attack.threat))):
            other = next((cell for cell in cells if of(cell.recipe) != of(cells[0].recipe)), None)
            if other:
                raise ValueError(
                    f"{self.source} has cells with different {what}, whose figures do not compare: {cells[0].name} has "
                    f"{of(cells[0].recipe)}, {other.name} has {of(other.recipe)}. Make them two studies."
                )
        for cell in cells:
            _check_networks(cell)
        assert self.suite

    def missing_baselines(self) -> list[str]:
        """Return a sentence for each teacher-free method that distillation cells lack with the same other choices."""
        methods = [axis for axis in self.axes if self.of_method(axis)]
        arms: dict[tuple[str, ...], set[str]] = {}
        for cell in self.cells:
            rest = tuple(level for axis, level in cell.levels.items() if axis not in (*methods, SEED))
            arms.setdefault(rest, set()).add(name_of(cell.recipe.method) if not _has_frozen_teacher(cell) else "taught")
        taught = {" ".join(rest): found for rest, found in arms.items() if "taught" in found}
        said = []
        for name in TEACHER_FREE:
            if without := [rest for rest, found in taught.items() if name not in found]:
                where = "" if len(without) == len(taught) else f" with {' or '.join(without)}"
                said.append(f"No {name} cells{where}, so nothing here shows what a teacher adds over {name}.")
        return said

    def _check_fields(self) -> None:
        for name, kinds, expected in (
            ("recipe", str, "text such as digits.rslad"), ("n", int, "a whole number of at least 1"),
            ("attacks", str, "text such as clean,pgd-20"), ("baseline", dict, "a mapping such as {method: pgd_at}"),
            ("accelerated", bool, "true or false"),
            ("fields", dict, "a mapping such as {teacher: runs/digits.teacher}"),
        ):  # fmt: skip
            value = getattr(self, name)
            right = is_whole(value, 1) if kinds is int else isinstance(value, kinds)
            if value is not None and not right:
                raise ValueError(f"{self.source}: {name} must be {expected}, got {value!r}.")
        chosen = (all("recipe" in one for one in levels.values()) for levels in self.axes.values())
        if self.recipe is None and not any(chosen):
            raise ValueError(f"{self.source} names no recipe: add 'recipe: digits.rslad', or an axis called recipe.")
        for axis, level in (self.baseline or {}).items():
            if axis not in self.axes:
                raise unknown(f"axis of {self.source}", str(axis), self.axes)
            if str(level) not in self.axes[axis]:
                raise unknown(f"level of {axis}", str(level), self.axes[axis])

    def _recipe(self, levels: Mapping[str, str], name: str) -> Recipe:
        changes: dict[str, Any] = {"recipe": self.recipe} | dict(self.fields or {})
        for axis, level in levels.items():
            changes |= self.axes[axis][level]
        where = f"{self.source}, cell {name}"
        config = to_config(recipes.load(str(changes.pop("recipe"))))
        for path, value in changes.items():
            set_field(config, path.split("."), value, where)
        recipe: Recipe = build(Recipe, config, where)
        return _only_its_roles(recipe)


def _only_its_roles(recipe: Recipe) -> Recipe:
    """Return the recipe without the teachers that its method does not use."""
    roles = recipe.method.teachers
    others = {role: one for role, one in recipe.teachers.items() if role in roles}
    changes: dict[str, Any] = {"teachers": others}
    changes |= {name: None for role, name in (("robust", "teacher"), ("clean", "clean_teacher")) if role not in roles}
    return recipe.replace(**changes)


def _test_data(recipe: Recipe) -> tuple[object, ...]:
    data = recipe.data
    return data.name, data.folder, data.size, data.bits, data.image_column, data.label_column


def _has_frozen_teacher(cell: Cell) -> bool:
    """Return whether the cell's method has a frozen teacher."""
    return bool(set(cell.recipe.method.teachers) - set(cell.recipe.method.trained))


def _check_networks(cell: Cell) -> None:
    """Raise ValueError if the student is unknown, or a teacher that the method requires is missing."""
    recipe, method = cell.recipe, cell.recipe.method
    if ":" not in recipe.student:
        count_parameters(recipe.student)
    check_roles(method, recipe.references)
    for role in set(method.teachers) - set(method.optional) - set(method.trained) - recipe.references.keys():
        field = {"robust": "teacher", "clean": "clean_teacher"}.get(role, f"teachers.{role}")
        raise ValueError(
            f"Cell {cell.name}: {name_of(method, role)} needs a {role} teacher; add '{field}: REFERENCE' to the "
            "study's fields."
        )
